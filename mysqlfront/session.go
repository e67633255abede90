package mysqlfront

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"serverlessproxy/cluster"
	"serverlessproxy/mysqlfront/mysqlwire"
	"serverlessproxy/pool"
	"serverlessproxy/relay"
	"serverlessproxy/router"
	"serverlessproxy/throttle"
)

// session is a client that has proved who it is. Between loans it is in the
// hands of one goroutine at a time, which alone touches what no lock protects.
type session struct {
	front   *Front
	id      uint32 // as the client knows it
	target  *router.Target
	address net.Addr
	local   net.Addr
	door    door
	salt    [mysqlwire.SaltSize]byte // of the greeting
	secure  bool

	compressed bool            // the client's side is
	ctx        context.Context // ends when the session must
	cancel     context.CancelCauseFunc

	seat    *pool.Seat
	who     identity           // changed under mu
	hello   mysqlwire.Response // what its backends are told
	scanner *scanner
	client  net.Conn
	unread  []byte   // of the client's, while the session is in hand
	backend *backend // nil while it has none
	parked  *parked  // what it had when it gave its backend up, nil otherwise
	kept    *parked  // what it had when its state was read last, nil where it could not be kept
	guesses int      // how many times it has failed to become another user
	aborted *aborted // its transaction died with an engine, and no ROLLBACK has come
	// releasing: its backend is to be another's meanwhile, and the cluster stays.
	releasing bool
	stuck     uint64   // after how many commands it could not give it up at once
	pinned    pinnedAt // the last reading, if it pins
	stays     stays    // the last that pins until a reset
	last      known    // the settings that it was restored with

	mu       sync.Mutex // protects what follows
	loan     relay.Loan // nil while the session is in hand
	alone    bool       // has no backend and does not ask for one
	waiting  bool       // asks for a backend
	remote   uint64     // the generation of a backend on another machine
	dead     uint64     // the generation of the engine that died last; 0 for none
	parking  *parking   // somebody waits for it to park
	reading  bool       // its state is to be read at the next safe point
	draining bool       // is to leave at the next safe point
	closing  error      // why it must end, wherever it stands
	seated   bool       // the seat is taken
	left     bool
	done     chan struct{} // closed when it has ended

	engineMu sync.Mutex // protects what follows; held while a KILL for engineID is under way
	engineID uint32     // the engine's number for the present backend, 0 without one
	struck   bool       // the engine ends the session's backend for a KILL
}

// newSession is the session of a client that has proved who it is.
func newSession(v *visitor, who identity) *session {
	s := &session{
		front:      v.front,
		id:         v.id,
		target:     v.target,
		address:    v.address,
		local:      v.conn.LocalAddr(),
		door:       v.door(),
		salt:       v.greeting.Salt,
		secure:     v.secure(),
		compressed: v.compression() != nil,
		who:        who,
		hello:      v.hello(who),
		client:     v.packets.conn,
		done:       make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancelCause(v.front.ctx)
	v.front.register(s)
	return s
}

// open takes a seat, gets a backend (or, with wake_on: query, only the word
// that there will be one), tells the client that it is in, and lends the
// session. On an error the client has not been told anything.
func (s *session) open(ctx context.Context, v *visitor) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })()
	ok, err := s.settleIn(ctx, v)
	if err != nil {
		return err
	}
	release := guard(ctx, v.conn)
	err = v.packets.write(ok)
	release()
	if err != nil {
		return gone(err)
	}
	if algorithm := v.compression(); algorithm != nil {
		s.client = mysqlwire.NewCompressed(s.client, algorithm)
	}
	s.lend(nil, nil)
	return nil
}

// settleIn takes a seat and gets a backend, and leaves at once when the client
// does. It returns the OK for the client.
func (s *session) settleIn(ctx context.Context, v *visitor) ([]byte, error) {
	ctx, release := watch(ctx, v.conn)
	defer release()
	seat, err := s.target.Pool.Join(ctx, pool.Claim{
		Session:    s,
		Info:       v.info(s.who),
		Privileged: v.privileged(s.who),
		Tally:      s.target.Tally,
	})
	if err != nil {
		return nil, because(ctx, err)
	}
	s.sit(seat)
	if s.target.WakeOnQuery {
		seat.Set(pool.Parked)
		return s.welcome(v.greeting.Status), nil
	}
	ok, err := s.connect(ctx, cluster.OnConnect)
	if err != nil {
		return nil, because(ctx, err)
	}
	return ok, nil
}

// because is why a wait ended: what ended ctx, where that did.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// sit takes a seat.
func (s *session) sit(seat *pool.Seat) {
	s.scanner = &scanner{
		Tracker: mysqlwire.NewTracker(mysqlwire.Config{
			Capabilities: s.hello.Capabilities,
			Renumber:     s.compressed,
			StopStray:    true,
			Unread:       s.mayReadNow,
		}),
		seat:  seat,
		tally: s.target.Tally,
		phase: pool.Active,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seat, s.seated, s.alone = seat, true, true
}

// welcome is the OK of a login that no engine has seen yet.
func (s *session) welcome(status uint16) []byte {
	s.scanner.Reset(status)
	return mysqlwire.AppendOK(nil, mysqlwire.OK{Status: status}, s.hello.Capabilities)
}

// retryAfter is the pause between two attempts to log in to an engine.
const retryAfter = 100 * time.Millisecond

// connect waits until the cluster serves, dials the engine and logs in as the
// session's user. It returns the engine's OK.
func (s *session) connect(ctx context.Context, trigger cluster.Trigger) ([]byte, error) {
	const attempts = 5
	s.mark(true)
	defer s.mark(false)
	var failure error
	for range attempts {
		at, err := s.seat.Backend(ctx, trigger)
		if err != nil {
			return nil, err
		}
		b, ok, err := s.caller().reach(ctx, at)
		if err == nil {
			return ok, s.adopt(ctx, b, ok)
		}
		failure = err
		if ctx.Err() != nil || !worthAnother(err) {
			break
		}
		throttle.Pause(ctx, retryAfter)
	}
	if errors.As(failure, new(*mysqlwire.ServerError)) || errors.Is(failure, errUnlike) {
		return nil, failure
	}
	return nil, fmt.Errorf("%w: %w", errNoBackend, failure)
}

// mark tells those who give orders whether the session asks for a backend.
func (s *session) mark(waiting bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = waiting
	s.alone = !waiting && s.backend == nil
}

// caller is what logs this session in.
func (s *session) caller() caller {
	return caller{
		upstream: s.target.Upstream,
		secrets:  secretsOf(s.who, s.target.Upstream.Passwords),
		hello:    s.hello,
		secured:  s.who.account.RequireSSL || s.who.account.RequireX509,
		client:   s.address,
		local:    s.local,
	}
}

// adopt makes a backend the session's, if it is the one that the client would
// have got directly.
func (s *session) adopt(ctx context.Context, b *backend, ok []byte) error {
	if err := s.sameAccount(ctx, b); err != nil {
		b.conn.Close()
		return err
	}
	status := uint16(0)
	if said, err := mysqlwire.ParseOK(ok, s.hello.Capabilities); err == nil {
		status = said.Status
	}
	s.backend = b
	s.moved()
	s.scanner.Reset(status)
	s.mu.Lock()
	if b.at.Network != "unix" {
		s.remote = b.at.Generation
	}
	s.mu.Unlock()
	s.setEngineID(b.id)
	s.seat.Describe(func(i *pool.Info) { i.BackendPID = b.id })
	return nil
}

func (s *session) setEngineID(id uint32) {
	s.engineMu.Lock()
	defer s.engineMu.Unlock()
	s.engineID = id
}

// isStruck tells whether a KILL has met the session's backend: it ends the
// session, also where that was just giving the backend up.
func (s *session) isStruck() bool {
	s.engineMu.Lock()
	defer s.engineMu.Unlock()
	return s.struck
}

// withdraw ends a session that the relay never had; the client is told by
// whom that knows why.
func (s *session) withdraw() {
	if s.backend != nil {
		s.backend.quit()
	}
	s.leave()
}

// leave gives up the seat and the number. What waits for the session to park
// or to end, hears of it.
func (s *session) leave() {
	s.setEngineID(0)
	s.unpark()
	s.front.forget(s.id)
	s.mu.Lock()
	parking, seated := s.parking, s.seated && !s.left
	s.parking, s.left = nil, true
	s.mu.Unlock()
	if parking != nil {
		parking.result <- nil
	}
	if seated {
		s.seat.Leave()
	}
	s.cancel(nil)
	close(s.done)
}
