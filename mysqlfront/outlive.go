package mysqlfront

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"serverlessproxy/mysqlfront/mysqlwire"
	"serverlessproxy/pool"
	"serverlessproxy/relay"
)

// A session outlives an engine that dies under it if its state was read since
// it last did anything, or before the open transaction began. So an idle
// session's state is read once, a moment after it fell idle, unless its last
// statement left what a reading would take away (warnings, very many rows), the
// engine notes its statements, ours as well, or it has a HANDLER; and that of
// one which has not been idle, before it begins a transaction.

const (
	// lookIdleEvery is how often it is looked who has fallen idle: between the
	// first and the second look a session's state is read.
	lookIdleEvery = 250 * time.Millisecond
	// readAtOnce is how many sessions are read at one look: a crowd that falls
	// idle together must not have the engine answer thousands of questions.
	readAtOnce = 16
	// readAtBegin is how many sessions are read in a second before they begin a
	// transaction; no session more than once. What it costs stays small then,
	// however many transactions there are.
	readAtBegin = 32
)

// What a session did since its state was read last.
const (
	nothing uint32 = iota
	something
	somethingEarlier // than the last look
)

// readings are those of a Front before transactions.
type readings struct {
	second atomic.Uint32
	left   atomic.Int32 // in this second
}

// watchIdle has the state of idle sessions read, until the Front closes.
func (f *Front) watchIdle() {
	ticker := time.NewTicker(lookIdleEvery)
	defer ticker.Stop()
	for look := 0; ; look++ {
		if look%int(time.Second/lookIdleEvery) == 0 {
			f.readings.left.Store(readAtBegin)
			f.readings.second.Add(1)
		}
		select {
		case <-f.ctx.Done():
			return
		case <-ticker.C:
		}
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
	for _, s := range f.sessions {
		if s != nil {
			all = append(all, s)
		}
	}
	return all
}

// lookIdle has the session's state read if it has been idle for two looks, and
// tells whether.
func (s *session) lookIdle() (asked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loan == nil || s.alone || s.seat.Phase() != pool.Idle {
		return false
	}
	did := &s.scanner.did
	if did.CompareAndSwap(something, somethingEarlier) || did.Load() == nothing {
		return false
	}
	s.reading = true
	s.loan.Recall()
	return true
}

// mayReadNow is mysqlwire.Config's: it tells whether the session's state is to be
// read before the transaction that begins. It is called in the relay.
func (s *session) mayReadNow() bool {
	r := &s.front.readings
	second := r.second.Load()
	if s.scanner.readIn == second || shows(s.scanner.Facts()) || r.left.Add(-1) < 0 {
		return false
	}
	s.scanner.readIn = second
	return true
}

// shows tells whether the client could tell that its session was read.
func shows(facts mysqlwire.Facts) bool { return facts.Watched || facts.Handler }

const readLasts = 30 * time.Second

// readIdle reads the session's state and leaves it on its backend. Whatever
// comes of it is not tried again before the client does something.
func (s *session) readIdle() error {
	var err error
	if facts := s.scanner.Facts(); !facts.Warnings && facts.Affected <= mostChanged && !shows(facts) {
		err = s.read()
	}
	s.scanner.did.Store(nothing)
	return err
}

// readBefore reads the session's state before a command that begins a
// transaction, after which nobody can ask for the last statement's warnings.
func (s *session) readBefore(r relay.Return) {
	if err := s.read(); errors.Is(err, errLost) {
		s.backendGone(relay.Return{Ends: relay.Ends{FromClient: r.FromClient}})
		return
	}
	s.lend(r.FromClient, r.FromBackend)
}

// read reads the session's state and gives the backend back what that has taken
// away. Only an errLost matters: then the backend is gone.
func (s *session) read() error {
	ctx, cancel := context.WithTimeout(s.ctx, readLasts)
	defer cancel()
	s.kept = nil
	p, err := s.picture(ctx)
	if err != nil {
		return err
	}
	if echo := p.glow.echo(); len(echo) > 0 {
		if _, err := s.ask(ctx, s.backend, echo...); err != nil {
			return errLost
		}
	}
	s.remember(p)
	return nil
}

// remember says that all that the session is, is this.
func (s *session) remember(p *parked) {
	s.kept, s.last = p, p.known
	s.scanner.Settled()
}

// moved says that the session is not what it was when it was read.
func (s *session) moved() {
	s.kept = nil
	s.scanner.did.Store(something)
}

// outlive parks a session of which all is known, whose engine has died. read
// is what its client has sent since.
func (s *session) outlive(read []byte) {
	p := s.kept
	p.since = time.Now()
	s.backend.conn.Close()
	s.giveUp(p)
	s.seat.CountOutlived()
	if len(read) > 0 {
		s.wake(read)
		return
	}
	s.lend(nil, nil)
}
