package pgfront

import (
	"context"
	"slices"

	"serverlessproxy/pool"
)

// A session sits in a pool.
var _ pool.Session = (*session)(nil)

// Park implements pool.Session.
func (s *session) Park(ctx context.Context) error {
	if s.replication != none {
		return &pool.Pinned{Reasons: []string{"replication"}}
	}
	s.mu.Lock()
	if s.over || !s.backed {
		s.mu.Unlock()
		return nil
	}
	answer := make(chan error, 1)
	s.parks = append(s.parks, answer)
	if s.loan != nil {
		s.traffic.resting.Store(false)
		s.loan.Recall()
	}
	s.mu.Unlock()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
	}
	if s.takeBack(answer) {
		return &pool.Pinned{Reasons: []string{s.traffic.heldBy()}}
	}
	return <-answer
}

// takeBack takes the wish to park back, unless it is being answered.
func (s *session) takeBack(answer chan error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.parks, answer)
	if i < 0 || s.answering {
		return false
	}
	s.parks = slices.Delete(s.parks, i, i+1)
	if s.loan != nil && len(s.parks) == 0 && s.ending == nil && !s.seat.ReleaseAtOnce() {
		s.loan.Keep()
	}
	return true
}

// answerParks tells who asked the session to park how that went.
func (s *session) answerParks(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, answer := range s.parks {
		answer <- err
	}
	s.parks, s.answering = nil, false
}

// Drain implements pool.Session.
func (s *session) Drain(ctx context.Context) {
	s.end(farewell(pool.Draining), atSafePoint)
	select {
	case <-s.ended:
		return
	case <-ctx.Done():
	}
	s.end(farewell(pool.Draining), atOnce)
	<-s.ended // within the limits of saying goodbye
}

// Close implements pool.Session.
func (s *session) Close(reason pool.Reason) { s.end(farewell(reason), atOnce) }

// urgency is when a session that must end does so.
type urgency int

const (
	atSafePoint urgency = iota
	atOnce
)

// end has the session end. The first reason stands.
func (s *session) end(why *told, when urgency) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(why, when)
}

func (s *session) endLocked(why *told, when urgency) {
	if s.ending == nil {
		s.ending = why
	}
	s.endNow = s.endNow || when == atOnce
	switch {
	case s.loan != nil && s.endNow:
		s.loan.Sever()
	case s.loan != nil:
		s.traffic.resting.Store(false)
		s.loan.Recall()
	case s.interrupt != nil && s.mayInterruptLocked():
		s.interrupt(s.ending)
	}
}

// mayInterruptLocked tells whether a session that must end stops waiting for
// that. One that is being restored on an engine that runs is at work, and so
// is what a client left behind: that is executed first.
func (s *session) mayInterruptLocked() bool {
	atWork := s.lingering || s.backed && s.seat.Phase() == pool.Active
	return s.endNow || !atWork
}

// Lost implements pool.Session.
func (s *session) Lost(generation uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.backed || s.at.Generation != generation {
		return
	}
	s.lost = true
	if s.loan != nil {
		s.loan.Sever()
	}
}
