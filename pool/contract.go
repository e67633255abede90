// Package pool is who is inside one cluster: the seats, their phases, the
// ceiling, the queue for a seat, the line for a backend where the engine has
// room for fewer, and "park everyone".
//
// It owns the order in which sessions are admitted and the count of what they
// do (Tally). It never knows a wire protocol, an engine or how a session
// parks; it asks the Session. The pool's mutex protects the list of seats and
// the queue and is never held while a Session is called or the cluster is
// waited for. A fence's mutex protects who has not got to a safe point yet in
// one look for a scaling point. A seat's mutex protects what operators see of
// it. Its phase and activity are atomics, so that a relay may set them for each
// burst.
package pool

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
)

// Phase is what a session is doing. The words are the API's.
type Phase uint32

const (
	Idle          Phase = iota // has a backend, waits for its client
	Active                     // a request, a login or a restore is under way
	InTransaction              // idle inside a transaction
	Held                       // waits for the cluster to serve
	Queued                     // waits for a seat or for a backend
	Parked                     // has no backend; its state is kept
)

var phaseNames = [...]string{"idle", "active", "in_transaction", "held", "queued", "parked"}

func (p Phase) String() string { return phaseNames[p] }

// Session is what a front puts on a seat. The front owns it; the pool calls
// these from its own goroutines, several at a time for different sessions,
// and begins none after Seat.Leave returned (one may be on its way then).
type Session interface {
	// Park makes the session give its backend up at a safe point before ctx
	// ends. nil: the state is kept and the backend closed. Otherwise nothing
	// has changed for the client and the session has its backend still; a
	// *Pinned says why. Parking a parked session does nothing. Before it gives
	// the backend up it asks Seat.Ready, whose error it returns.
	Park(ctx context.Context) error
	// Drain lets the request or transaction that runs finish, until ctx ends,
	// then says goodbye in the engine's own words and closes.
	Drain(ctx context.Context)
	// Close ends the session now, with the reason in the engine's own words
	// where the protocol allows it.
	Close(reason Reason)
	// Lost tells that the engine of this generation died: backends of it are
	// dead. It returns at once.
	Lost(generation uint64)
}

// Reason is why the pool ends a session.
type Reason int

const (
	Killed   Reason = iota // by an operator
	Draining               // the proxy stops
	Evicted                // a forced capacity change
	PinnedTimeout
)

// Pinned is the error of a Park that would lose something: the words of the
// pin reasons (transaction, copy, cursor, advisory_lock, temporary_object,
// replication, prepared_text, lock_tables, user_lock, handler, long_data, xa,
// unreadable).
type Pinned struct{ Reasons []string }

func (p *Pinned) Error() string { return "pinned by " + strings.Join(p.Reasons, ", ") }

// TooMany is the refusal of a client beyond the ceiling.
type TooMany struct {
	Reserved bool          // only the reserved slots are left, and they are not for this user
	Waited   time.Duration // how long it stood in the queue; 0 if there is none
}

func (t *TooMany) Error() string {
	if t.Waited > 0 {
		return fmt.Sprintf("no free connection slot (waited %v)", t.Waited.Round(time.Second))
	}
	return "no free connection slot"
}

// Claim is an authenticated client that asks for a seat.
type Claim struct {
	Session    Session
	Info       Info
	Privileged bool // superuser or admin role: may use the reserved slots
	Tally      *Tally
}

// Info describes a session to an operator. Fixed at Join, but for what
// Seat.Describe changes.
type Info struct {
	User, Database, ClientAddress, Application string
	Protocol                                   string // "postgres" or "mysql"
	TLS                                        string // "TLSv1.3", "" for none
	BackendPID                                 uint32 // the engine's id of the backend, 0 without one
}

// View is one session as the API shows it.
type View struct {
	Info
	ID          string
	Phase       Phase
	PinnedBy    []string
	ConnectedAt time.Time
	ActiveAt    time.Time
}

// Tally counts what one protocol's sessions do in one cluster. Everybody adds
// with atomics; the metrics read.
type Tally struct {
	Attempts, LoginFailures, Aborted atomic.Int64
	Queries, Transactions            atomic.Int64
	BytesIn, BytesOut                atomic.Int64 // from and to clients
	refused                          [refusals]atomic.Int64
	parks, restores                  [parkReasons][outcomes]atomic.Int64
}

// Refusal is why a connection was refused; the words are the metric's.
type Refusal int

const (
	RefusedCeiling Refusal = iota
	RefusedQueueTimeout
	RefusedInstance
	RefusedUnknownCluster
	RefusedAuth
	RefusedTLS
	RefusedResumeFailed
	RefusedDraining
	RefusedProtocol
	refusals
)

var refusalNames = [refusals]string{"ceiling", "queue_timeout", "instance", "unknown_cluster", "auth", "tls", "resume_failed", "draining", "protocol"}

func (r Refusal) String() string { return refusalNames[r] }

// Refuse counts a refusal.
func (t *Tally) Refuse(r Refusal) { t.refused[r].Add(1) }

// Refused calls f with every refusal's count.
func (t *Tally) Refused(f func(reason string, n int64)) {
	for i := range t.refused {
		f(refusalNames[i], t.refused[i].Load())
	}
}

// Outcome is how a park or a restore ended; the words are the metric's.
type Outcome int

const (
	Done        Outcome = iota
	Recoverable         // still on the old backend, or still parked
	Fatal               // the client was told
	outcomes
)

var outcomeNames = [outcomes]string{"ok", "recoverable", "fatal"}

func (o Outcome) String() string { return outcomeNames[o] }

// ParkReason is why a session gives up its backend; the words are the
// metric's.
type ParkReason uint32

const (
	ForPause ParkReason = iota
	ForScale
	ForEngineLost
	ForRelease // Limits.ReleaseAfter
	parkReasons
)

var parkReasonNames = [parkReasons]string{"pause", "scale", "engine_lost", "release"}

func (r ParkReason) String() string { return parkReasonNames[r] }

// Park and Restore count an attempt. A session does so by its Seat, which
// knows the reason.
func (t *Tally) Park(why ParkReason, o Outcome)    { t.parks[why][o].Add(1) }
func (t *Tally) Restore(why ParkReason, o Outcome) { t.restores[why][o].Add(1) }

// Parks and Restores call f with the count of every reason and outcome.
func (t *Tally) Parks(f func(reason, result string, n int64))    { counts(&t.parks, f) }
func (t *Tally) Restores(f func(reason, result string, n int64)) { counts(&t.restores, f) }

func counts(of *[parkReasons][outcomes]atomic.Int64, f func(reason, result string, n int64)) {
	for why := range of {
		for o := range of[why] {
			f(parkReasonNames[why], outcomeNames[o], of[why][o].Load())
		}
	}
}

// Limits is how a pool admits.
type Limits struct {
	Ceiling      func(acu.Capacity) int
	Reserved     int
	Queue        bool // overflow: queue
	QueueTimeout time.Duration

	ReleaseAfter  time.Duration // a session idle this long gives up its backend; 0: never; or AtOnce
	PinnedTimeout time.Duration // a pinned session idle this long is ended; 0: never
}

// Observer is told how long sessions were held; it must not block.
type Observer interface {
	Held(cluster, reason string, took time.Duration) // reason: resume, scale, queue
}

// Waker is the cluster as the pool sees it: *cluster.Cluster.
type Waker interface {
	// Status is never nil. Its Backend is the one that Wake returns, and
	// ceases to be before anybody is parked.
	Status() *cluster.Status
	// Wake asks for the cluster to be available, waits for it, and returns
	// its backend. It fails when ctx ends or when the attempt to resume that
	// it waited for failed (*cluster.ResumeError).
	Wake(ctx context.Context, trigger cluster.Trigger) (cluster.Backend, error)
}
