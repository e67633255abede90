package pgfront

import (
	"context"
	"fmt"
	"maps"
	"net"
	"strings"
	"time"

	"serverlessproxy/pgfront/pgwire"
	"serverlessproxy/pool"
)

// spare is a backend that a session gave up while the engine runs. Its reset
// has been sent; who borrows it hears first whether that went well.
type spare struct {
	conn       net.Conn
	key        pgwire.Key
	parameters map[string]string // as last reported
}

// A pool keeps spares.
var _ pool.Spare = (*spare)(nil)

// resets are what makes a backend what it was after its login; DISCARD ALL
// must stand alone.
var resets = []string{"discard all", "reset role"}

// offer makes a spare of the session's backend, where the next session would
// find nothing in it: a name of a setting outlives all resets.
func (s *session) offer() *spare {
	for _, setting := range s.kept.settings {
		if strings.Contains(setting.name, ".") {
			return nil
		}
	}
	var b []byte
	for _, text := range resets {
		b = pgwire.AppendMessage(b, pgwire.Query, append([]byte(text), 0))
	}
	s.backend.SetWriteDeadline(time.Now().Add(closeLimit))
	if _, err := s.backend.Write(b); err != nil {
		return nil
	}
	s.backend.SetWriteDeadline(time.Time{})
	return &spare{conn: s.backend, key: s.real, parameters: maps.Clone(s.reported)}
}

// Close implements pool.Spare.
func (p *spare) Close() {
	p.conn.SetDeadline(time.Now().Add(goodbyeTimeout))
	_, _ = p.conn.Write(pgwire.AppendTerminate(nil)) // an engine that does not hear it sees the end
	p.conn.Close()
}

// revive takes a spare into use. What it has to tell is another session's,
// except for its parameters.
func (p *spare) revive(ctx context.Context) (*opened, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	defer interruptIO(ctx, p.conn)()
	d := newDialogue(p.conn)
	for _, text := range resets {
		r, err := d.read()
		if err == nil && (r.failed != nil || r.status != pgwire.IdleStatus) {
			err = fmt.Errorf("%s: %w", text, errBackendBroken)
		}
		if err != nil {
			return nil, err
		}
	}
	maps.Copy(p.parameters, d.reported)
	return &opened{conn: p.conn, key: p.key, parameters: p.parameters, rest: withoutStatus(d.reader.Rest())}, nil
}

// spareKey holds all that tells two backends of a cluster apart.
func (s *session) spareKey() string {
	var key strings.Builder
	for _, p := range s.parameters {
		fmt.Fprintf(&key, "%q=%q ", p.Name, p.Value)
	}
	return key.String()
}
