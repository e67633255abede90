package pgwire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// What a client or a server did against the protocol.
var (
	ErrMessageType = errors.New("invalid frontend message type")
	ErrServer      = errors.New("the server broke the protocol")
)

// Tracker follows one session by the headers of its messages, in both
// directions, after its login. It knows what is under way: it counts requests
// against ReadyForQuery, since with pipelining the last message says nothing.
// Bodies pass unread, but for the byte of ReadyForQuery and the process id of a
// notification. The zero Tracker is a session that has just logged in.
//
// Where the protocol itself does not tell what the server did (a COPY that
// failed while the client pipelined past it), a Tracker errs towards "not
// safe", never the other way.
type Tracker struct {
	client, server stream

	requests  requests // Query, FunctionCall and Sync that no ReadyForQuery has answered
	open      bool     // extended messages since the last Sync: a half-sent batch
	mixed     bool     // a Query came inside such a batch: after an error the server skips it
	answering bool     // the server has begun to answer, and ReadyForQuery is still to come
	told      bool     // an ErrorResponse was the last thing that the server said
	ended     bool     // the client sent Terminate
	unsure    bool     // what is under way can no longer be told
	copy      copying
	status    byte // of the last ReadyForQuery; 0 before the first

	queries, transactions int64

	ledger  ledger
	reports map[string]string

	intent   intent
	vacates  bool // a statement needs a database for itself
	standing standing
	farewell Farewell
	fatal    bool // the client has heard an error that ends the session

	substituted bool // an error may be a substitute's

	realPID, shownPID uint32
	violation         error
}

// stream is where one direction stands: how much of a message's body is still
// to come.
type stream struct{ left int }

// skip passes over what of b belongs to the body of a message that began
// earlier.
func (s *stream) skip(b []byte) int {
	n := min(s.left, len(b))
	s.left -= n
	return n
}

// pass goes to the end of a message, or as far as b goes.
func (s *stream) pass(b []byte, end int) (at int) {
	if end <= len(b) {
		return end
	}
	s.left = end - len(b)
	return len(b)
}

// Remap makes notifications that the backend sent itself carry the process id
// that the client knows its session by.
func (t *Tracker) Remap(real, shown uint32) { t.realPID, t.shownPID = real, shown }

// FromClient looks through what the client sent. The first n bytes may go on;
// the rest (a part of a header) must be shown again with what follows it. With
// stop, the session has ended or broken the protocol: see Ended, Violation.
func (t *Tracker) FromClient(b []byte) (n int, stop bool) {
	at := t.client.skip(b)
	if at > 0 {
		t.ledger.goesOn(b[:at], t.client.left)
	}
	for len(b)-at >= headerSize {
		kind, length := b[at], int(binary.BigEndian.Uint32(b[at+1:]))
		if err := checkClient(kind, length); err != nil {
			t.violation = err
			return at, true
		}
		if kind == Terminate {
			t.ended = true
			return at + headerSize, true
		}
		body := at + headerSize
		if kind == Parse && length > 4 && len(b) == body {
			return at, false // the first byte of its body tells what it is
		}
		at = t.client.pass(b, at+1+length)
		t.ledger.begins(kind, b[body:at], length-4)
		t.intent.sends(kind, b[body:at], length-4)
		t.vacates = t.vacates || vacates(kind, b[body:at])
		if kind == Close {
			t.closes(b[body:at])
		}
		t.request(kind)
	}
	return at, false
}

// The server's own limits for a message, by type; 0 for what is no message.
const (
	largeMessage = 0x3ffffffe
	smallMessage = 10000
)

var clientLimits = [256]int{
	Query: largeMessage, FunctionCall: largeMessage, Bind: largeMessage, Parse: largeMessage, CopyData: largeMessage,
	Close: smallMessage, Describe: smallMessage, Execute: smallMessage, Flush: smallMessage, Sync: smallMessage,
	Terminate: smallMessage, CopyDone: smallMessage, CopyFail: smallMessage,
}

func checkClient(kind byte, length int) error {
	limit := clientLimits[kind]
	if limit == 0 {
		return fmt.Errorf("%w %d", ErrMessageType, kind)
	}
	if length < 4 || length > limit {
		return ErrMessageLength
	}
	return nil
}

// request takes note of a client's message.
func (t *Tracker) request(kind byte) {
	switch kind {
	case Query, FunctionCall:
		t.ledger.ends()
		t.queries++
		t.mixed = t.mixed || t.open
		t.behindCopy()
		t.requests.push(simple)
	case Sync:
		t.ledger.ends()
		if t.copy.in {
			t.swallow()
			return
		}
		t.open, t.copy.owed = false, false
		t.requests.push(batch)
	case Execute:
		t.queries++
		t.extended()
	case Parse, Bind, Describe, Close:
		t.extended()
	case CopyDone, CopyFail:
		t.copyEnd()
	}
}

func (t *Tracker) extended() {
	t.open, t.copy.owed = true, false
	t.behindCopy()
}

// FromServer looks through what the backend sent; as FromClient. It stops, too,
// before what a server says that takes leave: see Farewell.
func (t *Tracker) FromServer(b []byte) (n int, stop bool) {
	t.farewell = NoFarewell
	at := t.server.skip(b)
	for len(b)-at >= headerSize {
		kind, length := b[at], int(binary.BigEndian.Uint32(b[at+1:]))
		if length < 4 || length > largeMessage {
			t.violation = fmt.Errorf("%w: message %q of length %d", ErrServer, kind, length)
			return at, true
		}
		switch kind {
		case ReadyForQuery:
			if len(b)-at < headerSize+1 {
				return at, false
			}
			if err := t.ready(length, b[at+headerSize]); err != nil {
				t.violation = err
				return at, true
			}
		case NotificationResponse:
			if len(b)-at < headerSize+4 {
				return at, false
			}
			t.notification(b[at+headerSize:])
		case NoticeResponse, ErrorResponse:
			if length <= maxReport {
				if len(b)-at < 1+length {
					return at, false
				}
				if t.farewell = t.hear(kind, b[at+headerSize:at+1+length]); t.farewell != NoFarewell {
					return at, true
				}
			}
			if kind == ErrorResponse { // notices come at any time and answer nothing
				if t.substituted && length <= maxReport {
					unmask(b[at+headerSize : at+1+length])
				}
				t.response(kind)
			}
		case CommandComplete:
			if len(b)-at < 1+min(length, 4+tagSize) {
				return at, false
			}
			t.standing.completes(b[at+headerSize : at+1+min(length, 4+tagSize)])
			t.response(kind)
		case ParameterStatus:
			if end := at + 1 + length; end <= len(b) {
				t.report(b[at+headerSize : end])
			} else if length <= maxReport {
				return at, false
			}
		default:
			t.response(kind)
		}
		at = t.server.pass(b, at+1+length)
	}
	return at, false
}

// maxReport is the longest ParameterStatus that is looked at.
const maxReport = 64 << 10

// response takes note of a message that belongs to the answer of a request.
func (t *Tracker) response(kind byte) {
	if !t.answering {
		t.answering = true
		t.copy.settle()
	}
	t.told = kind == ErrorResponse
	switch kind {
	case ErrorResponse:
		t.unsure = t.unsure || t.mixed
		t.copy.failed()
	case CommandComplete:
		t.copy.completed()
	case ParseComplete:
		t.ledger.parsed()
	case CopyInResponse:
		t.ledger.copies()
		t.copyIn()
	case CopyBothResponse:
		t.copy.both = true
	}
}

// ready takes note of a ReadyForQuery.
func (t *Tracker) ready(length int, status byte) error {
	if length != 5 || status != IdleStatus && status != InTxStatus && status != FailedStatus {
		return fmt.Errorf("%w: ReadyForQuery of length %d, status %q", ErrServer, length, status)
	}
	if !t.answersDoubt() {
		t.requests.pop()
		t.copy.pop(t.requests.n > 0 || t.open)
	}
	if status == IdleStatus && (t.InTransaction() || t.answering) {
		t.transactions++
	}
	t.mixed = t.mixed && (t.requests.n > 0 || t.open)
	t.standing.ready(t.InTransaction(), status != IdleStatus)
	t.ledger.past = t.standing.moved
	if t.requests.n == 0 && !t.open {
		t.intent.settles()
	}
	t.ledger.ready(t.requests.n == 0 && !t.open)
	t.answering, t.told, t.status = false, false, status
	return nil
}

func (t *Tracker) notification(pid []byte) {
	if t.shownPID != 0 && binary.BigEndian.Uint32(pid) == t.realPID {
		binary.BigEndian.PutUint32(pid, t.shownPID)
	}
}

// Busy tells whether a request is under way: sent in part or whole and not
// answered.
func (t *Tracker) Busy() bool {
	return t.requests.n > 0 || t.open || t.answering || t.copy.busy() || t.client.left > 0
}

// InTransaction tells whether the last ReadyForQuery left a transaction open,
// or failed.
func (t *Tracker) InTransaction() bool { return t.status == InTxStatus || t.status == FailedStatus }

// Safe tells whether the session is idle, outside a transaction, with nothing
// half-sent in either direction.
func (t *Tracker) Safe() bool { return t.AtRest() && !t.ended }

// AtRest is Safe, also for a client that has said goodbye.
func (t *Tracker) AtRest() bool {
	return !t.Busy() && !t.InTransaction() && !t.unsure && t.server.left == 0 && t.violation == nil
}

// Pin is what keeps a session from a safe point.
type Pin uint32

const (
	NotPinned  Pin = iota
	InRequest      // or in a transaction
	InCopy         // or in replication
	Unreadable     // what is under way can no longer be told
)

// Words of pool.Pinned.
func (p Pin) String() string { return [...]string{"", "transaction", "copy", "unreadable"}[p] }

// Pinned tells what keeps the session from a safe point.
func (t *Tracker) Pinned() Pin {
	switch {
	case t.unsure:
		return Unreadable
	case t.copy.busy():
		return InCopy
	case t.InTransaction() || t.Busy():
		return InRequest
	}
	return NotPinned
}

// Ended tells whether the client said goodbye.
func (t *Tracker) Ended() bool { return t.ended }

// Violation is what was done against the protocol, nil if nothing.
func (t *Tracker) Violation() error { return t.violation }

// Told tells whether an error was the last that the client heard.
func (t *Tracker) Told() bool { return t.told && t.server.left == 0 }

// Torn tells whether the client has got a part of a message: nothing else can
// be said to it.
func (t *Tracker) Torn() bool { return t.server.left > 0 }

// Take returns how many queries and transactions there were since the last
// call.
func (t *Tracker) Take() (queries, transactions int64) {
	queries, transactions = t.queries, t.transactions
	t.queries, t.transactions = 0, 0
	return queries, transactions
}
