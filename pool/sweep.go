package pool

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
)

// AtOnce is the Limits.ReleaseAfter of sessions that give up their backends at
// every safe point.
const AtOnce = time.Duration(-1)

const (
	sweepMost  = time.Second // between two looks at who is idle
	sweepLeast = 20 * time.Millisecond
	releasing  = time.Second // for one session to give up its backend
	retryFirst = time.Second // after a session could not…
	retryMost  = 30 * time.Second
)

// retry is when a session that could not be parked is asked again.
type retry struct {
	at    time.Time
	delay time.Duration
}

// Run has sessions that are idle for Limits.ReleaseAfter give up their
// backends, and ends pinned ones that are idle for Limits.PinnedTimeout, until
// ctx ends. Idle sessions also give up theirs for who stands in line for one,
// and spares end when a database is to be without connections.
func (p *Pool) Run(ctx context.Context) {
	later := map[*Seat]retry{}
	limits := p.inForce()
	timer := time.NewTimer(sweepEvery(limits))
	defer func() { timer.Stop() }()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wanted:
			p.yield(ctx)
		case <-p.vacate:
			p.closeSpares()
		case <-timer.C:
			p.sweep(ctx, limits, later)
			if p.short.Load() > 0 {
				p.yield(ctx)
			}
			limits = p.inForce()
			timer = time.NewTimer(sweepEvery(limits))
		}
	}
}

func (p *Pool) inForce() Limits {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.limits
}

// sweepEvery looks often enough to be late by a quarter at most.
func sweepEvery(l Limits) time.Duration {
	every := sweepMost
	for _, after := range []time.Duration{l.ReleaseAfter, l.PinnedTimeout} {
		if after > 0 {
			every = min(every, after/4)
		}
	}
	return max(every, sweepLeast)
}

func (p *Pool) sweep(ctx context.Context, limits Limits, later map[*Seat]retry) {
	now := time.Now()
	for s := range later {
		if !p.seated(s) {
			delete(later, s)
		}
	}
	var idle []*Seat
	for _, s := range p.backed() {
		rested := time.Duration(p.since(now) - s.activeAt(now))
		switch {
		case limits.ends(s, rested):
			s.session.Close(PinnedTimeout)
		case limits.releases(s, rested) && !now.Before(later[s].at):
			idle = append(idle, s)
		}
	}
	failed := make([]bool, len(idle))
	var parking errgroup.Group
	parking.SetLimit(parkAtOnce)
	for i, s := range idle {
		parking.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, releasing)
			defer cancel()
			failed[i] = p.parkOne(ctx, s, ForRelease) != nil
			return nil
		})
	}
	_ = parking.Wait()
	for i, s := range idle {
		if !failed[i] {
			delete(later, s)
			continue
		}
		delay := min(max(2*later[s].delay, retryFirst), retryMost)
		later[s] = retry{time.Now().Add(delay), delay}
	}
}

// ends tells whether a session has been pinned and idle for too long.
func (l Limits) ends(s *Seat, rested time.Duration) bool {
	return l.PinnedTimeout > 0 && s.pins.Load() != nil && s.Phase() != Active && rested >= l.PinnedTimeout
}

// releases tells whether a session has been idle for long enough to give up
// its backend.
func (l Limits) releases(s *Seat, rested time.Duration) bool {
	return l.ReleaseAfter > 0 && s.Phase() == Idle && rested >= l.ReleaseAfter
}

// ReleaseAtOnce tells whether sessions give up their backends at every safe
// point; they do so by themselves then.
func (l Limits) ReleaseAtOnce() bool { return l.ReleaseAfter == AtOnce }

// ReleaseAtOnce tells whether this pool's sessions are to give up their
// backends at every safe point.
func (s *Seat) ReleaseAtOnce() bool { return s.pool.atOnce.Load() }
