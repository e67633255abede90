package pool

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"serverlessproxy/cluster"
)

// Seat is one session's place in a pool.
type Seat struct {
	pool       *Pool
	id         string
	session    Session
	privileged bool
	since      time.Time

	phase  atomic.Uint32
	active atomic.Int64 // when it was last busy, as the pool counts
	backed atomic.Bool  // it was given a backend, or is to be, since it was last parked
	pins   atomic.Pointer[[]string]

	tally     *Tally
	fence     atomic.Pointer[fence] // while it is asked to park together with the others
	asked     atomic.Uint32         // 1 + the ParkReason for which it is being asked to park
	insisted  atomic.Bool           // …for the sake of another, so that its own client's next request waits
	parkedFor atomic.Uint32         // the ParkReason for which it was parked last

	mu   sync.Mutex // protects following
	info Info
}

// seat is a new one, not yet in the pool.
func (p *Pool) seat(claim Claim, now time.Time) *Seat {
	s := &Seat{
		pool:       p,
		id:         p.ids.next(),
		session:    claim.Session,
		privileged: claim.Privileged,
		tally:      cmp.Or(claim.Tally, &Tally{}),
		since:      now,
		info:       claim.Info,
	}
	s.phase.Store(uint32(Active))
	s.active.Store(p.since(now))
	return s
}

// ID names the session to operators.
func (s *Seat) ID() string { return s.id }

// Backend waits, Held, until the cluster serves, and returns where. The phase
// is Active then. The cluster is not stopped before this seat is parked or has
// left. On an error the phase is what it was.
func (s *Seat) Backend(ctx context.Context, trigger cluster.Trigger) (cluster.Backend, error) {
	backend, err := s.admitted(ctx, trigger)
	if err == nil {
		s.pool.makeRoom()
	}
	return backend, err
}

func (s *Seat) admitted(ctx context.Context, trigger cluster.Trigger) (cluster.Backend, error) {
	status, held := s.pool.waker.Status(), "queue"
	switch serves := status.Backend != (cluster.Backend{}); {
	case serves && s.pool.occupy(s, status.Backend) == occupied:
		return status.Backend, nil
	case !serves:
		held = holdUp(status.State)
	}
	before := Phase(s.phase.Swap(uint32(Held)))
	began := time.Now()
	backend, err := s.wait(ctx, trigger)
	s.pool.observer.Held(s.pool.name, held, time.Since(began))
	if err != nil {
		s.phase.Store(uint32(before))
	}
	return backend, err
}

// wait wakes the cluster until this seat has got hold of a backend of it.
func (s *Seat) wait(ctx context.Context, trigger cluster.Trigger) (cluster.Backend, error) {
	for {
		backend, err := s.pool.waker.Wake(ctx, trigger)
		if err != nil {
			s.letGo() // of the room that it was given in line
			s.pool.freed()
			return backend, err
		}
		switch s.pool.occupy(s, backend) {
		case occupied:
			return backend, nil
		case full:
			if err := s.pool.standInLine(ctx, s); err != nil {
				return cluster.Backend{}, err
			}
		}
	}
}

// occupancy is how an attempt to use a backend ended.
type occupancy int

const (
	occupied occupancy = iota
	ceased             // the cluster does not serve it any more
	full               // there is no room for another session
)

// occupy lets a seat use a backend if the cluster has not ceased to serve it
// meanwhile. A cluster says that it does not serve before it parks anybody: so
// either this finds out, or Park finds this seat.
func (p *Pool) occupy(s *Seat, backend cluster.Backend) occupancy {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waker.Status().Backend != backend {
		return ceased
	}
	if !s.backed.Load() && (p.applicants.Len() > 0 || !p.hasRoom(backend)) {
		return full
	}
	s.holds()
	s.phase.Store(uint32(Active))
	return occupied
}

// holdUp is what holds a client up in a state, in the metric's words.
func holdUp(state cluster.State) string {
	if state == cluster.Scaling {
		return "scale"
	}
	return "resume"
}

// loginsAtOnce bounds how many of a cluster's sessions log in to its engine at
// one time. When thousands do, a machine of few processors finishes none of them
// for minutes, and their limits pass; one after the other they take as long as
// all of them together.
const loginsAtOnce = 64

// TurnToLogIn waits until the session may log in to the engine, or ctx ends. The
// turn ends with a call of done.
func (s *Seat) TurnToLogIn(ctx context.Context) (done func(), err error) {
	if err := s.pool.logins.Acquire(ctx, 1); err != nil {
		return nil, context.Cause(ctx)
	}
	return func() { s.pool.logins.Release(1) }, nil
}

// Phase is what the session is doing.
func (s *Seat) Phase() Phase { return Phase(s.phase.Load()) }

// Set says what the session is doing now. Ceasing to be busy is activity.
// Parked says that it has no backend any more.
func (s *Seat) Set(next Phase) {
	before := Phase(s.phase.Swap(uint32(next)))
	if next == Parked {
		s.letGo()
		s.pool.freed()
	}
	if before.busy() && !next.busy() {
		s.Touch(time.Now())
		if next == Idle && s.pool.short.Load() > 0 {
			s.pool.askToYield()
		}
	}
}

// Touch is activity without a change of phase.
func (s *Seat) Touch(now time.Time) { s.active.Store(s.pool.since(now)) }

// busy phases keep a cluster awake for as long as they last.
func (p Phase) busy() bool { return p == Active || p == InTransaction }

// activeAt is when it was last busy, as the pool counts.
func (s *Seat) activeAt(now time.Time) int64 {
	if s.Phase().busy() {
		return s.pool.since(now)
	}
	return s.active.Load()
}

// Describe changes what operators see of the session.
func (s *Seat) Describe(change func(*Info)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.info)
}

// Pin says what pins the session now; nothing: it is not pinned.
func (s *Seat) Pin(reasons ...string) {
	if len(reasons) == 0 {
		s.pins.Store(nil)
		return
	}
	reasons = slices.Clone(reasons)
	s.pins.Store(&reasons)
}

// pinnedBy is never nil.
func (s *Seat) pinnedBy() []string {
	if reasons := s.pins.Load(); reasons != nil {
		return slices.Clone(*reasons)
	}
	return []string{}
}

// Leave gives the seat back; the head of the queue gets it. No call of the
// session is begun any more, though one may be on its way. It is idempotent.
func (s *Seat) Leave() {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	s.pool.leaveLocked(s)
}

func (s *Seat) view(now time.Time) View {
	s.mu.Lock()
	info := s.info
	s.mu.Unlock()
	return View{
		Info:        info,
		ID:          s.id,
		Phase:       s.Phase(),
		PinnedBy:    s.pinnedBy(),
		ConnectedAt: s.since,
		ActiveAt:    s.pool.epoch.Add(time.Duration(s.activeAt(now))),
	}
}
