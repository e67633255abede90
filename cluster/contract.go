// Package cluster is the thing that sleeps: the state machine of one cluster,
// its auto-pause, its events and its meter of ACU-seconds.
//
// It owns the state: the goroutine of Run alone changes it, and the world reads
// an immutable Status. It never knows a session, an engine or a wire protocol.
// Its locks: lobby.mu protects who waits, journal.mu the events in memory,
// life.mu whether Run has begun and ended. None is held while something
// outside is called, and none while another is.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"serverlessproxy/acu"
)

// State is where a cluster stands. The words are the API's.
type State string

const (
	Paused    State = "paused"    // engine stopped; leaves by a wake: resuming, or archived after snapshot.after
	Resuming  State = "resuming"  // engine starting; leaves to available or failed
	Available State = "available" // serving; leaves to pausing, scaling, failed (engine died and cannot restart)
	Scaling   State = "scaling"   // changing capacity; leaves to available
	Pausing   State = "pausing"   // engine stopping; leaves to paused, or back to available when cancelled
	Archived  State = "archived"  // volume in the store only; leaves to restoring
	Restoring State = "restoring" // volume coming back; leaves to resuming or archived
	Failed    State = "failed"    // the last start failed; leaves to resuming at the next attempt
)

// Backend is where a running engine answers. Generation differs between two
// runs of an engine: a connection of an older generation is dead.
type Backend struct {
	Network    string // "unix" or "tcp"
	Address    string
	Generation uint64
	Sessions   int // how many sessions the engine has room for while it runs; 0: as many as its cluster admits
}

// Compute runs an engine. The cluster's goroutine alone calls it, one call at
// a time.
type Compute interface {
	// Start starts the engine at a capacity, or adopts the one that runs, and
	// returns when it answers queries. An error leaves nothing running.
	Start(ctx context.Context, size acu.Size) (Backend, error)
	// Stop stops the engine cleanly and returns when its last process is gone.
	Stop(ctx context.Context) error
	// Resize changes the size. In place: the same generation. ErrNeedsRestart:
	// nothing has changed, and only a restart can.
	Resize(ctx context.Context, size acu.Size) (Backend, error)
}

// ErrNeedsRestart is a Resize's answer where only trying could tell.
var ErrNeedsRestart = errors.New("the engine takes this size only by a restart")

// Watcher is an optional ability of a Compute: Exited is closed when the
// engine of the present generation ends without having been asked to.
type Watcher interface {
	Exited() <-chan struct{}
}

// Mourner is an optional ability of a Watcher: how the engine whose Exited is
// closed ended, in words.
type Mourner interface {
	ExitReason() string
}

// Unpausable is an optional ability of a Compute: why it can never be paused
// (compute/fixed: others run that server).
type Unpausable interface {
	CannotPause() string
}

// Adopter is an optional ability of a Compute: whether an engine of an
// earlier run of the proxy is still there. Asked once, before the first state
// is decided.
type Adopter interface {
	Running(ctx context.Context) (bool, error)
}

// Occupants are the sessions of a cluster: *pool.Pool. Called by the
// cluster's goroutine alone.
type Occupants interface {
	// Quiet is how long nobody has been busy; 0 while somebody is or is held;
	// the longest Duration when nobody has been since the proxy started.
	Quiet() time.Duration
	// Anyone tells whether a session is in or waits to be let in.
	Anyone() bool
	// Park makes every session give up its backend, at a safe point, within
	// ctx. On an error (*Holdouts) sessions keep what they have, and the
	// doors are open again: nobody noticed.
	Park(ctx context.Context) error
	// ParkTogether is Park where nobody gives a backend up before everybody
	// can: on an error everybody has the one that they had.
	ParkTogether(ctx context.Context) error
	// Evict ends sessions that a forced change of capacity cannot wait for.
	Evict(sessions []string)
	// Waking is called when a new backend answers, before anybody else may
	// use it.
	Waking(ctx context.Context, b Backend) error
	// Resettle announces the present capacity: the new ceiling.
	Resettle(c acu.Capacity)
	// Lost is called when the engine of that generation died unasked.
	Lost(generation uint64)
}

// Holdout is a session that could not be parked, and why.
type Holdout struct {
	Session string
	Reasons []string
}

// Holdouts is the error of a Park that pinned sessions prevented.
type Holdouts struct{ Sessions []Holdout }

func (h *Holdouts) Error() string {
	return fmt.Sprintf("%d sessions cannot give up their backends", len(h.Sessions))
}

// Hooks are called around a cluster's starts and stops, by its goroutine, so
// that what depends on a running engine can be read while it runs. Any may be
// nil.
type Hooks struct {
	// Started runs after Compute.Start, before the doors open (read the
	// greeting, the version, set what the size asks).
	Started func(ctx context.Context, b Backend) error
	// Stopping runs after everyone parked, before Compute.Stop: save the Book.
	Stopping func(ctx context.Context, b Backend) error
}

// Trigger says what woke a cluster; the words are the metric's.
type Trigger string

const (
	OnConnect Trigger = "connect"
	OnQuery   Trigger = "query"
	Manual    Trigger = "manual"
	OnScale   Trigger = "scale"
	AtStart   Trigger = "start" // of the proxy: a cluster that does not pause
	OnCrash   Trigger = "crash" // the engine ended unasked while somebody was there
)

// Event is one line of a cluster's log, in RDS's words where RDS has them.
type Event struct {
	Time    time.Time `json:"time"`
	Cluster string    `json:"cluster"`
	ID      string    `json:"id"` // "RDS-EVENT-0145", or "" for our own
	Message string    `json:"message"`
	Reason  string    `json:"reason,omitempty"`
}

// Observer is told what happened, for the metrics; it must not block.
type Observer interface {
	Resumed(cluster string, trigger Trigger, took time.Duration, err error)
	Paused(cluster string, result string, took time.Duration) // paused, cancelled, failed
	Scaled(cluster string, change Change)
	Happened(e Event)
}

// Status is what the world reads of a cluster; immutable.
type Status struct {
	Name           string
	State          State
	Capacity       acu.Capacity // 0 while paused or archived
	ResumeCapacity acu.Capacity // the capacity that it has, or resumes to
	TargetCapacity acu.Capacity
	Min, Max       acu.Capacity
	AutoPause      bool
	Fixed          acu.Capacity // the size that it was converted to; 0: none
	Backend        Backend      // zero unless Available (or Scaling in place)
	PausedSince    time.Time
	PausesAt       time.Time // zero when no pause is coming
	LastError      string

	ParametersWaiting []SettingChange // that the engine takes at its next start; none while it does not run
	ParametersRefused string          // why it has not the latest parameters; "": it has them, or will

	Changed <-chan struct{} // closed when a newer Status stands

	changed chan struct{} // Changed, for the one who closes it
	epoch   uint64        // how many attempts to resume have failed
	over    bool          // Run is ending or has ended
	meter   meter
}

// ResumeError is why a cluster could not be resumed.
type ResumeError struct{ Reason string }

func (e *ResumeError) Error() string { return "cannot resume the cluster: " + e.Reason }
