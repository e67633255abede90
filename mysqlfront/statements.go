package mysqlfront

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/go-mysql-org/go-mysql/mysql"

	"serverlessproxy/mysqlfront/mysqlwire"
	"serverlessproxy/relay"
)

// readPresent reads what a statement's text would be read with.
const readPresent = "SELECT CAST(DATABASE() AS BINARY), CAST(@@sql_mode AS BINARY), CAST(@@character_set_client AS BINARY), " +
	"CAST(@@character_set_connection AS BINARY), CAST(@@collation_connection AS BINARY) LIMIT 1"

// prepareAgain prepares a statement on a new backend when the client first
// uses it there, and goes on with what it has sent.
func (s *session) prepareAgain(r relay.Return) {
	statement, ok := s.scanner.Statement(s.scanner.Wanted())
	if !ok {
		s.lend(r.FromClient, r.FromBackend)
		return
	}
	_, seq := mysqlwire.Header(r.FromClient)
	backend, err := s.prepareOn(s.ctx, statement)
	var refusal *mysqlwire.ServerError
	if errors.As(err, &refusal) {
		s.refuseCommand(r, refusal)
		return
	}
	if err != nil {
		s.endWith(fmt.Errorf("%w: %w", errNoBackend, err), seq+1)
		return
	}
	s.scanner.Bind(statement.ID, backend)
	packet, err := s.withTypes(r.FromClient, statement)
	if err != nil {
		s.endWith(err, seq+1)
		return
	}
	s.lend(packet, r.FromBackend)
}

// refuseCommand answers a command with the engine's own refusal of the
// statement that it is for.
func (s *session) refuseCommand(r relay.Return, refusal *mysqlwire.ServerError) {
	length, seq := mysqlwire.Header(r.FromClient)
	end := mysqlwire.HeaderSize + length
	if len(r.FromClient) < end || r.FromClient[mysqlwire.HeaderSize] == mysql.COM_STMT_SEND_LONG_DATA {
		s.endWith(refusal, seq+1)
		return
	}
	if err := s.tell(seq+1, mysqlwire.AppendErr(nil, refusal.Code, refusal.SQLState, refusal.Message)); err != nil {
		s.end(errVanished)
		return
	}
	s.lend(r.FromClient[end:], r.FromBackend)
}

// prepareOn prepares a statement on the present backend, read as it was at
// first. What the last statement left is there again afterwards.
func (s *session) prepareOn(ctx context.Context, statement *mysqlwire.Statement) (uint32, error) {
	b := s.backend
	was, _ := statement.Kept.(*environment)
	answers, err := s.ask(ctx, b, readGlow, readPresent)
	if err != nil {
		return 0, err
	}
	for _, a := range answers {
		if a.refusal != nil {
			return 0, a.refusal
		}
		if len(a.rows) != 1 {
			return 0, mysqlwire.ErrMalformed
		}
	}
	var r reading
	r.first(answers[0].rows[0])
	row := answers[1].rows[0]
	present := &environment{string(row[0]), settings{}}
	for i, name := range reads {
		present.settings[name] = setting{value: string(row[i+1])}
	}
	r.glow.oracle = isOracle(present.settings["sql_mode"].value)
	if was == nil {
		was = present
	}
	if err := s.become(ctx, b, present, was); err != nil {
		return 0, err
	}
	id, refused := s.prepareText(ctx, b, statement.Text())
	if err := s.become(ctx, b, was, present); err != nil {
		return 0, err
	}
	if echo := r.glow.echo(); len(echo) > 0 {
		if err := s.instruct(ctx, b, echo...); err != nil {
			return 0, err
		}
	}
	return id, refused
}

// become changes what texts are read with.
func (s *session) become(ctx context.Context, b *backend, from, to *environment) error {
	if from.database != to.database && to.database != "" {
		if _, err := b.command(ctx, append([]byte{mysql.COM_INIT_DB}, to.database...)...); err != nil {
			return err
		}
	}
	change := settings{}
	for _, name := range reads {
		if from.settings[name].value != to.settings[name].value {
			change[name] = to.settings[name]
		}
	}
	if len(change) == 0 {
		return nil
	}
	return s.instruct(ctx, b, change.statement())
}

// prepareText prepares a text and returns the backend's id.
func (s *session) prepareText(ctx context.Context, b *backend, text []byte) (uint32, error) {
	ctx, cancel := context.WithTimeout(ctx, askLasts)
	defer cancel()
	defer guard(ctx, b.conn)()
	caps := s.hello.Capabilities
	question := mysqlwire.AppendPacket(nil, 0, append([]byte{mysql.COM_STMT_PREPARE}, text...))
	if _, err := b.conn.Write(question); err != nil {
		return 0, err
	}
	s.scanner.AddSent(len(question))
	p := &packets{conn: b.conn}
	ok, err := readResultPacket(p)
	if err != nil {
		return 0, err
	}
	if len(ok) < 9 {
		return 0, mysqlwire.ErrMalformed
	}
	id := binary.LittleEndian.Uint32(ok[1:])
	bare := len(ok) > 12 && ok[12] == 0
	for _, count := range []uint16{binary.LittleEndian.Uint16(ok[7:]), binary.LittleEndian.Uint16(ok[5:])} {
		follow := int(count)
		if count > 0 && bare {
			follow = 0
		}
		if count > 0 && !caps.Has(mysql.CLIENT_DEPRECATE_EOF) {
			follow++
		}
		for range follow {
			if _, err := readResultPacket(p); err != nil {
				return 0, err
			}
		}
	}
	return id, nil
}

// errTooLong is an execution that must carry its parameters' types and has no
// room for them.
var errTooLong = errors.New("the execution of a restored statement does not fit one packet with its types")

// withTypes gives the execution that fromClient begins with the types of its
// parameters, where the client counts on the engine's knowing them.
func (s *session) withTypes(fromClient []byte, statement *mysqlwire.Statement) ([]byte, error) {
	length, seq := mysqlwire.Header(fromClient)
	command := fromClient[mysqlwire.HeaderSize]
	if len(statement.Types) == 0 || command != mysql.COM_STMT_EXECUTE && command != mysqlwire.ComBulkExecute {
		return fromClient, nil
	}
	fromClient, err := s.readAhead(fromClient, min(length, maxBeginning))
	if err != nil {
		return nil, errVanished
	}
	at, flagAt, there := typesAt(fromClient[mysqlwire.HeaderSize:], statement, s.hello.Capabilities)
	if !there {
		return fromClient, nil
	}
	types := statement.Types
	if length+len(types) >= mysqlwire.MaxPacket {
		return nil, fmt.Errorf("%w: %w", errNoBackend, errTooLong)
	}
	out := mysqlwire.AppendHeader(nil, length+len(types), seq)
	payload := fromClient[mysqlwire.HeaderSize:]
	out = append(out, payload[:at]...)
	if command == mysqlwire.ComBulkExecute {
		out[mysqlwire.HeaderSize+flagAt] |= 128
	} else {
		out[mysqlwire.HeaderSize+flagAt] = 1
	}
	out = append(out, types...)
	return append(out, payload[at:]...), nil
}

// maxBeginning has an execution's NULLs and the flag after them, whatever the
// number of its parameters.
const maxBeginning = 16 << 10

// readAhead reads more of a packet, up to n bytes of its payload.
func (s *session) readAhead(have []byte, n int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.front.HandshakeTimeout)
	defer cancel()
	defer guard(ctx, s.client)()
	have = append([]byte(nil), have...)
	for len(have) < mysqlwire.HeaderSize+n {
		more := make([]byte, mysqlwire.HeaderSize+n-len(have))
		m, err := s.client.Read(more)
		have = append(have, more[:m]...)
		if err != nil {
			return nil, err
		}
	}
	return have, nil
}

// typesAt is where types belong in an execution that has none, and where the
// flag is that tells of them.
func typesAt(p []byte, statement *mysqlwire.Statement, caps mysqlwire.Capabilities) (at, flagAt int, none bool) {
	if p[0] == mysqlwire.ComBulkExecute {
		if len(p) < 7 || p[5]&128 != 0 {
			return 0, 0, false
		}
		return 7, 5, true
	}
	if caps.Has(mysql.CLIENT_QUERY_ATTRIBUTES) {
		return 0, 0, false // such clients send them always
	}
	flagAt = 10 + (int(statement.Params)+7)/8
	if len(p) <= flagAt || p[flagAt] != 0 {
		return 0, 0, false
	}
	return flagAt + 1, flagAt, true
}
