package pgfront

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	"serverlessproxy/pgfront/pgwire"
	"serverlessproxy/pool"
)

const (
	// spareAge is how old a backend may be that is kept for another session:
	// its caches grow, and what it was made of may have changed twice.
	spareAge = 10 * time.Minute
	// reviveLimit is for a backend to end its reset: one that has much to
	// throw away is slower than a new one.
	reviveLimit = time.Second
)

// origin is what of a backend's login concerns its later users.
type origin struct {
	born    time.Time // before the login was asked for
	notices []byte    // what the engine said to whoever logged in
}

// spare is a backend that a session gave up, or left behind, while the engine
// runs. Its reset has been sent; who borrows it hears first whether that went
// well.
type spare struct {
	origin
	conn       net.Conn
	key        pgwire.Key
	parameters map[string]string // as last reported
}

// A pool keeps spares.
var _ pool.Spare = (*spare)(nil)

// resets make a backend what it was after its login; DISCARD ALL must stand
// alone. The last one tells who the backend works as then, and whether it has a
// temporary schema, which no reset takes away. It gives a row more for each of
// names that is the name of a setting still, since that outlives all resets.
func resets(names []string) []string {
	rest := fmt.Sprintf("reset role; select pg_catalog.setseed(%.15f), session_user, pg_catalog.current_setting('role'), pg_catalog.pg_my_temp_schema()", rand.Float64())
	if len(names) > 0 {
		rest += "; select from pg_catalog.unnest('" + array(names) + "'::pg_catalog.text[]) n where pg_catalog.current_setting(n, true) is not null"
	}
	return []string{"discard all", rest}
}

// offer makes a spare of the session's backend, where the next session would
// find nothing in it.
func (s *session) offer() *spare {
	names, more := s.traffic.tracker.Names()
	if more || s.traffic.tracker.NamedHidden() || time.Since(s.origin.born) > spareAge {
		return nil
	}
	if s.kept != nil && slices.ContainsFunc(s.kept.settings, func(is setting) bool { return strings.Contains(is.name, ".") }) {
		return nil
	}
	var b []byte
	for _, text := range resets(names) {
		b = appendQuery(b, text)
	}
	s.backend.SetWriteDeadline(time.Now().Add(closeLimit))
	if _, err := s.backend.Write(b); err != nil {
		return nil
	}
	s.backend.SetWriteDeadline(time.Time{})
	return &spare{origin: s.origin, conn: s.backend, key: s.real, parameters: maps.Clone(s.reported)}
}

func appendQuery(dst []byte, text string) []byte {
	return pgwire.AppendMessage(dst, pgwire.Query, append([]byte(text), 0))
}

// Close implements pool.Spare.
func (p *spare) Close() {
	p.conn.SetDeadline(time.Now().Add(goodbyeTimeout))
	_, _ = p.conn.Write(pgwire.AppendTerminate(nil)) // an engine that does not hear it sees the end
	p.conn.Close()
}

// Lasting implements pool.Spare: new logins use spares too.
func (p *spare) Lasting() bool { return true }

// revive takes a spare into use. What it has to tell is another session's,
// except for its parameters. A session that was parked knows itself what it
// must find; a new one must find what a new login would.
func (s *session) revive(ctx context.Context, p *spare) (*opened, error) {
	ctx, cancel := context.WithTimeout(ctx, reviveLimit)
	defer cancel()
	defer interruptIO(ctx, p.conn)()
	d := newDialogue(p.conn)
	if s.kept == nil {
		if _, err := p.conn.Write(appendQuery(nil, printQuery)); err != nil {
			return nil, err
		}
	}
	var told [][]string
	for range resets(nil) {
		r, err := d.read()
		if err != nil {
			return nil, err
		}
		if r.failed != nil || r.status != pgwire.IdleStatus {
			return nil, fmt.Errorf("reset: %w", errBackendBroken)
		}
		told = append(told, r.rows...)
	}
	if len(told) != 1 || len(told[0]) != 4 {
		return nil, fmt.Errorf("reset: %w", errBackendBroken)
	}
	if hasTemporarySchema := told[0][3] != "0"; hasTemporarySchema && s.kept == nil {
		return nil, errStale // a new session is the first to use its own
	}
	if s.kept == nil {
		r, err := d.read()
		if err != nil {
			return nil, err
		}
		if !s.seesAsNew(p, r) {
			return nil, errStale
		}
	}
	maps.Copy(p.parameters, d.reported)
	return &opened{origin: p.origin, as: persona{told[0][1], told[0][2]}, conn: p.conn, key: p.key, parameters: p.parameters, greeting: p.greeting(), rest: withoutStatus(d.reader.Rest())}, nil
}

// greeting is what the engine would say to a new session.
func (p *spare) greeting() (b []byte) {
	for _, name := range slices.Sorted(maps.Keys(p.parameters)) {
		b = pgwire.AppendParameterStatus(b, name, p.parameters[name])
	}
	return append(b, p.notices...)
}

// spareKey holds all that tells two backends of a cluster apart.
func (s *session) spareKey() string {
	var key strings.Builder
	for _, p := range s.parameters {
		fmt.Fprintf(&key, "%q=%q ", p.Name, p.Value)
	}
	return key.String()
}

// leavesBehind tells whether the backend of a client that has said goodbye is
// of use to another: it stands at a safe point, and nobody wants anything else
// of the session.
func (s *session) leavesBehind() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.backend != nil && s.replication == none && s.traffic.tracker.AtRest() && len(s.traffic.early) == 0 &&
		s.ending == nil && !s.lost && s.front.ctx.Err() == nil
}
