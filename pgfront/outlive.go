package pgfront

import (
	"errors"
	"time"

	"serverlessproxy/pool"
)

// A session outlives an engine that dies under it if its state was read since
// it last did anything. So an idle session's state is read once, a moment
// after it fell idle.

// readIdle is how often it is looked who has fallen idle: between the first
// and the second look a session's state is read.
const readIdle = 250 * time.Millisecond

// readAtOnce is how many sessions are read at one look: a crowd that falls idle
// together must not have the engine answer thousands of questions at once.
const readAtOnce = 16

// A session is also read before it begins a transaction, if what it is was not
// known: its rollback leads back there should the engine die. That costs the
// client a round trip, so a busy one pays it once in a while.
const (
	readBegin       = time.Second // at least, from one such reading of a session to its next
	readAtOnceBegin = 16          // between two looks
)

// What a session did since its state was read last.
const (
	nothing uint32 = iota
	something
	somethingEarlier // than the last look
)

// watchIdle has the state of idle sessions read, until the Front closes.
func (f *Front) watchIdle() {
	defer f.background.Done()
	ticker := time.NewTicker(readIdle)
	defer ticker.Stop()
	for {
		select {
		case <-f.ctx.Done():
			return
		case <-ticker.C:
		}
		f.readings.Store(readAtOnceBegin)
		left := readAtOnce
		for _, s := range f.everybody() {
			if left > 0 && s.lookIdle() {
				left--
			}
		}
	}
}

func (f *Front) everybody() []*session {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*session, 0, len(f.sessions))
	for s := range f.sessions {
		all = append(all, s)
	}
	return all
}

// lookIdle has the session's state read if it has been idle for two looks, and
// tells whether.
func (s *session) lookIdle() (asked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loan == nil || s.seat == nil || !s.backed || s.replication != none || s.seat.Phase() != pool.Idle {
		return false
	}
	if s.traffic.did.CompareAndSwap(something, somethingEarlier) {
		return false
	}
	if s.traffic.did.Load() != somethingEarlier || s.traffic.resting.Load() {
		return false
	}
	s.reading = true
	s.loan.Recall()
	return true
}

// readOnly reads the session's state and leaves it on its backend. It is no
// activity.
func (s *session) readOnly() error {
	read, err := s.read()
	if err == nil {
		s.kept = &read.state
		s.clung = read.decide()
		s.carried = len(s.clung) == 0
		s.settled()
	}
	return err
}

// known tells whether all that the session is was read, and can be carried.
func (s *session) known() bool { return s.carried && s.traffic.did.Load() == nothing }

// settled says that what is known of the session is what it is now.
func (s *session) settled() {
	s.traffic.did.Store(nothing)
	s.traffic.tracker.Settled()
}

// mayRead tells whether a session that begins a transaction is to be read
// before.
func (t *traffic) mayRead() bool {
	if t.readings == nil || time.Since(t.beginRead) < readBegin {
		return false
	}
	t.beginRead = time.Now()
	return t.readings.Add(-1) >= 0
}

// readAtBegin reads the session's state before its client's BEGIN, which waits.
// One that cannot be read now goes on all the same.
func (s *session) readAtBegin() {
	if err := s.readOnly(); errors.Is(err, errBackendBroken) {
		s.backendBroke(err)
		return
	}
	s.lend()
}
