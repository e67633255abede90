package pgfront

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"serverlessproxy/pgfront/pgwire"
	"serverlessproxy/relay"
)

// fate is what becomes of a session whose engine has died.
type fate uint8

const (
	fateParked  fate = iota // it goes on with its client's next request
	fateAborted             // its transaction is rolled back: it goes on after a ROLLBACK
	fateUnknown             // what was under way may have taken effect: the client is told, and must look
	fateEnded               // it cannot be what it was: the client is told
	fateClosed              // nothing can be said any more
)

// circumstances decide the fate.
type circumstances struct {
	closed        bool // the client has half a message, or has been told the end
	leaving       bool // it was to end anyway
	idle          bool // nothing is under way, no transaction is open
	inTransaction bool
	mayCommit     bool // what is under way may have taken effect
	placed        bool // what is under way is known, message by message
	known         bool // all that it was is known, and can be kept
	beginKnown    bool // all that it was when its transaction began
}

func (c circumstances) fate() fate {
	switch {
	case c.closed:
		return fateClosed
	case c.mayCommit:
		return fateUnknown
	case c.leaving || !c.placed:
		return fateEnded
	case c.idle && c.known:
		return fateParked
	case c.inTransaction && c.beginKnown:
		return fateAborted
	}
	return fateEnded
}

func (s *session) circumstances() circumstances {
	t := &s.traffic.tracker
	_, placed := t.Outstanding()
	s.mu.Lock()
	leaving := s.ending != nil || s.front.ctx.Err() != nil
	s.mu.Unlock()
	// What was notified after the engine's death, or just before, nobody has heard.
	hears := s.kept != nil && len(s.kept.channels) > 0
	keepable := s.carried && s.replication == none && !hears
	return circumstances{
		closed:        t.Torn() || t.Fatal(),
		leaving:       leaving,
		idle:          t.Safe(),
		inTransaction: t.InTransaction(),
		mayCommit:     t.MayHaveCommitted(),
		placed:        placed,
		known:         keepable && s.known(),
		beginKnown:    keepable && t.BeginKnown(),
	}
}

// serverLeaves is a session whose backend said that it ends. If only this one
// does, the client hears it as it was said.
func (s *session) serverLeaves() {
	if s.traffic.tracker.Farewell() == pgwire.Ordered && s.engineLives() {
		s.log.Info("the server ended a session")
		sayGoodbye(s.client, s.traffic.early)
		s.finish()
		return
	}
	s.backendGone(relay.Return{})
}

// backendBroke is a session whose backend broke while it was asked. If somebody
// ended this one alone, the client hears it as it was said.
func (s *session) backendBroke(err error) {
	var said *engineError
	if errors.As(err, &said) && said.code == pgwire.AdminShutdown && s.engineLives() {
		s.log.Info("the server ended a session")
		sayGoodbye(s.client, said.message)
		s.finish()
		return
	}
	s.backendGone(relay.Return{Err: err})
}

// engineLives tells whether the engine still takes logins. One that is going
// down refuses them before it ends its sessions; one that has been started
// again since is another.
func (s *session) engineLives() bool {
	ctx, cancel := context.WithTimeout(s.front.ctx, closeLimit)
	defer cancel()
	s.mu.Lock()
	at := s.at
	s.mu.Unlock()
	o, err := s.logIn(ctx, at)
	if err == nil {
		(&spare{conn: o.conn}).Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.lost && (err == nil || !passing(err))
}

// backendGone is a session whose engine has died.
func (s *session) backendGone(r relay.Return) {
	s.client.SetWriteDeadline(time.Now().Add(goodbyeTimeout))
	_, err := s.client.Write(r.ToClient)
	if err == nil {
		err = s.lastWords()
	}
	s.client.SetWriteDeadline(time.Time{})
	c := s.circumstances()
	c.closed = c.closed || err != nil
	switch c.fate() {
	case fateParked:
		s.outlive()
		return
	case fateAborted:
		if s.abort() == nil {
			return
		}
	case fateUnknown:
		s.log.Info("the server died while a session was at work", "error", r.Err)
		sayGoodbye(s.client, unknownOutcome().fatal())
	case fateEnded:
		s.log.Info("the server died under a session", "error", r.Err)
		sayGoodbye(s.client, crashed(s.loses()).fatal())
	case fateClosed:
		sayGoodbye(s.client, nil)
	}
	s.finish()
}

// loses names what of the session could not be kept.
func (s *session) loses() string {
	if s.traffic.tracker.InTransaction() {
		return "Its transaction is rolled back, and what the session was before it is not known."
	}
	if !s.carried && len(s.clung) > 0 {
		return "It had what cannot be kept: " + strings.Join(s.clung, ", ") + "."
	}
	return "What the session was (settings, prepared statements) is not known: it had worked since that was read."
}

// lastWords passes on what a dead engine's socket still holds.
func (s *session) lastWords() error {
	s.backend.SetReadDeadline(time.Now().Add(lastRead))
	buffer := append(make([]byte, 0, 8<<10), s.traffic.early...)
	for {
		n, stop := s.traffic.FromBackend(buffer)
		if _, err := s.client.Write(buffer[:n]); err != nil {
			return err
		}
		kept := copy(buffer[:cap(buffer)], buffer[n:])
		if kept == cap(buffer) {
			buffer = append(make([]byte, 0, 2*kept), buffer[:kept]...)
		}
		read, err := s.backend.Read(buffer[kept:cap(buffer)])
		buffer = buffer[:kept+read]
		if stop || err != nil && read == 0 {
			return nil
		}
	}
}

// outlive parks a session of which all is known.
func (s *session) outlive() {
	if s.kept == nil {
		s.kept = &state{}
	}
	s.traffic.early = nil
	s.giveUp()
	s.describeBackend(0)
	s.seat.CountOutlived()
	s.lend()
}

// abort parks a session that is to hear first that its transaction is rolled
// back; what it was when that began is known.
func (s *session) abort() error {
	t := &s.traffic.tracker
	o, _ := t.Outstanding()
	if s.kept == nil {
		s.kept = &state{}
	}
	s.kept.unnamed, s.kept.unnamedShape = nil, nil
	for _, p := range t.Prepared() {
		s.kept.statements = append(s.kept.statements, unseenStatement(p))
	}
	s.aborted = &aborted{kept: s.kept, unheard: true}
	if s.traffic.tracker.Failed() {
		s.aborted.unheard = false
	}
	t.Abandon()
	s.settled()
	if err := s.write(s.aborted.begin(o)); err != nil {
		return err
	}
	s.log.Info("the server died under a transaction, which is rolled back")
	s.outlive()
	return nil
}

// answerAborted answers what the client of an aborted transaction sent; true
// if the ROLLBACK is done, and more has been sent behind it.
func (s *session) answerAborted(ctx context.Context) (more bool) {
	b, err := s.nextPiece(ctx)
	var answer []byte
	if err == nil {
		answer, s.pending, err = s.aborted.take(b)
	}
	if len(answer) > 0 {
		if failed := s.write(answer); failed != nil {
			err = failed
		}
	}
	switch {
	case err != nil:
		s.turnAway(err)
		return false
	case s.aborted.goodbye:
		s.finish()
		return false
	case s.aborted.over:
		s.traffic.tracker.HasUnnamed(s.kept.unnamed)
		s.aborted = nil
	}
	if len(s.pending) == 0 {
		s.pending = nil
		s.lend()
		return false
	}
	return true
}

// nextPiece is what the client has sent.
func (s *session) nextPiece(parent context.Context) ([]byte, error) {
	if b := s.pending; len(b) > 0 {
		s.pending = nil
		return b, nil
	}
	ctx, release := s.interruptible(parent)
	defer release()
	ctx, cancel := context.WithTimeoutCause(ctx, skipLimit, violation("incomplete message", ""))
	defer cancel()
	defer interruptIO(ctx, s.client)()
	b := make([]byte, 16<<10)
	n, err := s.client.Read(b)
	if n > 0 {
		return b[:n], nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, fmt.Errorf("%w: %w", errClientGone, err)
}
