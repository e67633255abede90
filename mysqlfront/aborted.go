package mysqlfront

import (
	"bytes"
	"encoding/binary"

	"github.com/go-mysql-org/go-mysql/mysql"

	"serverlessproxy/mysqlfront/mysqlwire"
)

// aborted is a transaction that died with its engine. Its client is answered
// without one until it has said ROLLBACK, or resets the session: everything
// else is refused, a COMMIT too, so that nobody believes to have committed.
type aborted struct {
	caps    mysqlwire.Capabilities
	status  uint16 // as the client saw it last, in the transaction
	unheard bool   // the client has not been told why

	rest    []byte // of what it sent, too little to be looked at
	passing int    // bytes of a packet that are not looked at
	owes    bool   // an answer follows them
	follows bool   // a packet follows them that continues the payload
	seq     byte   // of the packet under way
	closed  []uint32
	long    map[uint32]bool // statements with parameters that were sent, and are nowhere
}

// verdict is what has become of an aborted transaction.
type verdict uint8

const (
	standsAborted verdict = iota
	rolledBack
	resetting // what is left begins with a command for an engine
	leaving
	spoilt // parameters were sent that an engine should have
)

// longestLook is the longest packet that is looked at: no ROLLBACK is longer.
const longestLook = 4 << 10

// begin answers what was under way.
func (a *aborted) begin(u mysqlwire.Undone) (answer []byte) {
	seq := u.Seq
	for range u.Commands {
		if u.Unsent > 0 {
			a.passing, a.owes, a.seq = u.Unsent, true, seq-1
			break
		}
		answer = append(answer, a.refusal(seq)...)
		seq = 1
	}
	return answer
}

// refusal is the error of a command, the first time with the reason.
func (a *aborted) refusal(seq byte) []byte {
	why := errStillAborted
	if a.unheard {
		a.unheard = false
		why = errRolledBack
	}
	said, _ := answerTo(why)
	return mysqlwire.AppendPacket(nil, seq, said.packet())
}

func (a *aborted) ok(seq byte, status uint16) []byte {
	return mysqlwire.AppendPacket(nil, seq, mysqlwire.AppendOK(nil, mysqlwire.OK{Status: status}, a.caps))
}

// outside is the status of a session whose transaction has ended.
func (a *aborted) outside() uint16 {
	return a.status &^ (mysql.SERVER_STATUS_IN_TRANS | mysql.SERVER_STATUS_IN_TRANS_READONLY)
}

// take answers what the client sent. What follows the end is left over.
func (a *aborted) take(b []byte) (answer, left []byte, v verdict) {
	b = append(a.rest, b...)
	a.rest = nil
	for {
		if b = a.pass(b); a.passing > 0 {
			return answer, nil, standsAborted
		}
		if a.owes && !a.follows {
			a.owes = false
			answer = append(answer, a.refusal(a.seq+1)...)
		}
		length, seq, whole := look(b)
		if !whole {
			a.rest = bytes.Clone(b)
			return answer, nil, standsAborted
		}
		if a.follows || length > longestLook {
			a.skip(b, length)
			continue
		}
		said, v := a.command(b[mysqlwire.HeaderSize:mysqlwire.HeaderSize+length], seq)
		answer = append(answer, said...)
		if v == resetting {
			return answer, b, v
		}
		b = b[mysqlwire.HeaderSize+length:]
		if v != standsAborted {
			return answer, bytes.Clone(b), v
		}
	}
}

// look tells whether a packet that b begins with is there as far as it is
// looked at: a long one as far as the number of the statement that it names.
func look(b []byte) (length int, seq byte, whole bool) {
	const numbered = 5
	if len(b) < mysqlwire.HeaderSize {
		return 0, 0, false
	}
	length, seq = mysqlwire.Header(b)
	need := length
	if length > longestLook {
		need = numbered
	}
	return length, seq, len(b) >= mysqlwire.HeaderSize+need
}

// pass passes what is not looked at.
func (a *aborted) pass(b []byte) []byte {
	n := min(a.passing, len(b))
	a.passing -= n
	return b[n:]
}

// skip begins to pass a packet that is long, or continues one that is.
func (a *aborted) skip(b []byte, length int) {
	if !a.follows {
		a.owes = answeredCommand(b[mysqlwire.HeaderSize])
		a.note(b[mysqlwire.HeaderSize:])
	}
	_, a.seq = mysqlwire.Header(b)
	a.passing = mysqlwire.HeaderSize + length
	a.follows = length == mysqlwire.MaxPacket
}

// answeredCommand tells whether a command has an answer.
func answeredCommand(command byte) bool {
	return command != mysql.COM_STMT_CLOSE && command != mysql.COM_STMT_SEND_LONG_DATA
}

// command answers one command.
func (a *aborted) command(payload []byte, seq byte) (answer []byte, v verdict) {
	if len(payload) == 0 {
		return a.refusal(seq + 1), standsAborted
	}
	a.note(payload)
	switch payload[0] {
	case mysql.COM_QUIT:
		return nil, leaving
	case mysql.COM_PING:
		return a.ok(seq+1, a.status), standsAborted
	case mysql.COM_RESET_CONNECTION, mysql.COM_CHANGE_USER:
		return nil, resetting
	case mysql.COM_STMT_CLOSE, mysql.COM_STMT_SEND_LONG_DATA:
		return nil, standsAborted
	case mysql.COM_QUERY:
		text, ok := mysqlwire.QueryText(payload, a.caps)
		switch {
		case !ok || !mysqlwire.IsRollback(text):
		case len(a.long) > 0:
			return nil, spoilt
		default:
			return a.ok(seq+1, a.outside()), rolledBack
		}
	}
	return a.refusal(seq + 1), standsAborted
}

// note keeps what a command about a prepared statement does that outlives the
// transaction.
func (a *aborted) note(payload []byte) {
	const idEnd = 5
	if len(payload) < idEnd {
		return
	}
	id := binary.LittleEndian.Uint32(payload[1:])
	switch payload[0] {
	case mysql.COM_STMT_CLOSE:
		a.closed = append(a.closed, id)
		delete(a.long, id)
	case mysql.COM_STMT_SEND_LONG_DATA:
		if a.long == nil {
			a.long = map[uint32]bool{}
		}
		a.long[id] = true
	case mysql.COM_STMT_EXECUTE, mysqlwire.ComBulkExecute, mysql.COM_STMT_RESET:
		delete(a.long, id)
	}
}
