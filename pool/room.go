package pool

import (
	"cmp"
	"container/list"
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"serverlessproxy/cluster"
)

// A running engine may have room for fewer connections than its cluster admits
// sessions: PostgreSQL learns of a larger size's at its next start. Sessions
// beyond that stand in line for a backend, and who is idle gives up theirs, at
// the next safe point at the latest.

// yielding is how long one session is waited for to give up its backend for
// another's sake; then others are asked.
const yielding = 250 * time.Millisecond

// applicant is a seat in line for a backend. In the line, the pool may give it
// one; out of it, it has been told to go on.
type applicant struct {
	seat *Seat
	at   *list.Element
	turn chan struct{} // closed then
}

// hasRoom tells whether an engine takes another session's backend.
func (p *Pool) hasRoom(b cluster.Backend) bool {
	return b.Sessions == 0 || int(p.inUse.Load()) < b.Sessions
}

// standInLine waits until there may be room for a seat's backend, which is kept
// for it then.
func (p *Pool) standInLine(ctx context.Context, s *Seat) error {
	s.phase.Store(uint32(Queued))
	defer s.phase.Store(uint32(Held))
	p.short.Add(1) // before it is looked once more: who frees room from now on knows
	defer p.short.Add(-1)
	a := &applicant{seat: s, turn: make(chan struct{})}
	p.mu.Lock()
	a.at = p.applicants.PushBack(a)
	p.giveRoomLocked()
	p.mu.Unlock()
	p.askToYield()
	select {
	case <-a.turn:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if a.at != nil {
		p.applicants.Remove(a.at)
	} else { // it was given room at that very moment
		s.letGo()
		p.giveRoomLocked()
	}
	return context.Cause(ctx)
}

// giveRoomLocked lets as many go on as there is room for. Where the cluster
// does not serve they all do: they wait for it to.
func (p *Pool) giveRoomLocked() {
	for p.applicants.Len() > 0 {
		backend := p.waker.Status().Backend
		if !p.hasRoom(backend) {
			return
		}
		a := p.applicants.Remove(p.applicants.Front()).(*applicant)
		a.at = nil
		if backend != (cluster.Backend{}) {
			a.seat.holds()
		}
		close(a.turn)
	}
}

// freed gives the room that a seat has left to who stands in line. Where nobody
// does it costs one look.
func (p *Pool) freed() {
	if p.short.Load() == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.giveRoomLocked()
}

// askToYield has Run look for who could give up a backend.
func (p *Pool) askToYield() {
	select {
	case p.wanted <- struct{}{}:
	default: // it will look anyway
	}
}

// yield has as many idle sessions give up their backends as others stand in
// line, those first that have been idle for longest. If none is idle, the next
// that becomes so has it called again.
func (p *Pool) yield(ctx context.Context) {
	p.mu.Lock()
	wanting := p.applicants.Len()
	p.mu.Unlock()
	idle := slices.DeleteFunc(p.backed(), func(s *Seat) bool { return s.Phase() != Idle || s.pins.Load() != nil })
	slices.SortFunc(idle, func(a, b *Seat) int { return cmp.Compare(a.active.Load(), b.active.Load()) })
	idle = idle[:min(len(idle), wanting)]
	ctx, cancel := context.WithTimeout(ctx, yielding)
	defer cancel()
	var parking errgroup.Group
	parking.SetLimit(parkAtOnce)
	for _, s := range idle {
		parking.Go(func() error {
			s.insisted.Store(true)
			defer s.insisted.Store(false)
			p.parkOne(ctx, s, ForRelease)
			return nil
		})
	}
	_ = parking.Wait()
}
