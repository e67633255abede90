package mysqlwire

import (
	"encoding/binary"
	"iter"
	"maps"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// Statement is a prepared statement of the binary protocol, as far as it must
// be known to be prepared again elsewhere.
type Statement struct {
	ID              uint32 // as the client knows it
	Params, Columns uint16
	// Unreadable tells that the text was too long to be kept.
	Unreadable bool
	// Types are the parameters' types as last sent, two bytes each: a server
	// remembers them, and a client need not send them again. Empty before the
	// first execution.
	Types []byte
	// TypesUnknown tells that Types were sent and could not be kept.
	TypesUnknown bool

	// Kept is the front's to use.
	Kept any

	packet           []byte // its COM_STMT_PREPARE
	backend          uint32 // its id on the present backend, 0 where it isn't prepared
	prepares         bool   // the answer to its COM_STMT_PREPARE is outstanding
	cursor, longData bool
	epoch            uint32
	noticed          noticed
	closed           bool // requests that came before may still point to it
}

// Text is what was prepared, empty for an Unreadable one.
func (s *Statement) Text() []byte {
	if len(s.packet) == 0 {
		return nil
	}
	return s.packet[1:]
}

// Cursor tells whether rows of the statement's cursor may be left.
func (s *Statement) Cursor() bool { return s.cursor }

func (s *Statement) prepared() bool { return s.backend != 0 || s.prepares }

// statements are those of one session. A client goes on using the ids that it
// was given; on another backend a statement has another, and both directions
// are rewritten in place. Until a first id differs nothing is.
type statements struct {
	byID     map[uint32]*Statement // by the client's id
	latest   *Statement            // what lastStatement means
	wanted   uint32
	highest  uint32 // of all ids that the client was ever given
	mapped   bool   // some id differs, or may
	cursors  int
	longData int
	text     int        // bytes of text kept
	spare    *Statement // a closed one, to be used again
}

// find returns the statement that the client calls id, or nil.
func (ss *statements) find(id uint32) *Statement {
	if id == lastStatement {
		return ss.latest
	}
	return ss.byID[id]
}

// hideUnknown keeps an id that the client made up from meaning a statement
// of the present backend that the client knows by another: 0 is none's.
func (ss *statements) hideUnknown(id uint32, at []byte) {
	if ss.mapped && id != lastStatement {
		binary.LittleEndian.PutUint32(at, 0)
	}
}

// translate puts the present backend's id of s where the client wrote id. What
// was prepared last is named by it too once ids differ: the backend's own last
// one may be another.
func (ss *statements) translate(s *Statement, id uint32, at []byte) {
	if s.prepares || id == lastStatement && !ss.mapped {
		return
	}
	if s.backend != id {
		binary.LittleEndian.PutUint32(at, s.backend)
	}
}

// make begins a statement.
func (ss *statements) make() *Statement {
	s := ss.spare
	ss.spare = nil
	if s == nil {
		s = &Statement{}
	}
	s.prepares = true
	ss.latest = s
	return s
}

// add files a statement under the id that the backend gave it, or, where the
// client knows another by that id, under a new one.
func (ss *statements) add(s *Statement, backend uint32) {
	s.backend, s.ID, s.prepares = backend, backend, false
	if _, taken := ss.byID[backend]; taken {
		s.ID = ss.highest + 1
		ss.mapped = true
	}
	ss.highest = max(ss.highest, s.ID)
	if ss.byID == nil {
		ss.byID = make(map[uint32]*Statement)
	}
	ss.byID[s.ID] = s
}

// drop forgets a statement that was not prepared.
func (ss *statements) drop(s *Statement) {
	ss.text = max(0, ss.text-len(s.packet))
	if ss.latest == s {
		ss.latest = nil
	}
}

// close forgets a statement. Unless requests may still point to it, it serves
// again: clients that prepare for a single execution cost no memory.
func (ss *statements) close(s *Statement, unused bool) {
	const worthKeeping = 64 << 10
	ss.setCursor(s, false)
	ss.setLongData(s, false)
	ss.drop(s)
	delete(ss.byID, s.ID)
	s.closed = true
	if unused && cap(s.packet) <= worthKeeping {
		*s = Statement{packet: s.packet[:0], Types: s.Types[:0]}
		ss.spare = s
	}
}

func (ss *statements) setCursor(s *Statement, open bool) {
	if s == nil || s.closed || s.cursor == open {
		return
	}
	s.cursor = open
	ss.cursors += signed(open)
}

func (ss *statements) setLongData(s *Statement, sent bool) {
	if s.longData == sent {
		return
	}
	s.longData = sent
	ss.longData += signed(sent)
}

func signed(up bool) int {
	if up {
		return 1
	}
	return -1
}

// clear forgets all statements, but for one that is only being prepared.
func (ss *statements) clear() {
	for _, s := range ss.byID {
		s.closed = true
	}
	latest := ss.latest
	*ss = statements{highest: ss.highest, mapped: ss.mapped}
	if latest != nil && latest.prepares {
		ss.latest = latest
	}
}

// Statement returns the prepared statement that the client knows by id.
func (t *Tracker) Statement(id uint32) (*Statement, bool) {
	s, ok := t.statements.byID[id]
	return s, ok
}

// Statements are the client's prepared statements, in no order. They are the
// Tracker's: to be read, and only while the session is not lent.
func (t *Tracker) Statements() iter.Seq[*Statement] { return maps.Values(t.statements.byID) }

// Wanted is the client's id of the statement that StopStatement is about.
func (t *Tracker) Wanted() uint32 { return t.statements.wanted }

// Detach tells that the backend is given up: no statement is prepared any
// more. A command that names one stops the session (StopStatement) until Bind
// is called for it; COM_STMT_CLOSE passes, with an id that no server knows.
func (t *Tracker) Detach() {
	for _, s := range t.statements.byID {
		s.backend = 0
		t.statements.setCursor(s, false)
		t.statements.setLongData(s, false)
	}
	t.statements.mapped = true
	t.facts.Sent = 0
	t.passStray = false
}

// Bind tells by which id the present backend knows the client's statement.
// Ids are rewritten from then on, where they differ.
func (t *Tracker) Bind(client, backend uint32) {
	if s := t.statements.byID[client]; s != nil {
		s.backend = backend
	}
}

// prepare begins to collect a COM_STMT_PREPARE whose first packet is of this
// length.
func (t *Tracker) prepare(length int) {
	s := t.statements.make()
	if t.textFits(s, length) && cap(s.packet) < length {
		s.packet = make([]byte, 0, length)
	}
	s.epoch = t.facts.epoch
	t.collecting = s
	t.ask(request{command: mysql.COM_STMT_PREPARE, statement: s, effect: still})
}

func (t *Tracker) textFits(s *Statement, more int) bool {
	return len(s.packet)+more <= t.config.TextLimit && t.statements.text+more <= t.config.TextTotal
}

// collect keeps a piece of the COM_STMT_PREPARE that is being sent.
func (t *Tracker) collect(piece []byte) {
	s := t.collecting
	if s == nil || s.Unreadable {
		return
	}
	if !t.textFits(s, len(piece)) {
		t.statements.text -= len(s.packet)
		s.packet, s.Unreadable = nil, true
		return
	}
	s.packet = append(s.packet, piece...)
	t.statements.text += len(piece)
}

// endCollecting stops collecting where a payload ends.
func (t *Tracker) endCollecting() {
	if !t.client.inside() {
		t.collecting = nil
	}
}
