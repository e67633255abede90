package pool

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
)

var (
	// ErrDraining refuses a client because the proxy stops.
	ErrDraining = errors.New("the proxy is stopping")
	// ErrKilled is what a client in the queue gets when an operator ends it.
	ErrKilled = errors.New("the session was ended by an operator")
	// ErrNoSession is the answer to who names a session that is not here.
	ErrNoSession = errors.New("no such session")
)

// Config is what a pool is made of.
type Config struct {
	Cluster  string // its name, for the observer
	Waker    Waker
	Limits   Limits
	Observer Observer // nil: nobody
	IDs      *IDs     // shared by the pools of one proxy; nil: its own
}

// IDs names sessions uniquely over the pools that share it.
type IDs struct{ last atomic.Uint64 }

func (i *IDs) next() string { return "s-" + strconv.FormatUint(i.last.Add(1), 10) }

// Pool is one cluster's occupants.
type Pool struct {
	name     string
	waker    Waker
	observer Observer
	ids      *IDs
	epoch    time.Time // activity is counted from here

	mu       sync.Mutex // protects following; never held while a Session, the Waker's Wake or the Observer is called
	limits   Limits
	capacity acu.Capacity
	seats    map[string]*Seat
	favoured list.List // of *waiter: the privileged
	ordinary list.List // of *waiter
	gone     int64     // the latest activity of those that left or were refused
	draining bool
	spares   list.List           // of *spare, the oldest first
	sparesOf map[string][]*spare // the same, by key
	warm     int                 // of spares: how many are
	waking   []func(context.Context, cluster.Backend) error
	parked   []func(context.Context)

	applicants list.List // of *applicant: who has a seat and waits for a backend

	inUse       atomic.Int64 // seats with a backend
	vacantUntil atomic.Int64 // since epoch: no spare is kept before

	short  atomic.Int64  // who waits for one, or is about to; for those who ask often
	wanted chan struct{} // has room for one: Run is to have somebody give one up
	vacate chan struct{} // has room for one: Run is to end all spares
	logins *semaphore.Weighted
	atOnce atomic.Bool // Limits.ReleaseAtOnce, for those who ask often
}

// waiter is one in the queue. While it is in its line the pool may admit it or
// send it away; out of it, done has the answer.
type waiter struct {
	seat *Seat
	line *list.List
	at   *list.Element
	done chan error // has room for one
}

// New is an empty pool.
func New(config Config) *Pool {
	p := &Pool{
		name:     config.Cluster,
		waker:    config.Waker,
		observer: config.Observer,
		ids:      cmp.Or(config.IDs, &IDs{}),
		epoch:    time.Now().Add(-time.Nanosecond), // so that no activity is at 0, which means never
		limits:   config.Limits,
		capacity: config.Waker.Status().ResumeCapacity,
		seats:    map[string]*Seat{},
		sparesOf: map[string][]*spare{},
		wanted:   make(chan struct{}, 1),
		vacate:   make(chan struct{}, 1),
		logins:   semaphore.NewWeighted(loginsAtOnce),
	}
	if p.observer == nil {
		p.observer = nobody{}
	}
	p.atOnce.Store(config.Limits.ReleaseAtOnce())
	return p
}

// Join gives an authenticated client a seat. Where there is none it fails with
// *TooMany, or waits in the queue until ctx ends. The seat's phase is Active.
func (p *Pool) Join(ctx context.Context, claim Claim) (*Seat, error) {
	now := time.Now()
	seat := p.seat(claim, now)
	p.mu.Lock()
	switch {
	case p.draining:
		p.mu.Unlock()
		return nil, ErrDraining
	case p.roomLocked(claim.Privileged):
		p.seats[seat.id] = seat
		p.mu.Unlock()
		return seat, nil
	case !p.limits.Queue:
		defer p.mu.Unlock()
		p.gone = max(p.gone, p.since(now))
		return nil, p.tooManyLocked(0)
	}
	w, limit := p.queueLocked(seat), p.limits.QueueTimeout
	p.mu.Unlock()

	err := p.waitInLine(ctx, w, limit)
	p.observer.Held(p.name, "queue", time.Since(now))
	if err != nil {
		return nil, err
	}
	return seat, nil
}

func (p *Pool) queueLocked(seat *Seat) *waiter {
	seat.phase.Store(uint32(Queued))
	w := &waiter{seat: seat, line: &p.ordinary, done: make(chan error, 1)}
	if seat.privileged {
		w.line = &p.favoured
	}
	w.at = w.line.PushBack(w)
	return w
}

// waitInLine waits until w is admitted, sent away, or has waited long enough.
func (p *Pool) waitInLine(ctx context.Context, w *waiter, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-w.done:
		return err
	case <-timer.C:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = max(p.gone, p.since(time.Now()))
	if w.at != nil {
		w.outLocked()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return p.tooManyLocked(limit)
	}
	err := <-w.done // it was answered at that very moment
	if err == nil && ctx.Err() != nil {
		p.leaveLocked(w.seat)
		return context.Cause(ctx)
	}
	return err
}

func (w *waiter) outLocked() {
	w.line.Remove(w.at)
	w.at = nil
}

// admitLocked lets in from the queue as many as there is room for.
func (p *Pool) admitLocked() {
	for _, line := range []*list.List{&p.favoured, &p.ordinary} {
		for line.Len() > 0 {
			w := line.Front().Value.(*waiter)
			if !p.roomLocked(w.seat.privileged) {
				break
			}
			w.outLocked()
			w.seat.phase.Store(uint32(Active))
			p.seats[w.seat.id] = w.seat
			w.done <- nil
		}
	}
}

// sendAwayLocked empties the queue.
func (p *Pool) sendAwayLocked(err error) {
	for _, line := range []*list.List{&p.favoured, &p.ordinary} {
		for line.Len() > 0 {
			w := line.Front().Value.(*waiter)
			w.outLocked()
			w.done <- err
		}
	}
}

func (p *Pool) roomLocked(privileged bool) bool {
	room := p.ceilingLocked()
	if privileged {
		room += p.limits.Reserved
	}
	return len(p.seats) < room
}

func (p *Pool) tooManyLocked(waited time.Duration) *TooMany {
	return &TooMany{Reserved: p.roomLocked(true), Waited: waited}
}

func (p *Pool) ceilingLocked() int { return p.limits.Ceiling(p.capacity) }

// Ceiling is how many sessions are admitted, the reserved slots apart.
func (p *Pool) Ceiling() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ceilingLocked()
}

// Configure changes the limits. They bind who comes; who is in stays in.
func (p *Pool) Configure(limits Limits) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limits = limits
	p.atOnce.Store(limits.ReleaseAtOnce())
	p.admitLocked()
}

// leaveLocked frees a seat, for the head of the queue.
func (p *Pool) leaveLocked(s *Seat) {
	if p.seats[s.id] != s {
		return
	}
	delete(p.seats, s.id)
	s.letGo()
	p.gone = max(p.gone, s.activeAt(time.Now()))
	p.giveRoomLocked()
	p.admitLocked()
}

// since is a moment as activity is counted.
func (p *Pool) since(t time.Time) int64 { return int64(t.Sub(p.epoch)) }

// never is how long nobody has been busy where nobody ever was.
const never = time.Duration(math.MaxInt64)

// nobody observes where nobody was named.
type nobody struct{}

func (nobody) Held(string, string, time.Duration) {}
