package pool

import (
	"context"
	"errors"
	"sync"
	"time"

	"serverlessproxy/cluster"
)

// errNotYet has a session go on with the backend that it has: somebody else
// was not at a safe point in time.
var errNotYet = errors.New("not everybody is at a safe point")

// settling is how long what follows a scaling point may take (AfterParking).
const settling = time.Second

// fence is one look for a scaling point: who gets to a safe point stays there,
// with the backend, until everybody is at one or the look is over.
type fence struct {
	decided chan struct{} // closed when it is known whether

	mu      sync.Mutex // protects following
	missing map[*Seat]bool
	over    bool
	agreed  bool
	late    error // for who gets to a safe point only now
}

func newFence(seats []*Seat) *fence {
	f := &fence{decided: make(chan struct{}), missing: map[*Seat]bool{}}
	for _, s := range seats {
		f.missing[s] = true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.agreeLocked()
	return f
}

// arrive counts a session that needs not be waited for any more, and tells
// whether it came in time.
func (f *fence) arrive(s *Seat) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.missing, s)
	f.agreeLocked()
	return !f.over || f.agreed
}

func (f *fence) agreeLocked() {
	if len(f.missing) == 0 && !f.over {
		f.agreed = true
		f.endLocked()
	}
}

func (f *fence) endLocked() {
	f.over = true
	close(f.decided)
}

// callOff has everybody go on, unless everybody is at a safe point.
func (f *fence) callOff(late error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.over {
		f.late = late
		f.endLocked()
	}
}

// runOut is callOff because the time for it is over.
func (f *fence) runOut() { f.callOff(context.DeadlineExceeded) }

func (f *fence) waitsFor(s *Seat) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.missing[s]
}

// ready tells a session that is at a safe point whether to give its backend up.
func (f *fence) ready(s *Seat) error {
	if !f.arrive(s) {
		return f.late
	}
	<-f.decided // within the look for a scaling point
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.agreed {
		return errNotYet
	}
	return nil
}

// Ready is asked by a session that could give its backend up, at a safe point
// and with its state read, before it does. An error: it keeps the backend and
// goes on. It waits where nobody is to give up anything before everybody can.
func (s *Seat) Ready() error {
	if f := s.fence.Load(); f != nil {
		return f.ready(s)
	}
	return nil
}

// ParkTogether is Park where nobody gives anything up before everybody can.
// On *cluster.Holdouts everybody has what they had.
func (p *Pool) ParkTogether(ctx context.Context) error {
	why, seats := p.whyAll(), p.backed()
	f := newFence(seats)
	defer context.AfterFunc(ctx, f.runOut)()
	holdouts := make([]*cluster.Holdout, len(seats))
	var parking sync.WaitGroup
	for i, s := range seats {
		parking.Go(func() { holdouts[i] = p.parkBehind(ctx, f, s, why) })
	}
	parking.Wait()
	if err := holdoutsOf(holdouts); err != nil {
		return err
	}
	p.closeSpares()
	settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), settling)
	defer cancel()
	p.everybodyParked(settle)
	return nil
}

// parkBehind returns who holds out and why; nil for a session that is parked,
// gone, or would have come.
func (p *Pool) parkBehind(ctx context.Context, f *fence, s *Seat, why ParkReason) *cluster.Holdout {
	asking, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() {
		if f.runOut(); f.waitsFor(s) {
			cancel(context.DeadlineExceeded)
		}
	})()
	s.fence.Store(f)
	defer s.fence.Store(nil)
	held, err := p.ask(asking, s, why)
	switch {
	case errors.Is(err, errNotYet):
		return nil
	case held != nil:
		f.callOff(errNotYet) // nothing comes of this look; the others are asked on, so that all who hold out are known
	default:
		f.arrive(s)
	}
	return held
}

// holdoutsOf is the error of who holds out; nil where nobody does.
func holdoutsOf(all []*cluster.Holdout) error {
	failure := &cluster.Holdouts{}
	for _, h := range all {
		if h != nil {
			failure.Sessions = append(failure.Sessions, *h)
		}
	}
	if len(failure.Sessions) == 0 {
		return nil
	}
	return failure
}
