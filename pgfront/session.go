package pgfront

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"
	"time"

	"serverlessproxy/cluster"
	"serverlessproxy/credential"
	"serverlessproxy/pgfront/pgwire"
	"serverlessproxy/pool"
	"serverlessproxy/relay"
	"serverlessproxy/router"
)

// session is a client that has proved who it is. One goroutine at a time
// thinks for it: the one of ServeConn until the session is lent, then the one
// that the relay gives it back on. While it is lent it has none.
type session struct {
	front   *Front
	target  *router.Target
	log     *slog.Logger
	address net.Addr
	seat    *pool.Seat // from Join on; never changes

	// What it logs in with, now and later.
	user, database string
	parameters     []pgwire.Parameter
	key            credential.Key
	privileged     bool
	superuser      bool
	replication    replication
	secure         string            // the version of the client's TLS
	asleep         map[string]string // what a fresh session of the engine reports, as the Book knows it

	// The thinking goroutine's; while the session is lent, nobody's but the
	// relay's.
	client, backend net.Conn
	pending         []byte // from the client, not yet shown to the relay
	reported        map[string]string
	traffic         traffic
	kept            *state   // what the last reading told; nil: none was made
	carried         bool     // and nothing else is to be kept, as long as traffic.did is nothing
	clung           []string // otherwise what, in the words of pool.Pinned
	aborted         *aborted // its transaction died with its engine, and its client has not said ROLLBACK; nil otherwise
	origin          origin   // of the backend

	ears *hub // while it listens for the parked session; nil: none does

	shown pgwire.Key // what the client cancels by; set once, before it is told

	cancelling sync.Mutex // held while a cancel is on its way, and to give a backend up
	ended      chan struct{}

	mu        sync.Mutex // protects what follows
	loan      relay.Loan // while lent
	interrupt context.CancelCauseFunc
	canCancel bool // what waits is a request, which a cancel ends
	backed    bool // has a backend, or is logging in to one
	at        cluster.Backend
	real      pgwire.Key // the engine's key of the backend
	ending    *told      // why it must end, at a safe point
	endNow    bool       // or at once
	lingering bool       // what its client left behind still runs
	lost      bool       // the engine of the present backend died
	reading   bool       // its state is to be read, without parking it
	parks     []chan error
	answering bool // those who wait for it to park: it is trying
	over      bool
	inbox     []byte // what the hub heard for a parked client
}

// session makes a session of a visitor that has proved who it is.
func (v *visitor) session(from identity) *session {
	s := &session{
		front: v.front, target: v.target, log: v.front.Log.With("cluster", v.target.Name, "address", v.address.String(), "user", v.user),
		address: v.address, client: v.conn, pending: v.reader.Rest(),
		user: v.user, database: v.database, parameters: v.parameters, replication: v.replication, secure: v.secure,
		key: from.key, privileged: from.privileged, superuser: from.superuser, asleep: from.fresh,
		ended: make(chan struct{}),
	}
	s.traffic.tally = v.tally
	if s.replication == none {
		s.traffic.readings = &s.front.readings
	}
	return s
}

// identity is what authentication found out.
type identity struct {
	key        credential.Key
	superuser  bool
	privileged bool              // may use the reserved slots
	fresh      map[string]string // the parameters of a fresh session of this user; nil if not known
}

// begin takes the session from the proof of who it is to the relay.
func (s *session) begin(ctx context.Context) {
	if !s.front.enter(s) {
		sayGoodbye(s.client, farewell(pool.Draining).fatal())
		return
	}
	if err := s.settleIn(ctx); err != nil {
		s.turnAway(err)
		return
	}
	s.lend()
}

// settleIn gives the session its seat, and a backend unless that can wait for
// the first request.
func (s *session) settleIn(ctx context.Context) error {
	seat, err := s.join(ctx)
	if err != nil {
		return err
	}
	s.seat = seat
	s.traffic.seat = seat
	s.log = s.log.With("session", seat.ID())
	if s.replication != none {
		seat.Pin("replication")
	}
	if s.target.WakeOnQuery && s.replication == none && len(s.asleep) > 0 {
		return s.greetAsleep()
	}
	opened, err := s.waitForBackend(ctx, cluster.OnConnect)
	if err != nil {
		return err
	}
	return s.greetWith(opened)
}

// join waits for a seat; a client that vanishes leaves the queue.
func (s *session) join(ctx context.Context) (*pool.Seat, error) {
	ctx, stop := s.waiting(ctx)
	defer stop()
	seat, err := s.target.Pool.Join(ctx, pool.Claim{
		Session: s,
		Info: pool.Info{
			User: s.user, Database: s.database, ClientAddress: s.address.String(),
			Application: s.parameter("application_name"), Protocol: "postgres", TLS: s.secure,
		},
		Privileged: s.privileged,
		Tally:      s.traffic.tally,
	})
	return seat, reservedFor(err, s.asleep["server_version"])
}

// waiting is a context for a wait: it ends when the client goes, or the
// session must end.
func (s *session) waiting(parent context.Context) (ctx context.Context, stop func()) {
	ctx, release := s.interruptible(parent)
	unwatch := watchClient(s.client, func(err error) { s.interruptWith(err) })
	return ctx, func() { unwatch(); release() }
}

// interruptible is a context that ends when the session must end.
func (s *session) interruptible(parent context.Context) (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(parent)
	unhook := context.AfterFunc(s.front.ctx, func() { cancel(errClosed) })
	s.mu.Lock()
	s.interrupt = cancel
	if s.ending != nil && s.mayInterruptLocked() {
		cancel(s.ending)
	}
	s.mu.Unlock()
	return ctx, func() {
		s.mu.Lock()
		s.interrupt = nil
		s.mu.Unlock()
		unhook()
		cancel(nil)
	}
}

// interruptWith ends what the session waits for, if it does.
func (s *session) interruptWith(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.interrupt != nil {
		s.interrupt(cause)
	}
}

// parameter is a start-up parameter, by its name in any case.
func (s *session) parameter(name string) string {
	for _, p := range s.parameters {
		if strings.EqualFold(p.Name, name) {
			return p.Value
		}
	}
	return ""
}

// lend hands the session to the relay: with its backend, or, without one, to
// wait for its client alone.
func (s *session) lend() {
	if s.backend == nil && len(s.pending) > 0 {
		s.wake(s.front.ctx)
		return
	}
	if s.backend == nil {
		if err := s.passOnInbox(); err != nil {
			s.turnAway(err)
			return
		}
	}
	ends := relay.Ends{Client: s.client}
	if s.backend != nil {
		ends.Backend, ends.FromClient, ends.FromBackend = s.backend, s.pending, s.traffic.early
		s.pending, s.traffic.early = nil, nil
		s.traffic.settle()
	} else {
		s.seat.Set(pool.Parked)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loan = s.front.Relay.Lend(ends, &s.traffic, s.returned)
	if s.endNow || s.lost {
		s.loan.Sever()
	} else if s.backend == nil && len(s.inbox) > 0 {
		s.loan.Recall()
	} else if s.ending != nil || len(s.parks) > 0 {
		s.traffic.resting.Store(false)
		s.loan.Recall()
	} else if s.backend != nil && s.replication == none && s.seat.ReleaseAtOnce() {
		s.loan.Recall()
	}
}

// returned has the session think about why it came back.
func (s *session) returned(r relay.Return) {
	s.mu.Lock()
	s.loan = nil
	ending, lost := s.ending, s.lost
	s.mu.Unlock()
	s.client, s.backend = r.Client, r.Backend
	s.pending = r.FromClient
	s.traffic.early = r.FromBackend
	maps.Copy(s.reported, s.traffic.tracker.Reported())
	switch r.Why {
	case relay.Recalled:
		s.recalled(ending)
	case relay.Readable:
		s.wake(s.front.ctx)
	case relay.Stopped:
		s.stopped(r)
	case relay.ClientGone:
		s.clientGone(r)
	case relay.BackendGone:
		s.backendGone(r)
	case relay.Severed:
		if lost && ending == nil {
			s.backendGone(r)
			return
		}
		s.cutOff(r, ending)
	default:
		s.log.Warn("the relay failed", "error", r.Err)
		s.cutOff(r, crashed("The endpoint itself failed to pass it on."))
	}
}

// recalled is a session at a safe point.
func (s *session) recalled(ending *told) {
	if ending != nil {
		s.leaveWith(ending)
		return
	}
	var err error
	must := s.mustPark()
	switch {
	case must:
		err = s.capture()
	case s.mustRead():
		err = s.readOnly()
	}
	if errors.Is(err, errBackendBroken) {
		s.answerParks(err) // what comes now may last
		s.backendBroke(err)
		return
	}
	s.traffic.resting.Store(err != nil)
	if must {
		s.answerParks(err)
	}
	s.lend()
}

// mustPark tells whether somebody wants the session parked still. Who does
// waits for the answer from then on.
func (s *session) mustPark() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answering = len(s.parks) > 0
	return len(s.parks) > 0 || s.seat.ReleaseAtOnce() && s.backend != nil
}

func (s *session) mustRead() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	reading := s.reading
	s.reading = false
	return reading && s.backend != nil
}

// describeBackend shows operators the engine's own id of the session.
func (s *session) describeBackend(pid uint32) {
	s.seat.Describe(func(i *pool.Info) { i.BackendPID = pid })
}

// The limits of what a session does by itself.
const (
	lingerLimit = time.Hour        // for what a client that has gone left running
	closeLimit  = 5 * time.Second  // for an engine to end a session that has been asked to
	loginLimit  = time.Minute      // for one login to an engine that answers; one that has just woken may have hundreds at its door
	turnLimit   = 5 * time.Minute  // for the logins of others that come first
	retryLimit  = 60 * time.Second // for logins to an engine that is starting or stopping
	cancelLimit = 5 * time.Second
	skipLimit   = time.Minute // for a client to finish a request that it cancelled
)
