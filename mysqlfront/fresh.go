package mysqlfront

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"serverlessproxy/mysqlfront/mysqlwire"
)

// fresh is what a session of an account has when it begins.
type fresh struct {
	known      known // its settings
	showsLocks bool  // information_schema.metadata_lock_info is there
	keepalive  map[string]*echo
}

// echo is the engine's answer to a text that only asks whether it is there.
type echo struct{ packets [][]byte }

// freshFor is how long a reading holds: a plugin that is installed meanwhile
// brings variables with it.
const freshFor = time.Minute

// freshness keeps what sessions begin with, by account and engine.
type freshness struct {
	mu    sync.Mutex // protects known; held while one is read, which all of that key wait for
	known map[string]*freshEntry
}

type freshEntry struct {
	generation uint64
	read       time.Time
	value      *fresh
}

// freshOf is what a session like s begins with on the present engine.
func (f *Front) freshOf(ctx context.Context, s *session) (*fresh, error) {
	c := s.caller()
	key := fmt.Sprintf("%s %q %s", s.target.Name, c.hello.Database, c.key())
	f.fresh.mu.Lock()
	defer f.fresh.mu.Unlock()
	if e := f.fresh.known[key]; e != nil && e.generation == s.backend.at.Generation && time.Since(e.read) < freshFor {
		return e.value, nil
	}
	value, err := s.readFresh(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("read what a session begins with: %w", err)
	}
	if f.fresh.known == nil || len(f.fresh.known) > 1000 {
		f.fresh.known = map[string]*freshEntry{}
	}
	f.fresh.known[key] = &freshEntry{s.backend.at.Generation, time.Now(), value}
	return value, nil
}

// readFresh logs in once more to see what a session begins with.
func (s *session) readFresh(ctx context.Context, c caller) (*fresh, error) {
	b, _, err := c.reach(ctx, s.backend.at)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	r, err := s.take(ctx, b)
	if err != nil {
		return nil, err
	}
	asks := asking(r.changed)
	answers, err := s.ask(ctx, b,
		unlimited+"SELECT 1 FROM information_schema.plugins WHERE plugin_name = 'METADATA_LOCK_INFO' AND plugin_status = 'ACTIVE'",
		unlimited+fmt.Sprintf(readSum, asks))
	if err != nil {
		return nil, err
	}
	value := &fresh{known: known{fresh: r.changed}, showsLocks: len(answers[0].rows) == 1, keepalive: map[string]*echo{}}
	if rows := answers[1].rows; len(rows) == 1 {
		value.known.asks, value.known.sum = asks, sumOf(asks, string(rows[0][2]))
	}
	for _, text := range s.target.KeepaliveQueries {
		if value.keepalive[text], err = s.record(ctx, b, text); err != nil {
			return nil, err
		}
	}
	return value, nil
}

// record has the engine answer a text, and keeps the packets.
func (s *session) record(ctx context.Context, b *backend, text string) (*echo, error) {
	ctx, cancel := context.WithTimeout(ctx, askLasts)
	defer cancel()
	defer guard(ctx, b.conn)()
	caps := s.hello.Capabilities
	question := mysqlwire.AppendPacket(nil, 0, queryPayload(text, caps))
	follow := mysqlwire.NewTracker(mysqlwire.Config{Capabilities: caps})
	if n, _ := follow.FromClient(question); n != len(question) {
		return nil, errNotNow
	}
	if _, err := b.conn.Write(question); err != nil {
		return nil, err
	}
	e := &echo{}
	for follow.Busy() {
		payload, seq, err := mysqlwire.ReadPacket(b.conn, maxLoginPacket)
		if err != nil {
			return nil, err
		}
		packet := mysqlwire.AppendPacket(nil, seq, payload)
		follow.FromBackend(packet)
		e.packets = append(e.packets, packet)
	}
	return e, nil
}

func queryPayload(text string, caps mysqlwire.Capabilities) []byte {
	payload := []byte{mysql.COM_QUERY}
	if caps.Has(mysql.CLIENT_QUERY_ATTRIBUTES) {
		payload = append(payload, 0, 1)
	}
	return append(payload, text...)
}

// answer is the recorded answer with the status flags of another session.
func (e *echo) answer(status uint16) []byte {
	const own = mysql.SERVER_STATUS_AUTOCOMMIT | mysql.SERVER_STATUS_NO_BACKSLASH_ESCAPED
	var out []byte
	for i, packet := range e.packets {
		out = append(out, packet...)
		payload := out[len(out)-len(packet)+mysqlwire.HeaderSize:]
		if i == 0 || len(payload) < 5 || payload[0] != mysqlwire.EOFHeader || len(payload) > 64 {
			continue
		}
		// Of an EOF packet as of an OK packet whose two numbers are 0.
		was := binary.LittleEndian.Uint16(payload[3:])
		binary.LittleEndian.PutUint16(payload[3:], was&^own|status&own)
	}
	return out
}

// unaltered tells whether a session would get the answer that was recorded.
func (p *parked) unaltered() bool {
	for _, name := range []string{"character_set_results", "character_set_client", "character_set_connection", "collation_connection",
		"sql_mode", "sql_select_limit", "max_statement_time", "old_mode", "lc_messages"} {
		if _, changed := p.changed[name]; changed {
			return false
		}
	}
	return true
}
