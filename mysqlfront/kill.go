package mysqlfront

import (
	"context"
	"encoding/binary"

	"strconv"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"serverlessproxy/mysqlfront/mysqlwire"
	"serverlessproxy/pool"
	"serverlessproxy/relay"
)

// kill passes on a KILL, with the number by which the engine knows the session
// that is meant. Whether it is allowed, the engine decides, since it gets it
// from the killer's own connection.
func (s *session) kill(r relay.Return) {
	length, seq := mysqlwire.Header(r.FromClient)
	end := mysqlwire.HeaderSize + length
	payload, rest := r.FromClient[mysqlwire.HeaderSize:end], r.FromClient[end:]
	order, found := readKill(payload, s.hello.Capabilities)
	if !found || !ours(order.id) {
		s.scanner.PassNext()
		s.lend(r.FromClient, r.FromBackend)
		return
	}
	s.unread = rest // what came before is being answered
	answered, err := s.carryOut(order, payload, seq)
	if said, ok := answerTo(err); ok {
		err = s.tell(seq+1, said.packet())
	}
	if err != nil {
		s.end(err)
		return
	}
	s.lend(rest, append(r.FromBackend, answered...))
}

// carryOut does what a KILL of one of our numbers asks for. It returns what
// the engine has answered so far.
func (s *session) carryOut(order killOrder, payload []byte, seq byte) ([]byte, error) {
	victim := s.front.session(uint32(order.id))
	if victim == nil || victim.target.Name != s.target.Name {
		return nil, &noThread{uint32(order.id)}
	}
	victim.engineMu.Lock()
	defer victim.engineMu.Unlock()
	if victim.engineID != 0 {
		answered, err := s.strike(retarget(payload, order.at, victim.engineID), seq)
		victim.struck = victim.struck || !order.query && saysOK(answered)
		return answered, err
	}
	if !order.query {
		if victim.user() != s.who.user && !s.who.account.Superuser {
			return nil, &notOwner{uint32(order.id)}
		}
		victim.Close(pool.Killed)
	}
	ok := mysqlwire.AppendOK(nil, mysqlwire.OK{Status: s.scanner.Status()}, s.hello.Capabilities)
	return nil, s.tell(seq+1, ok)
}

// saysOK tells whether an answer begins with an OK packet.
func saysOK(answer []byte) bool {
	return len(answer) > mysqlwire.HeaderSize && answer[mysqlwire.HeaderSize] == mysql.OK_HEADER
}

const killLasts = 10 * time.Second // for an engine to answer a KILL

// strike sends a KILL to the engine, and returns the beginning of its answer.
// The caller sees to it that until that is there the victim's backend does not
// become another's.
func (s *session) strike(payload []byte, seq byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(s.ctx, killLasts)
	defer cancel()
	defer guard(ctx, s.backend.conn)()
	packet := mysqlwire.AppendPacket(nil, seq, payload)
	s.scanner.PassNext()
	if n, _ := s.scanner.FromClient(packet); n != len(packet) {
		return nil, errEngineGone
	}
	if _, err := s.backend.conn.Write(packet); err != nil {
		return nil, errEngineGone
	}
	answer := make([]byte, burstSize)
	n, err := s.backend.conn.Read(answer)
	if n == 0 && err != nil {
		return nil, errEngineGone // as an engine does it to one that kills itself
	}
	return answer[:n], nil
}

// strikeDown has the engine end what it runs for the session, as an operator's
// KILL would: as the same user, over another connection.
func (s *session) strikeDown(b *backend) {
	ctx, cancel := context.WithTimeout(s.front.ctx, killLasts)
	defer cancel()
	c := s.caller()
	c.hello.Database = ""
	other, _, err := c.reach(ctx, b.at)
	if err == nil {
		order := binary.LittleEndian.AppendUint32([]byte{mysql.COM_PROCESS_KILL}, b.id)
		_, err = other.command(ctx, order...)
		other.quit()
	}
	if err != nil {
		s.front.Log.Warn("the engine goes on with what a killed session asked for", "session", s.seat.ID(), "error", err)
	}
}

// killOrder is a KILL of a connection.
type killOrder struct {
	id    uint64
	query bool // KILL QUERY: the connection stays
	at    span // where in the payload the number stands
}

// span is a part of a payload.
type span struct{ from, to int }

// retarget replaces the number in a KILL.
func retarget(payload []byte, at span, id uint32) []byte {
	if payload[0] == mysql.COM_PROCESS_KILL {
		return binary.LittleEndian.AppendUint32([]byte{mysql.COM_PROCESS_KILL}, id)
	}
	out := append([]byte(nil), payload[:at.from]...)
	out = strconv.AppendUint(out, uint64(id), 10)
	return append(out, payload[at.to:]...)
}

// readKill reads a KILL. found is false where it names no connection by its
// number, but a user, a query's number, or an expression.
func readKill(payload []byte, caps mysqlwire.Capabilities) (order killOrder, found bool) {
	if payload[0] == mysql.COM_PROCESS_KILL {
		if len(payload) != 5 {
			return order, false
		}
		return killOrder{id: uint64(binary.LittleEndian.Uint32(payload[1:])), at: span{1, 5}}, true
	}
	rest, ok := mysqlwire.QueryText(payload, caps)
	if !ok {
		return order, false
	}
	if rest, ok = keyword(rest, "KILL"); !ok {
		return order, false
	}
	for _, word := range []string{"HARD", "SOFT", "CONNECTION"} {
		rest, _ = optional(rest, word)
	}
	rest, order.query = optional(rest, "QUERY")
	return order.number(payload, rest)
}

// number reads the number that rest, the end of payload, begins with.
func (k killOrder) number(payload, rest []byte) (killOrder, bool) {
	digits, whole := mysqlwire.LeadingSQL(rest)
	if !whole {
		return k, false
	}
	n := 0
	for n < len(digits) && digits[n] >= '0' && digits[n] <= '9' {
		n++
	}
	if n < len(digits) && !endsNumber(digits[n]) {
		return k, false
	}
	id, err := strconv.ParseUint(string(digits[:n]), 10, 64)
	from := len(payload) - len(digits)
	k.id, k.at = id, span{from, from + n}
	return k, err == nil
}

// keyword returns what follows a keyword that text begins with.
func keyword(text []byte, word string) (rest []byte, ok bool) {
	text, whole := mysqlwire.LeadingSQL(text)
	if !whole || len(text) < len(word) {
		return nil, false
	}
	for i := range len(word) {
		if text[i]&^0x20 != word[i] {
			return nil, false
		}
	}
	rest = text[len(word):]
	if len(rest) > 0 && partOfName(rest[0]) {
		return nil, false
	}
	return rest, true
}

// optional returns what follows a keyword, or text where it is not there.
func optional(text []byte, word string) (rest []byte, there bool) {
	if rest, ok := keyword(text, word); ok {
		return rest, true
	}
	return text, false
}

// endsNumber tells whether a byte may follow a whole number of a KILL: not one
// that makes it part of an expression or a name.
func endsNumber(c byte) bool {
	switch c {
	case ' ', '\t', '\r', '\n', '\v', '\f', ';', '/', '#', 0:
		return true
	}
	return false
}

func partOfName(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0x80
}
