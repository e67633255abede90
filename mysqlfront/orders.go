package mysqlfront

import (
	"context"
	"fmt"

	"serverlessproxy/pool"
)

// parking is somebody who waits for a session to give up its backend.
type parking struct {
	ctx    context.Context // ends with the wait
	result chan error      // of one
}

// Park is pool.Session's.
func (s *session) Park(ctx context.Context) error {
	p := &parking{ctx: ctx, result: make(chan error, 1)}
	s.mu.Lock()
	if s.left || s.alone {
		s.mu.Unlock()
		return nil
	}
	if s.parking != nil {
		s.mu.Unlock()
		return fmt.Errorf("park session %d: it is being parked", s.id)
	}
	s.parking = p
	if s.loan != nil {
		s.loan.Recall()
	}
	s.mu.Unlock()
	select {
	case err := <-p.result:
		return err
	case <-ctx.Done():
		return s.keep(ctx, p)
	}
}

// keep takes the wish to park back. It may come too late: then the result
// stands.
func (s *session) keep(ctx context.Context, p *parking) error {
	s.mu.Lock()
	if s.parking != p {
		s.mu.Unlock()
		return <-p.result
	}
	s.parking = nil
	if s.loan != nil && !s.draining {
		s.loan.Keep()
	}
	seat := s.seat
	s.mu.Unlock()
	if seat != nil && seat.Phase() == pool.InTransaction {
		return &pool.Pinned{Reasons: []string{"transaction"}}
	}
	return fmt.Errorf("wait for a safe point: %w", context.Cause(ctx))
}

// Drain is pool.Session's.
func (s *session) Drain(ctx context.Context) {
	s.mu.Lock()
	s.draining = true
	switch {
	case s.loan != nil && s.alone:
		s.loan.Sever()
	case s.loan != nil:
		s.loan.Recall()
	}
	held := s.waiting && s.heldLocked()
	s.mu.Unlock()
	if held {
		s.Close(pool.Draining) // waits for a cluster that will not come
	}
	select {
	case <-s.done:
	case <-ctx.Done():
		s.Close(pool.Draining)
		<-s.done
	}
}

// heldLocked tells whether a session that asks for a backend waits for its
// cluster. One that is being restored on an engine that runs is at work: its
// request is executed.
func (s *session) heldLocked() bool { return s.seat == nil || s.seat.Phase() != pool.Active }

// Close is pool.Session's.
func (s *session) Close(reason pool.Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing == nil {
		s.closing = ending(reason)
	}
	s.cancel(s.closing)
	if s.loan != nil {
		s.loan.Sever()
	}
}

// ending is what a session is ended for.
func ending(reason pool.Reason) error {
	switch reason {
	case pool.Killed:
		return errKilled
	case pool.Evicted:
		return errForcedScale
	case pool.PinnedTimeout:
		return errPinnedTimeout
	}
	return errDraining
}

// Lost is pool.Session's. A Unix socket tells by itself, after all that the
// engine said before; over TCP a dead host does not.
func (s *session) Lost(generation uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = generation
	if s.loan != nil && s.remote == generation && generation != 0 {
		s.loan.Sever()
	}
}

// why is what ends the session, nil while nothing does.
func (s *session) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// user is who the session is, for those who don't have it in hand.
func (s *session) user() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.who.user
}
