package pool

import (
	"cmp"
	"container/list"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Sessions is everybody who sits or waits in the queue, the longest first.
func (p *Pool) Sessions() []View {
	now := time.Now()
	seats := p.present()
	slices.SortFunc(seats, func(a, b *Seat) int {
		return cmp.Or(a.since.Compare(b.since), cmp.Compare(len(a.id), len(b.id)), cmp.Compare(a.id, b.id))
	})
	views := make([]View, 0, len(seats))
	for _, s := range seats {
		views = append(views, s.view(now))
	}
	return views
}

// Counts is how many sessions are in each phase; every phase is there.
func (p *Pool) Counts() map[Phase]int {
	counts := make(map[Phase]int, len(phaseNames))
	for phase := range phaseNames {
		counts[Phase(phase)] = 0
	}
	for _, s := range p.present() {
		counts[s.Phase()]++
	}
	return counts
}

// Pins is how many sessions each reason pins.
func (p *Pool) Pins() map[string]int {
	pins := map[string]int{}
	for _, s := range p.all() {
		for _, reason := range s.pinnedBy() {
			pins[reason]++
		}
	}
	return pins
}

// Pinned is how many sessions are pinned, by whatever.
func (p *Pool) Pinned() int { return p.count(func(s *Seat) bool { return s.pins.Load() != nil }) }

// Backends is how many sessions have a backend.
func (p *Pool) Backends() int { return p.count(func(s *Seat) bool { return s.backed.Load() }) }

func (p *Pool) count(is func(*Seat) bool) (n int) {
	for _, s := range p.all() {
		if is(s) {
			n++
		}
	}
	return n
}

// Kill ends a session, or sends it out of the queue. ErrNoSession.
func (p *Pool) Kill(id string) error {
	p.mu.Lock()
	seat := p.seats[id]
	if seat == nil {
		defer p.mu.Unlock()
		return p.killQueuedLocked(id)
	}
	p.mu.Unlock()
	seat.session.Close(Killed)
	return nil
}

func (p *Pool) killQueuedLocked(id string) error {
	for _, w := range p.queueOrderLocked() {
		if w.seat.id == id {
			w.outLocked()
			w.done <- ErrKilled
			return nil
		}
	}
	return fmt.Errorf("%w: %s", ErrNoSession, id)
}

// DrainAll lets nobody in any more and has every session finish what it does,
// until ctx ends, and go. It returns when all of them have been told.
func (p *Pool) DrainAll(ctx context.Context) {
	p.mu.Lock()
	p.draining = true
	p.sendAwayLocked(ErrDraining)
	p.mu.Unlock()
	p.closeSpares()
	var draining sync.WaitGroup
	for _, s := range p.all() {
		draining.Go(func() { p.drainOne(ctx, s) })
	}
	draining.Wait()
}

func (p *Pool) drainOne(ctx context.Context, s *Seat) {
	if p.seated(s) {
		s.session.Drain(ctx)
	}
}

// present is who sits and who waits in the queue.
func (p *Pool) present() []*Seat {
	p.mu.Lock()
	defer p.mu.Unlock()
	seats := p.allLocked()
	for _, w := range p.queueOrderLocked() {
		seats = append(seats, w.seat)
	}
	return seats
}

func (p *Pool) queueOrderLocked() []*waiter {
	waiters := make([]*waiter, 0, p.favoured.Len()+p.ordinary.Len())
	for _, line := range []*list.List{&p.favoured, &p.ordinary} {
		for e := line.Front(); e != nil; e = e.Next() {
			waiters = append(waiters, e.Value.(*waiter))
		}
	}
	return waiters
}
