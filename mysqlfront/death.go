package mysqlfront

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"serverlessproxy/mysqlfront/mysqlwire"
	"serverlessproxy/relay"
)

// fate is what becomes of a session whose engine has died.
type fate uint8

const (
	fateParked     fate = iota // it goes on with its client's next request
	fateRolledBack             // its client said ROLLBACK, which is done
	fateAborted                // its transaction is rolled back: it goes on after a ROLLBACK
	fateUnknown                // what was under way may have taken effect: the client is told, and must look
	fateEnded                  // it cannot be what it was: the client is told
	fateClosed                 // nothing can be said any more
)

var fateNames = [...]string{"parked", "rolled back", "aborted", "outcome unknown", "ended", "closed"}

func (f fate) String() string { return fateNames[f] }

// circumstances decide the fate.
type circumstances struct {
	closed        bool // the client has half a packet
	leaving       bool // it was to end anyway
	busy          bool // something is under way
	rollback      bool // nothing but a ROLLBACK
	inTransaction bool
	mayCommit     bool // what is under way may have taken effect
	placed        bool // what is under way is known well enough to be answered
	known         bool // all that it was is known
	beginKnown    bool // all that it was when its transaction began
}

func (c circumstances) fate() fate {
	switch {
	case c.closed:
		return fateClosed
	case c.mayCommit:
		return fateUnknown
	case c.leaving:
		return fateEnded
	case !c.busy && !c.inTransaction && c.known:
		return fateParked
	case !c.inTransaction || !c.placed || !c.beginKnown:
		return fateEnded
	case c.rollback:
		return fateRolledBack
	}
	return fateAborted
}

func (s *session) circumstances() circumstances {
	t := s.scanner.Tracker
	undone := t.Undone()
	_, whole := t.Turn()
	s.mu.Lock()
	leaving := s.draining || s.closing != nil || s.ctx.Err() != nil
	s.mu.Unlock()
	kept := s.kept != nil && !t.LongData() && !t.Replica() && s.keepStatements(s.kept.here)
	return circumstances{
		closed:        !whole,
		leaving:       leaving,
		busy:          t.Busy(),
		rollback:      undone.Rollback,
		inTransaction: t.InTransaction(),
		mayCommit:     t.MayHaveCommitted(),
		placed:        undone.Placed,
		known:         kept && t.Known(),
		beginKnown:    kept && t.BeginKnown() && !s.kept.forNext(),
	}
}

// forNext tells whether a session had what only its next statement, or its next
// transaction, was to use: that it is used up, nobody has read.
func (p *parked) forNext() bool { return p.insertID != "0" }

// backendGone is a session whose backend has closed: with its engine, or alone
// (by KILL, by a time-out), which ends the session as it does with its own words
// for a client of the engine's own.
func (s *session) backendGone(r relay.Return) {
	if s.engineLives() {
		s.deliver(append(r.ToClient, r.FromBackend...))
		closeGently(s.client)
		s.endWith(errEngineGone, 0)
		return
	}
	s.engineGone(r)
}

// engineGone is a session whose engine has died. A client that waits for no
// answer hears what became of its session with its next command: it would take
// an error that it has not asked for as the answer to that.
func (s *session) engineGone(r relay.Return) {
	c := s.circumstances()
	c.closed = c.closed || !s.deliver(r.ToClient)
	fate := c.fate()
	s.front.Log.Info("the engine died under a session", "session", s.seat.ID(), "fate", fate.String())
	switch fate {
	case fateParked:
		s.outlive(r.FromClient)
	case fateRolledBack, fateAborted:
		s.abort(fate, r.FromClient)
	case fateUnknown:
		s.endWith(errOutcomeUnknown, s.scanner.Undone().Seq)
	case fateEnded:
		s.endLater(errEngineDied)
	case fateClosed:
		s.endWith(errUnasked, 0)
	}
}

// endLater ends a session whose client is told why as the answer to what it
// waits for, or to its next command.
func (s *session) endLater(why error) {
	u := s.scanner.Undone()
	switch {
	case u.Commands > 0 && u.Placed && u.Unsent == 0:
		s.endWith(why, u.Seq)
	case s.scanner.Busy():
		s.endWith(errUnasked, 0)
	default:
		s.end(why)
	}
}

// abort parks a session whose transaction is rolled back, as it was when that
// began.
func (s *session) abort(f fate, read []byte) {
	p, t := s.kept, s.scanner.Tracker
	p.once, p.glow = nil, glow{}
	undone := t.Undone()
	a := &aborted{caps: s.hello.Capabilities, status: t.Status(), unheard: true}
	answer := a.ok(undone.Seq, a.outside())
	if f == fateAborted {
		answer = a.begin(undone)
	}
	t.Abandon()
	if f == fateRolledBack {
		t.RolledBack()
	} else {
		s.aborted = a
	}
	if len(answer) > 0 && !s.deliver(answer) {
		s.endWith(errVanished, 0)
		return
	}
	s.outlive(read)
}

// answerAborted answers what the client of an aborted transaction has sent.
func (s *session) answerAborted(read []byte) {
	a := s.aborted
	answer, left, v := a.take(read)
	if len(answer) > 0 && !s.deliver(answer) {
		s.end(errVanished)
		return
	}
	s.forgetClosed()
	switch v {
	case leaving:
		s.end(errQuit)
	case spoilt:
		_, seq := mysqlwire.Header(read)
		s.endWith(errEngineDied, seq+1)
	case resetting:
		s.resume(left)
	case rolledBack:
		s.aborted = nil
		s.scanner.RolledBack()
		if len(left) > 0 {
			s.wake(left)
			return
		}
		s.lend(nil, nil)
	default:
		s.lend(nil, nil)
	}
}

// forgetClosed forgets the statements that the client of an aborted
// transaction has closed.
func (s *session) forgetClosed() {
	for _, id := range s.aborted.closed {
		payload := binary.LittleEndian.AppendUint32([]byte{mysql.COM_STMT_CLOSE}, id)
		s.scanner.Tracker.FromClient(mysqlwire.AppendPacket(nil, 0, payload))
	}
	s.aborted.closed = nil
}

// lifeSign is how long an engine may take to greet before it counts as dead.
const lifeSign = 2 * time.Second

// engineLives tells whether the engine of the backend that has closed still
// greets.
func (s *session) engineLives() bool {
	at := s.backend.at
	if s.engineDied(at.Generation) {
		return false
	}
	ctx, cancel := context.WithTimeout(s.ctx, lifeSign)
	defer cancel()
	conn, err := dialEngine(ctx, at)
	if err != nil {
		return false
	}
	defer conn.Close()
	defer guard(ctx, conn)()
	if (caller{upstream: s.target.Upstream, client: s.address, local: s.local}).announce(conn) != nil {
		return false
	}
	_, _, err = mysqlwire.ReadPacket(conn, maxLoginPacket)
	return err == nil && !s.engineDied(at.Generation) // one that was started again since is another
}

// engineDied tells whether the cluster has said so of a generation.
func (s *session) engineDied(generation uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return generation != 0 && s.dead == generation
}

// deliver gives the client what it had not taken yet.
func (s *session) deliver(rest []byte) bool {
	if len(rest) == 0 {
		return true
	}
	s.client.SetWriteDeadline(time.Now().Add(goodbyeLasts))
	defer s.client.SetWriteDeadline(time.Time{})
	_, err := s.client.Write(rest)
	return err == nil
}
