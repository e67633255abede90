package mysqlfront

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"serverlessproxy/cluster"
	"serverlessproxy/mysqlfront/mysqlwire"
	"serverlessproxy/pool"
	"serverlessproxy/throttle"
)

// unlikeItem is a session that could not be rebuilt as it was.
type unlikeItem struct {
	item string
	why  error
}

func (e *unlikeItem) Error() string {
	if e.why != nil {
		return fmt.Sprintf("the session cannot be restored: %s: %v", e.item, e.why)
	}
	return fmt.Sprintf("the session cannot be restored: %s is not as it was", e.item)
}

func (e *unlikeItem) Unwrap() error { return e.why }

// restore waits until the cluster serves and rebuilds the session on a
// backend. Before that is complete nothing of the client's is sent.
func (s *session) restore(ctx context.Context) error {
	const attempts = 5
	s.mark(true)
	defer s.mark(false)
	var failure error
	for range attempts {
		c := s.caller()
		grant, err := s.seat.Borrow(ctx, cluster.OnQuery, c.key())
		if err != nil {
			return s.restored(err)
		}
		b, err := s.rebuild(ctx, c, grant)
		if err == nil {
			s.settleOn(b)
			return s.restored(nil)
		}
		failure = err
		if ctx.Err() != nil || !worthAnother(err) || errors.As(err, new(*unlikeItem)) {
			break
		}
		s.seat.CountRestore(pool.Recoverable)
		throttle.Pause(ctx, retryAfter)
	}
	s.seat.Set(pool.Parked)
	if errors.As(failure, new(*unlikeItem)) || errors.As(failure, new(*mysqlwire.ServerError)) || errors.Is(failure, errUnlike) {
		return s.restored(failure)
	}
	return s.restored(fmt.Errorf("%w: %w", errNoBackend, failure))
}

func (s *session) restored(err error) error {
	switch {
	case err == nil:
		s.seat.CountRestore(pool.Done)
	case passingTrouble(err):
		s.seat.CountRestore(pool.Recoverable)
	default:
		s.seat.CountRestore(pool.Fatal)
	}
	return err
}

// rebuild gets a backend and makes the session's state of it. On an error the
// backend is closed, and the session as it was.
func (s *session) rebuild(ctx context.Context, c caller, grant pool.Grant) (*backend, error) {
	if b, ok := grant.Spare.(*backend); ok {
		err := s.shape(ctx, b, true)
		if err == nil {
			return b, nil
		}
		b.conn.Close() // it may have died as a spare: a new one decides
	}
	c.hello.Database = s.parked.database
	b, _, err := c.reach(ctx, grant.Backend)
	var refusal *mysqlwire.ServerError
	if errors.As(err, &refusal) && !worthAnother(err) {
		return nil, &unlikeItem{"login", err}
	}
	if err != nil {
		return nil, err
	}
	if err := s.sameAccount(ctx, b); err != nil {
		b.conn.Close()
		return nil, err
	}
	if err := s.shape(ctx, b, false); err != nil {
		b.conn.Close()
		return nil, err
	}
	return b, nil
}

// shape gives a backend the session's state, reads it again, repairs what is
// not right yet and reads once more.
func (s *session) shape(ctx context.Context, b *backend, used bool) error {
	p := s.parked
	if used && p.database != "" {
		if _, err := b.command(ctx, append([]byte{mysql.COM_INIT_DB}, p.database...)...); err != nil {
			return err
		}
	}
	if p.multi != s.hello.Capabilities.Has(mysql.CLIENT_MULTI_STATEMENTS) {
		option := byte(1)
		if p.multi {
			option = 0
		}
		if _, err := b.command(ctx, mysql.COM_SET_OPTION, option, 0); err != nil {
			return err
		}
	}
	if err := s.apply(ctx, b, p.changed, "settings"); err != nil {
		return err
	}
	if err := s.instructAll(ctx, b, assignments(p.variables), "user variables"); err != nil {
		return err
	}
	item := ""
	for range 2 {
		got, err := s.take(ctx, b, p.known)
		if err != nil {
			return err
		}
		got.fresh = got.changed
		if item = p.unlike(&got.carried); item == "" {
			return s.finish(ctx, b)
		}
		if err := s.repair(ctx, b, got); err != nil {
			return err
		}
	}
	return &unlikeItem{item: item}
}

// repair sets what a new backend has otherwise than the session had it.
func (s *session) repair(ctx context.Context, b *backend, got *reading) error {
	p := s.parked
	if p.role != got.role {
		role := "NONE"
		if p.role != "" {
			role = quoteName(p.role)
		}
		if err := s.instructAll(ctx, b, []string{"SET ROLE " + role}, "role"); err != nil {
			return err
		}
	}
	return s.apply(ctx, b, p.wanted().differing(got.changed), "settings")
}

func (s *session) apply(ctx context.Context, b *backend, some settings, item string) error {
	if len(some) == 0 {
		return nil
	}
	return s.instructAll(ctx, b, []string{some.statement()}, item)
}

// instructAll runs statements in one round trip; a refusal says that the item
// cannot be restored.
func (s *session) instructAll(ctx context.Context, b *backend, texts []string, item string) error {
	if len(texts) == 0 {
		return nil
	}
	err := s.instruct(ctx, b, texts...)
	var refusal *mysqlwire.ServerError
	if errors.As(err, &refusal) && !worthAnother(err) {
		return &unlikeItem{item, err}
	}
	return err
}

// finish restores what the session's next statement uses up.
func (s *session) finish(ctx context.Context, b *backend) error {
	p := s.parked
	texts := []string{p.carried.once()}
	if p.once != nil {
		texts = append(texts, string(p.once))
	} else {
		texts = append(texts, p.glow.echo()...)
	}
	return s.instructAll(ctx, b, texts, "state of the next statement")
}

// settleOn makes a backend the session's.
func (s *session) settleOn(b *backend) {
	p := s.parked
	s.unpark()
	s.backend = b
	if s.aborted != nil { // its client resets the session
		s.aborted = nil
		s.scanner.RolledBack()
	}
	s.scanner.did.Store(something)
	s.remember(p)
	s.scanner.phase = pool.Active
	s.mu.Lock()
	if b.at.Network != "unix" {
		s.remote = b.at.Generation
	}
	s.mu.Unlock()
	s.setEngineID(b.id)
	s.seat.Describe(func(i *pool.Info) { i.BackendPID = b.id })
}

// unpark forgets what a parked session had.
func (s *session) unpark() {
	if s.parked == nil {
		return
	}
	if s.parked.expiry != nil {
		s.parked.expiry.Stop()
	}
	s.last, s.parked = s.parked.known, nil
}

// answerParked answers what a parked session can be answered without an
// engine; false where it cannot.
func (s *session) answerParked(read []byte) bool {
	length, _ := mysqlwire.Header(read)
	if len(read) != mysqlwire.HeaderSize+length {
		return false
	}
	payload := read[mysqlwire.HeaderSize:]
	switch payload[0] {
	case mysql.COM_STMT_CLOSE:
		s.scanner.Tracker.FromClient(read)
		s.rest()
		return true
	case mysql.COM_QUERY:
		return s.answerKeepalive(payload)
	}
	return false
}

// answerKeepalive gives the engine's recorded answer to a text that only asks
// whether it is there.
func (s *session) answerKeepalive(payload []byte) bool {
	text, ok := mysqlwire.QueryText(payload, s.hello.Capabilities)
	e := s.parked.keepalive[string(text)]
	if !ok || e == nil || !s.parked.unaltered() {
		return false
	}
	ctx, cancel := context.WithTimeout(s.ctx, goodbyeLasts)
	defer cancel()
	defer guard(ctx, s.client)()
	_, _ = s.client.Write(e.answer(s.scanner.Status())) // a client that is gone shows when it is waited for
	s.parked.glow = glow{rowCount: -1, foundRows: 1}
	s.parked.once = nil
	s.rest()
	return true
}

// rest begins the time anew after which a parked session is ended.
func (s *session) rest() {
	p := s.parked
	if seconds, err := time.ParseDuration(p.waits + "s"); err == nil && p.expiry != nil {
		p.expiry.Reset(seconds)
	}
}
