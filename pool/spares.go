package pool

import (
	"container/list"
	"context"
	"slices"
	"time"

	"serverlessproxy/cluster"
)

const (
	// spareFor is how long any spare is kept for the next session that could
	// use it.
	spareFor = 3 * time.Second
	// warmFor is how long a lasting one is kept, if it is one of the first
	// warmMost. A backend of PostgreSQL that has seen the shared buffers answers
	// a point query in half the time that a new one takes.
	warmFor  = 5 * time.Minute
	warmMost = 32
	// vacantFor is for how long no spares are kept after a statement that
	// needs a database for itself: PostgreSQL waits 5 s for connections to go.
	vacantFor = 7 * time.Second
)

// Spare is a backend that a session gave up, or left behind, while the engine
// runs: logged in, so that the next session of the same key may have it. The
// front that gave it knows how to use it; until it is borrowed it is the
// pool's.
type Spare interface {
	// Close ends it, soon. It does not block.
	Close()
	// Lasting tells whether new sessions may have it too, so that it is worth
	// keeping for longer than sessions of now need to come back to it.
	Lasting() bool
}

// Grant is what a session gets to work with: a spare of the key that it asked
// for, or, without one, where to dial.
type Grant struct {
	Backend cluster.Backend
	Spare   Spare // nil: dial Backend. It may have died meanwhile: then dial too
}

// spare is one that is kept.
type spare struct {
	Spare
	key        string
	generation uint64
	at         *list.Element // in Pool.spares, oldest first
	expiry     *time.Timer
	warm       bool // it is kept for warmFor
}

// Borrow is Backend for a session that could use another's spare: those with
// the same key, which holds whatever tells two backends apart (user, database,
// start-up options).
func (s *Seat) Borrow(ctx context.Context, trigger cluster.Trigger, key string) (Grant, error) {
	backend, err := s.admitted(ctx, trigger)
	if err != nil {
		return Grant{}, err
	}
	found := s.pool.takeSpare(key, backend.Generation)
	if found == nil {
		s.pool.makeRoom()
	}
	return Grant{backend, found}, nil
}

// GiveUp says that the session has no backend any more: its phase is Parked.
// What it had is kept for others, if it is still of use: kept is nil where the
// backend is closed.
func (s *Seat) GiveUp(key string, generation uint64, kept Spare) {
	if kept != nil { // first, so that who stands in line for a backend finds it
		s.pool.keepSpare(&spare{Spare: kept, key: key, generation: generation})
	}
	s.Set(Parked)
}

// EndSpares ends all spares, since the engine refuses a login that they leave
// no room for (a role's or a database's CONNECTION LIMIT). It tells whether
// there were any.
func (s *Seat) EndSpares() bool { return s.pool.closeSpares() > 0 }

// EndSparesSoon ends all spares, and has none kept for the next seconds: the
// engine waits until nobody else is connected to a database. It does not block:
// Run does it.
func (s *Seat) EndSparesSoon() {
	s.pool.vacantUntil.Store(s.pool.since(time.Now()) + int64(vacantFor))
	select {
	case s.pool.vacate <- struct{}{}:
	default: // it is about to
	}
}

// takeSpare is the youngest of the key: its caches are warmest.
func (p *Pool) takeSpare(key string, generation uint64) Spare {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range slices.Backward(p.sparesOf[key]) {
		if s.generation == generation {
			p.forgetLocked(s)
			return s.Spare
		}
	}
	return nil
}

func (p *Pool) keepSpare(s *spare) {
	p.mu.Lock()
	serves := p.keepsLocked(s.generation)
	if serves {
		s.at = p.spares.PushBack(s)
		p.sparesOf[s.key] = append(p.sparesOf[s.key], s)
		s.expiry = time.AfterFunc(spareFor, func() { p.expire(s) })
	}
	p.mu.Unlock()
	if !serves {
		s.Close()
	}
}

// Keeps tells whether a backend of the engine's generation would be kept now,
// so that it is worth resetting.
func (s *Seat) Keeps(generation uint64) bool {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	return s.pool.keepsLocked(generation)
}

func (p *Pool) keepsLocked(generation uint64) bool {
	return !p.draining && p.since(time.Now()) >= p.vacantUntil.Load() && p.waker.Status().Backend.Generation == generation
}

// expire ends a spare, unless it is worth keeping for longer.
func (p *Pool) expire(s *spare) {
	p.mu.Lock()
	kept := s.at != nil
	if kept && !s.warm && s.Lasting() && p.warm < p.warmMostLocked() {
		s.warm = true
		p.warm++
		s.expiry.Reset(warmFor - spareFor)
		p.mu.Unlock()
		return
	}
	p.forgetLocked(s)
	p.mu.Unlock()
	if kept {
		s.Close()
	}
}

func (p *Pool) forgetLocked(s *spare) {
	if s.at == nil {
		return
	}
	p.spares.Remove(s.at)
	s.at = nil
	s.expiry.Stop()
	if s.warm {
		p.warm--
	}
	same := p.sparesOf[s.key]
	if i := slices.Index(same, s); i >= 0 {
		same = slices.Delete(same, i, i+1)
	}
	if len(same) == 0 {
		delete(p.sparesOf, s.key)
		return
	}
	p.sparesOf[s.key] = same
}

// closeSpares ends all of them: the engine stops, is gone, or is full. It
// returns how many there were.
func (p *Pool) closeSpares() int {
	p.mu.Lock()
	var all []*spare
	for p.spares.Len() > 0 {
		s := p.spares.Front().Value.(*spare)
		p.forgetLocked(s)
		all = append(all, s)
	}
	p.mu.Unlock()
	for _, s := range all {
		s.Close()
	}
	return len(all)
}

// makeRoom ends the oldest spare if the engine admits no more backends beside
// those that are in use: a session that asks comes before one that may.
func (p *Pool) makeRoom() {
	p.mu.Lock()
	var oldest *spare
	if int(p.inUse.Load())+p.spares.Len() > p.backendsLocked() && p.spares.Len() > 0 {
		oldest = p.spares.Front().Value.(*spare)
		p.forgetLocked(oldest)
	}
	p.mu.Unlock()
	if oldest != nil {
		oldest.Close()
	}
}

// warmMostLocked leaves most of a small engine's room to those who ask.
func (p *Pool) warmMostLocked() int { return min(warmMost, p.backendsLocked()/4) }

// backendsLocked is how many the engine admits.
func (p *Pool) backendsLocked() int {
	admits := p.ceilingLocked() + p.limits.Reserved
	if room := p.waker.Status().Backend.Sessions; room > 0 {
		admits = min(admits, room)
	}
	return admits
}

// holds and letGo say that the seat has a backend, or none, and keep count.
func (s *Seat) holds() {
	if !s.backed.Swap(true) {
		s.pool.inUse.Add(1)
	}
}

func (s *Seat) letGo() {
	if s.backed.Swap(false) {
		s.pool.inUse.Add(-1)
	}
}

// Spares is how many backends wait for a session.
func (p *Pool) Spares() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.spares.Len()
}
