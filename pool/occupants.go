package pool

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
)

// A Pool is a cluster's Occupants.
var (
	_ cluster.Occupants = (*Pool)(nil)
	_ cluster.Crowd     = (*Pool)(nil)
)

// parkAtOnce bounds how many sessions are being parked at one time.
const parkAtOnce = 32

// Quiet is how long nobody has been busy: 0 while somebody is, or is held or
// queued; never, if nobody was since the pool was made.
func (p *Pool) Quiet() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.favoured.Len()+p.ordinary.Len() > 0 {
		return 0
	}
	latest := p.gone
	for _, s := range p.seats {
		if phase := s.Phase(); phase.busy() || phase == Held || phase == Queued {
			return 0
		}
		latest = max(latest, s.active.Load())
	}
	if latest == 0 {
		return never
	}
	return max(time.Duration(p.since(time.Now())-latest), 0)
}

// Anyone tells whether a session is in or in the queue.
func (p *Pool) Anyone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.seats)+p.favoured.Len()+p.ordinary.Len() > 0
}

// Seated is how many sessions are in, whether they have a backend or not.
func (p *Pool) Seated() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.seats)
}

// Park has every session that has a backend give it up, the idle ones first,
// since the others are waited for. On *cluster.Holdouts who could be parked
// stays parked, and the others have what they had.
func (p *Pool) Park(ctx context.Context) error {
	p.closeSpares()
	why, seats := p.whyAll(), p.backed()
	slices.SortStableFunc(seats, func(a, b *Seat) int { return cmp.Compare(a.Phase(), b.Phase()) })
	holdouts := make([]*cluster.Holdout, len(seats))
	var parking errgroup.Group
	parking.SetLimit(parkAtOnce)
	for i, s := range seats {
		parking.Go(func() error {
			holdouts[i] = p.parkOne(ctx, s, why)
			return nil
		})
	}
	parking.Wait()
	if err := holdoutsOf(holdouts); err != nil {
		return err
	}
	p.everybodyParked(ctx)
	return nil
}

// parkOne returns who holds out and why; nil if the session is parked or gone.
func (p *Pool) parkOne(ctx context.Context, s *Seat, why ParkReason) *cluster.Holdout {
	held, _ := p.ask(ctx, s, why)
	return held
}

// ask is parkOne with what the session said.
func (p *Pool) ask(ctx context.Context, s *Seat, why ParkReason) (*cluster.Holdout, error) {
	if !p.seated(s) {
		return nil, nil
	}
	s.asked.Store(1 + uint32(why))
	err := s.session.Park(ctx)
	s.asked.Store(0)
	if err == nil || !p.seated(s) {
		return nil, nil
	}
	return &cluster.Holdout{Session: s.id, Reasons: whyPinned(s, err)}, err
}

// whyPinned is in the words of the pin reasons, or of the phase that the
// session did not get out of.
func whyPinned(s *Seat, err error) []string {
	var pinned *Pinned
	if errors.As(err, &pinned) && len(pinned.Reasons) > 0 {
		return pinned.Reasons
	}
	if s.Phase() == InTransaction {
		return []string{"transaction"}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return []string{s.Phase().String()}
	}
	return []string{"unreadable"}
}

// BeforeOpening has f called whenever a new backend answers, before anybody
// else may use it: what must be in place by then (a LISTEN hub) is put there.
// An error of f fails the resume.
func (p *Pool) BeforeOpening(f func(context.Context, cluster.Backend) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waking = append(p.waking, f)
}

// AfterParking has f called whenever everybody is parked, before the engine is
// stopped: what was on its way to sessions is waited for there.
func (p *Pool) AfterParking(f func(context.Context)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.parked = append(p.parked, f)
}

func (p *Pool) everybodyParked(ctx context.Context) {
	p.mu.Lock()
	parked := slices.Clone(p.parked)
	p.mu.Unlock()
	for _, f := range parked {
		f(ctx)
	}
}

// Waking is called when a new backend answers, before anybody else may use it.
func (p *Pool) Waking(ctx context.Context, b cluster.Backend) error {
	p.mu.Lock()
	waking := slices.Clone(p.waking)
	p.mu.Unlock()
	for _, f := range waking {
		if err := f(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// Resettle makes a capacity's ceiling the present one; who waits in the queue
// and has room now is let in.
func (p *Pool) Resettle(c acu.Capacity) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.capacity = c
	p.giveRoomLocked()
	p.admitLocked()
}

// Lost tells every session that the engine of a generation died.
func (p *Pool) Lost(generation uint64) {
	p.closeSpares()
	for _, s := range p.all() {
		if p.seated(s) {
			s.session.Lost(generation)
		}
	}
}

// all is who sits, in no order.
func (p *Pool) all() []*Seat {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.allLocked()
}

func (p *Pool) allLocked() []*Seat {
	seats := make([]*Seat, 0, len(p.seats))
	for _, s := range p.seats {
		seats = append(seats, s)
	}
	return seats
}

func (p *Pool) backed() []*Seat {
	return slices.DeleteFunc(p.all(), func(s *Seat) bool { return !s.backed.Load() })
}

func (p *Pool) seated(s *Seat) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seats[s.id] == s
}
