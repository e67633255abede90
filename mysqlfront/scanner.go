package mysqlfront

import (
	"sync/atomic"

	"serverlessproxy/mysqlfront/mysqlwire"
	"serverlessproxy/pool"
)

// scanner is what the relay shows a session's bytes to: the Tracker follows
// them, and once for each burst the seat and the tally hear what came of it.
type scanner struct {
	*mysqlwire.Tracker
	seat   *pool.Seat
	tally  *pool.Tally
	phase  pool.Phase
	pinned bool // the seat says that it is; it may not be any more after the next command
	// next, if not nil, is called once, when the client has sent something.
	next func()
	did  atomic.Uint32 // since the session's state was read: nothing, something…
	// readIn is the second in which it was read before a transaction last.
	readIn uint32
}

// FromClient is relay.Scanner's.
func (s *scanner) FromClient(b []byte) (n int, stop bool) {
	n, stop = s.Tracker.FromClient(b)
	s.tally.BytesIn.Add(int64(n))
	if n > 0 && s.did.Load() != something {
		s.did.Store(something)
	}
	s.settle()
	if s.next != nil && n > 0 {
		s.next()
		s.next = nil
	}
	return n, stop
}

// FromBackend is relay.Scanner's.
func (s *scanner) FromBackend(b []byte) (n int, stop bool) {
	n, stop = s.Tracker.FromBackend(b)
	s.tally.BytesOut.Add(int64(n))
	s.settle()
	return n, stop
}

// Safe is relay.Scanner's: nothing is under way and no transaction is open.
func (s *scanner) Safe() bool { return !s.Busy() && !s.InTransaction() }

// settle tells the seat what the session does now, if that has changed, and
// the tally what it has done.
func (s *scanner) settle() {
	phase := pool.Idle
	switch {
	case s.Busy():
		phase = pool.Active
	case s.InTransaction():
		phase = pool.InTransaction
	}
	if phase != s.phase {
		s.phase = phase
		s.seat.Set(phase)
		if s.pinned && phase == pool.Active {
			s.pinned = false
			s.seat.Pin()
		}
	}
	if done := s.TakeCounts(); done != (mysqlwire.Counts{}) {
		s.tally.Queries.Add(done.Queries)
		s.tally.Transactions.Add(done.Transactions)
	}
}
