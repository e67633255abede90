package mysqlwire

import (
	"github.com/go-mysql-org/go-mysql/mysql"
)

// Config is what a Tracker must know of a session that has just logged in.
type Config struct {
	Capabilities Capabilities
	// Status is the server's status flags in the OK that ended the login.
	Status uint16
	// StopReset makes COM_RESET_CONNECTION a stop (it passes otherwise).
	StopReset bool
	// StopStray makes a packet that the backend sends unasked a stop, and so
	// an error by which an engine ends a connection: it is left over. (It
	// passes otherwise, as an engine's farewell should.)
	StopStray bool
	// Renumber gives the packets of a local file the numbers that the backend
	// expects. Behind compression clients number them otherwise.
	Renumber bool
	// MaxPayload is the longest payload that a client may send, in all its
	// packets; 0 stands for a little more than any engine takes (1 GiB).
	MaxPayload int64
	// TextLimit is the longest text of a prepared statement that is kept, and
	// TextTotal the most that is kept for one session; 0 stands for 1 and 16
	// MiB. Beyond them a statement is Unreadable.
	TextLimit, TextTotal int
	// Unread, if not nil, is asked before a command that begins a transaction
	// from a state that was not Settled: true makes that a stop. The packet
	// that is left over need not be whole.
	Unread func() bool
	// Changed, if not nil, is called for each change that the session state
	// information of an OK reports. Its bytes are the relay's: to be copied.
	Changed func(StateChange)
}

// Stop is why a Tracker said stop.
type Stop byte

const (
	Running        Stop = iota // it did not
	StopQuit                   // COM_QUIT
	StopChangeUser             // COM_CHANGE_USER
	StopKill                   // COM_PROCESS_KILL
	StopKillQuery              // a COM_QUERY whose text is a KILL
	StopReset                  // COM_RESET_CONNECTION, with Config.StopReset
	StopStatement              // a command for Wanted(), which is not prepared on this backend
	StopStray                  // the backend takes leave, with Config.StopStray
	StopBegin                  // a command that begins a transaction, and Config.Unread says so
	StopAgain                  // nothing to do: lend the session again
	StopMalformed              // Err says what is wrong with the client's bytes
)

// Tracker follows one session's command phase from both directions. Its
// FromClient and FromBackend are the relay.Scanner's; the front adds Safe.
//
// Only headers are looked at, and of a payload no more than decides what
// comes next; bodies pass unread, whatever their size. What is left over is a
// header with the few bytes that matter, an OK packet whose session state is
// to be read, or a packet that stops the session, which is then whole and
// begins what is left over of its direction.
//
// A client's packet that stops the session while earlier answers are under
// way stays left over, and it is FromBackend that says stop, at the end of the
// last of them (the relay would not show the packet again before the client
// sends more). Stopped then names the packet's reason all the same.
//
// After a stop the front answers the packet itself and lends the session
// again with what followed it; or it lends it with the packet, or another of
// the same kind, in front, after PassNext.
type Tracker struct {
	config  Config
	caps    Capabilities
	pending requests
	client  side
	backend side

	stage       stage
	left        uint32 // definitions still to come in this block
	columns     uint32 // a prepared statement's, whose definitions come after its parameters'
	bare        bool   // a prepared statement's definitions are left out
	file        bool   // the client sends a local file
	fileNext    byte   // the number of the file's next packet
	outParams   bool   // the result under way has a procedure's OUT parameters
	passNext    bool
	passStray   bool
	replica     bool // asked for a stream of the binary log, or registered to
	doubt       bool
	untracked   bool
	held        Stop // why a whole packet waits for earlier answers
	stop        Stop
	status      uint16
	multi       bool
	total       int64 // bytes of the client's present payload
	collecting  *Statement
	err         error
	schema      []byte
	schemaKnown bool
	counts      Counts
	facts       gathered
	turn        byte // the number of the backend's next packet
	asking      bool // the client's present payload belongs to the command that is answered next

	statements statements
	standing   standing
}

// side is how far a direction has come inside a packet.
type side struct {
	skip      int  // bytes of the present payload that have not passed
	continued bool // the next packet continues the present payload
}

func (s *side) inside() bool { return s.skip > 0 || s.continued }

// take passes as much of a packet as rest has.
func (s *side) take(rest []byte, length int) int {
	n := min(HeaderSize+length, len(rest))
	s.skip = HeaderSize + length - n
	s.continued = length == MaxPacket
	return n
}

// pass passes more of a payload that began earlier.
func (s *side) pass(b []byte) int {
	n := min(s.skip, len(b))
	s.skip -= n
	return n
}

// Counts is what a session has done.
type Counts struct{ Queries, Transactions int64 }

// NewTracker makes a Tracker for a session that has just logged in.
func NewTracker(c Config) *Tracker {
	t := &Tracker{caps: c.Capabilities, status: c.Status, standing: standing{moved: true}}
	t.multi = t.caps.Has(mysql.CLIENT_MULTI_STATEMENTS)
	if c.MaxPayload == 0 {
		c.MaxPayload = 1<<30 + int64(MaxPacket)
	}
	if c.TextLimit == 0 {
		c.TextLimit = 1 << 20
	}
	if c.TextTotal == 0 {
		c.TextTotal = 16 << 20
	}
	t.config = c
	return t
}

// Busy tells whether a command is under way: an answer is outstanding, or a
// packet has passed in part.
func (t *Tracker) Busy() bool {
	return t.pending.n > 0 || t.file || t.client.inside() || t.backend.inside()
}

// Turn is the number that the backend's next packet would have; whole is false
// where the client has got a part of one, and nothing else can be said.
func (t *Tracker) Turn() (seq byte, whole bool) { return t.turn, !t.backend.inside() }

// Pending is how many commands have not been answered in full.
func (t *Tracker) Pending() int { return t.pending.n }

// Status is the server's status flags as last seen.
func (t *Tracker) Status() uint16 { return t.status }

// InTransaction tells whether the server last said so.
func (t *Tracker) InTransaction() bool {
	return t.status&(mysql.SERVER_STATUS_IN_TRANS|mysql.SERVER_STATUS_IN_TRANS_READONLY) != 0
}

// Doubtful tells that an error came after Status, which therefore may be old:
// errors carry no status, and the statement may have begun or ended a
// transaction (in a procedure, by a deadlock).
func (t *Tracker) Doubtful() bool { return t.doubt }

// Replica tells whether the client asked for the binary log.
func (t *Tracker) Replica() bool { return t.replica }

// LongData tells whether parameters sent by COM_STMT_SEND_LONG_DATA wait for
// an execution.
func (t *Tracker) LongData() bool { return t.statements.longData > 0 }

// Cursors is the number of open cursors.
func (t *Tracker) Cursors() int { return t.statements.cursors }

// MultiStatements tells whether the client may now send several statements at
// once (COM_SET_OPTION changes that).
func (t *Tracker) MultiStatements() bool { return t.multi }

// Schema is the current schema, if session tracking has ever named it.
func (t *Tracker) Schema() (name string, known bool) { return string(t.schema), t.schemaKnown }

// Untracked tells that session state information was too large to be read.
func (t *Tracker) Untracked() bool { return t.untracked }

// TakeCounts returns what has been done since it was last called.
func (t *Tracker) TakeCounts() Counts {
	c := t.counts
	t.counts = Counts{}
	return c
}

// Stopped is why the last stop was said.
func (t *Tracker) Stopped() Stop { return t.stop }

// Err is what is wrong with the client's bytes, after StopMalformed.
func (t *Tracker) Err() error { return t.err }

// PassNext lets the client's next packet pass that would stop the session
// (all but COM_CHANGE_USER, whose answer only the front understands).
func (t *Tracker) PassNext() { t.passNext = true }

// PassStray lets the backend take leave: see Config.StopStray.
func (t *Tracker) PassStray() { t.passStray = true }

// Reset forgets what a server forgets by COM_CHANGE_USER or on a new
// connection; status is that of the OK which ended it. The capabilities and
// what MultiStatements says stay.
func (t *Tracker) Reset(status uint16) {
	t.statements.clear()
	t.facts = gathered{Facts: Facts{Commands: t.facts.Commands + 1, Resets: t.facts.Resets + 1}, epoch: t.facts.epoch + 1}
	t.status, t.doubt, t.replica = status, false, false
	t.standing = standing{moved: true}
	t.schema, t.schemaKnown = t.schema[:0], false
}
