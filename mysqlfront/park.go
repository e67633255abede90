package mysqlfront

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"serverlessproxy/mysqlfront/mysqlwire"
	"serverlessproxy/pool"
)

// parked is a session's state while it has no backend.
type parked struct {
	carried
	here      *environment
	multi     bool   // several statements at once
	once      []byte // SET TRANSACTION for the next transaction
	keepalive map[string]*echo
	since     time.Time
	waits     string      // its wait_timeout, in seconds
	expiry    *time.Timer // ends it as wait_timeout says
}

// environment is what a statement's text is read with.
type environment struct {
	database string
	settings settings
}

// reads are the settings that change how a text is read.
var reads = []string{"sql_mode", "character_set_client", "character_set_connection", "collation_connection"}

// park gives the backend up, at a safe point: what the session has there is
// read, and kept until the client's next request. Until the backend is closed
// every failure leaves the session on it.
func (s *session) park(ctx context.Context) error {
	if s.backend == nil {
		return nil
	}
	err := s.tryToPark(ctx)
	var pinned *pool.Pinned
	switch {
	case errors.As(err, &pinned):
		s.seat.Pin(pinned.Reasons...)
		s.scanner.pinned = true
	case err == nil:
		s.seat.Pin()
	}
	if err == nil {
		s.seat.CountPark(pool.Done)
	} else {
		s.seat.CountPark(pool.Recoverable)
	}
	return err
}

// pinnedAt is a reading that pins, which holds until the client does anything.
type pinnedAt struct {
	commands uint64
	err      error
}

// stays is a reading that pins until the session is reset. No other is made
// before: it would tell nothing new, and take a HANDLER away that stands in the
// way of others.
type stays struct {
	resets uint64
	err    error
}

func (s *session) tryToPark(ctx context.Context) error {
	p, err := s.picture(ctx)
	if err != nil {
		return err
	}
	if err := s.seat.Ready(); err != nil {
		s.giveBack(p.glow)
		return err
	}
	s.giveUp(p)
	return nil
}

// giveBack gives a backend back what reading has taken away, where it can.
func (s *session) giveBack(g glow) {
	if echo := g.echo(); len(echo) > 0 {
		_, _ = s.ask(s.ctx, s.backend, echo...)
	}
}

// picture reads what the session would be parked with. Where something keeps
// it from that, the session is as it was.
func (s *session) picture(ctx context.Context) (*parked, error) {
	facts := s.scanner.Facts()
	if s.pinned.err != nil && s.pinned.commands == facts.Commands {
		return nil, s.pinned.err
	}
	if s.stays.err != nil && s.stays.resets == facts.Resets {
		return nil, s.stays.err
	}
	if err := s.attached(); err != nil {
		return nil, err
	}
	if s.releasing && (facts.Affected > 0 || facts.Warnings || facts.Watched) {
		return nil, errStillAsked
	}
	fresh, err := s.front.freshOf(ctx, s)
	if err != nil {
		return nil, err
	}
	s.backend.showsLocks = fresh.showsLocks
	var p *parked
	// Not within ctx: an answer once asked for is read to its end, and only then
	// is it looked whether the session is still to be parked.
	r, err := s.take(s.ctx, s.backend, fresh.known, s.last)
	if err == nil {
		p, err = s.compose(ctx, fresh, r)
	}
	if err == nil {
		return p, nil
	}
	if r == nil {
		return nil, fmt.Errorf("%w: %w", errLost, err) // its connection is closed, which the relay will find
	}
	s.giveBack(r.glow)
	if errors.As(err, new(*pool.Pinned)) {
		s.pinned = pinnedAt{facts.Commands, err}
		if reasons := r.untilReset(); len(reasons) > 0 {
			s.stays = stays{facts.Resets, &pool.Pinned{Reasons: reasons}}
		}
	}
	return nil, err
}

// errLost says that the backend closed while the session's state was read.
var errLost = errors.New("backend closed while the session's state was read")

// errStillAsked says that the client may want to know of its statements what
// would be lost.
var errStillAsked = errors.New("the last statement's warnings or count, or what the engine notes of statements, may be asked for")

// attached are the pins that the session's bytes tell of.
func (s *session) attached() error {
	var reasons []string
	if s.scanner.Replica() {
		reasons = append(reasons, "replication")
	}
	if s.scanner.Cursors() > 0 {
		reasons = append(reasons, "cursor")
	}
	if s.scanner.LongData() {
		reasons = append(reasons, "long_data")
	}
	if len(reasons) == 0 && !s.backend.mariaDB {
		reasons = append(reasons, "unreadable")
	}
	if len(reasons) == 0 {
		return nil
	}
	return &pool.Pinned{Reasons: reasons}
}

// compose makes of what was read what the session is parked with, unless that
// pins it.
func (s *session) compose(ctx context.Context, fresh *fresh, r *reading) (*parked, error) {
	facts := s.scanner.Facts()
	reasons := r.decide(facts)
	if facts.NextUnclear {
		reasons = append(reasons, "transaction")
	}
	if !ascii(r.database) && !readsUTF8(s.hello.Charset) || !ascii(r.role) {
		reasons = append(reasons, "unreadable")
	}
	here := &environment{r.database, settings{}}
	for _, name := range reads {
		here.settings[name] = r.changed[name]
	}
	if !s.keepStatements(here) {
		reasons = append(reasons, "prepared_text")
	}
	if len(reasons) > 0 {
		return nil, &pool.Pinned{Reasons: reasons}
	}
	if s.releasing && !r.glow.lasts() {
		return nil, errStillAsked
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", errNotNow, err)
	}
	p := &parked{
		carried:   r.carried,
		here:      here,
		multi:     s.scanner.MultiStatements(),
		once:      facts.NextTransaction,
		keepalive: fresh.keepalive,
		since:     time.Now(),
		waits:     r.changed["wait_timeout"].value,
	}
	all := r.changed
	p.fresh, p.changed = fresh.known.fresh, all.differing(fresh.known.fresh)
	return p, nil
}

// keepStatements notes what the prepared statements were read with; false
// where that is not known of one, or it could not be prepared again.
func (s *session) keepStatements(here *environment) bool {
	for statement := range s.scanner.Statements() {
		if statement.Unreadable || statement.TypesUnknown {
			return false
		}
		if statement.Kept != nil {
			continue
		}
		if !s.scanner.Present(statement) {
			return false
		}
		statement.Kept = here
	}
	return true
}

// readsUTF8 tells whether a collation, by its number, is of UTF-8.
func readsUTF8(collation byte) bool {
	return collation == 33 || collation == 45 || collation == 46 || collation == 83 || collation >= 192
}

// giveUp is the point of no return: the session has no backend any more.
func (s *session) giveUp(p *parked) {
	b := s.backend
	s.parked, s.kept = p, nil
	s.setEngineID(0)
	if s.isStruck() {
		s.Close(pool.Killed)
	}
	s.backend = nil
	s.mark(false)
	s.mu.Lock()
	s.remote = 0
	s.mu.Unlock()
	s.scanner.Detach()
	s.scanner.phase = pool.Parked
	s.seat.Describe(func(i *pool.Info) { i.BackendPID = 0 })
	if seconds, err := time.ParseDuration(p.waits + "s"); err == nil && seconds > 0 {
		p.expiry = time.AfterFunc(seconds, s.expire)
	}
	var spare pool.Spare
	if s.seat.Keeps(b.at.Generation) && s.reset(b) {
		spare = b
	} else {
		b.Close()
	}
	s.seat.GiveUp(s.caller().key(), b.at.Generation, spare)
}

// expire ends a parked session as the engine would: it has waited for longer
// than wait_timeout.
func (s *session) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.alone {
		return
	}
	if s.closing == nil {
		s.closing = errWaitTimeout
	}
	s.cancel(s.closing)
	if s.loan != nil {
		s.loan.Sever()
	}
}

// reset makes a backend fit for another session of the same account.
func (s *session) reset(b *backend) bool {
	const resetLasts = time.Second
	ctx, cancel := context.WithTimeout(s.ctx, resetLasts)
	defer cancel()
	_, err := b.command(ctx, mysql.COM_RESET_CONNECTION)
	return err == nil
}

// Close is pool.Spare's.
func (b *backend) Close() {
	b.conn.SetWriteDeadline(time.Now().Add(time.Second))
	mysqlwire.WritePacket(b.conn, 0, []byte{mysql.COM_QUIT})
	b.conn.Close()
}

// Lasting is pool.Spare's: a new login has a backend of its own.
func (b *backend) Lasting() bool { return false }

// key tells backends apart that are not of use for each other's sessions.
func (c caller) key() string {
	var key strings.Builder
	fmt.Fprintf(&key, "%q %x %d %d", c.hello.User, uint64(c.hello.Capabilities), c.hello.Charset, c.hello.MaxPacket)
	for _, a := range c.hello.Attributes {
		fmt.Fprintf(&key, " %q=%q", a.Name, a.Value)
	}
	if c.upstream.ProxyHeader {
		host, _, err := net.SplitHostPort(c.client.String())
		if err != nil {
			host = "local"
		}
		key.WriteString(" " + host)
	}
	if c.secured {
		key.WriteString(" secured")
	}
	return key.String()
}
