package mysqlwire

import (
	"encoding/binary"
	"fmt"

	"github.com/go-mysql-org/go-mysql/mysql"
)

const (
	// maxKill is the longest COM_QUERY that is looked at for a KILL.
	maxKill = 4 << 10
	// maxIntercepted is the longest packet that stops a session; connection
	// attributes may have 64 KiB, and the rest of COM_CHANGE_USER is small.
	maxIntercepted = 128 << 10
	// maxTypes is the longest beginning of an execution that is waited for to
	// learn the types of its parameters.
	maxTypes = 16 << 10
)

// fate is what becomes of a client's packet.
type fate byte

const (
	pass fate = iota
	wait      // more of it must be there to tell
	stop      // it, and all that follows, is the front's
)

// FromClient looks through what the client sent: see Tracker.
func (t *Tracker) FromClient(b []byte) (n int, stopped bool) {
	n, stopped = t.fromClient(b)
	t.facts.Sent += int64(n)
	return n, stopped
}

func (t *Tracker) fromClient(b []byte) (n int, stopped bool) {
	t.held, t.stop = Running, Running
	for n < len(b) {
		if t.client.skip > 0 {
			n += t.passBody(b[n:])
			continue
		}
		rest := b[n:]
		if len(rest) < HeaderSize {
			return n, false
		}
		length, _ := Header(rest)
		payload := rest[HeaderSize:min(len(rest), HeaderSize+length)]
		if t.file && t.config.Renumber {
			rest[HeaderSize-1] = t.fileNext
			t.fileNext++
		}
		begins, file, asked := !t.client.continued, t.file, t.pending.n > 0
		switch t.packet(payload, length) {
		case wait:
			return n, false
		case stop:
			return n, true
		}
		if begins {
			t.asking = file || !asked && t.pending.n > 0
		}
		if t.asking {
			t.turn = rest[HeaderSize-1] + 1
		}
		t.collect(payload)
		n += t.client.take(rest, length)
		t.endCollecting()
	}
	return n, false
}

func (t *Tracker) passBody(b []byte) int {
	n := t.client.pass(b)
	if !t.file {
		t.noticeMore(b[:n])
		t.noticeEffect(b[:n])
	}
	t.collect(b[:n])
	t.endCollecting()
	return n
}

// packet decides about a client's packet, of which payload has arrived.
func (t *Tracker) packet(payload []byte, length int) fate {
	if t.client.continued {
		if !t.file {
			t.noticeMore(payload)
			t.noticeEffect(payload)
		}
		return t.payloadGrows(t.total + int64(length))
	}
	if t.file {
		t.file = length > 0 // an empty packet ends the file
		return t.payloadGrows(int64(length))
	}
	if length == 0 {
		return t.malformed("an empty packet where a command was due")
	}
	if len(payload) == 0 {
		return wait
	}
	if f := t.command(payload, length); f != pass {
		return f
	}
	return t.payloadGrows(int64(length))
}

func (t *Tracker) payloadGrows(total int64) fate {
	if total > t.config.MaxPayload {
		return t.malformed(fmt.Sprintf("a packet of more than %d bytes", t.config.MaxPayload))
	}
	t.total = total
	return pass
}

func (t *Tracker) malformed(what string) fate {
	t.err = fmt.Errorf("client sent %s: %w", what, ErrMalformed)
	t.stop = StopMalformed
	return stop
}

// command decides about a packet that begins a command.
func (t *Tracker) command(p []byte, length int) fate {
	if t.streaming() && p[0] != mysql.COM_QUIT {
		return pass // a replica's acknowledgement, or another protocol
	}
	if t.pending.full() {
		return t.hold(StopAgain)
	}
	switch p[0] {
	case mysql.COM_QUIT:
		return t.intercept(StopQuit, p, length)
	case mysql.COM_CHANGE_USER:
		t.passNext = false
		return t.intercept(StopChangeUser, p, length)
	case mysql.COM_PROCESS_KILL:
		return t.intercept(StopKill, p, length)
	case mysql.COM_RESET_CONNECTION:
		if t.config.StopReset {
			return t.intercept(StopReset, p, length)
		}
	case mysql.COM_QUERY:
		return t.query(p, length)
	case mysql.COM_STMT_PREPARE:
		if len(p) < min(length, maxNoticed) {
			return wait
		}
		t.prepare(length)
		t.notice(p[1:], t.collecting)
		t.collecting.noticed.effect = textEffect(p[1:], false, len(p) == length && length < MaxPacket)
		return pass
	case mysql.COM_STMT_EXECUTE, ComBulkExecute, mysql.COM_STMT_FETCH, mysql.COM_STMT_RESET,
		mysql.COM_STMT_CLOSE, mysql.COM_STMT_SEND_LONG_DATA:
		return t.useStatement(p, length)
	case mysql.COM_SET_OPTION:
		return t.setOption(p, length)
	case mysql.COM_REGISTER_SLAVE:
		t.replica = true
	case mysql.COM_INIT_DB:
		t.noticeCommand(p)
	}
	t.ask(request{command: p[0], effect: commandEffects[p[0]], keeps: p[0] == mysql.COM_PING})
	return pass
}

// streaming tells whether the client's packets are no commands for now.
func (t *Tracker) streaming() bool {
	return t.pending.n == 1 && streams(t.pending.first().command)
}

// ask notes a command whose answer is to come.
func (t *Tracker) ask(r request) {
	t.facts.Commands++
	if !answered(r.command) {
		return
	}
	t.standing.asks(r.effect, t.moment())
	if streams(r.command) {
		t.replica = true
	}
	if executes(r.command) {
		t.counts.Queries++
	}
	t.pending.push(r)
	if t.pending.n == 1 {
		t.stage = opening(r.command)
	}
}

// intercept stops the session before a packet, once it is there whole and
// all that came before it is answered.
func (t *Tracker) intercept(why Stop, p []byte, length int) fate {
	if t.passNext || length > maxIntercepted && why != StopChangeUser {
		t.passNext = false
		t.ask(request{command: p[0]})
		return pass
	}
	if length > maxIntercepted {
		return t.malformed("a COM_CHANGE_USER that is too long")
	}
	if len(p) < length {
		return wait
	}
	return t.hold(why)
}

// hold stops the session now, or, while answers are outstanding, at the end of
// the last of them. A stream without end is not waited for.
func (t *Tracker) hold(why Stop) fate {
	if (t.pending.n > 0 || t.backend.inside()) && !t.streaming() {
		t.held = why
		return wait
	}
	t.stop = why
	return stop
}

func (t *Tracker) query(p []byte, length int) fate {
	if length <= maxKill {
		switch t.kills(p, length) {
		case undecided:
			return wait
		case yes:
			return t.intercept(StopKillQuery, p, length)
		}
	}
	if len(p) < min(length, maxNoticed) {
		return wait
	}
	e := t.queryEffect(p, length)
	if t.mustRead(e) {
		return t.hold(StopBegin)
	}
	t.noticeCommand(p)
	t.ask(request{command: mysql.COM_QUERY, effect: e, keeps: t.mayKeep(p)})
	return pass
}

// kills tells whether a COM_QUERY is a KILL.
func (t *Tracker) kills(p []byte, length int) verdict {
	v := undecided
	if text, ok := QueryText(p, t.caps); ok {
		v = killBegins(text)
	}
	if v == undecided && len(p) == length {
		return no
	}
	return v
}

func (t *Tracker) setOption(p []byte, length int) fate {
	if len(p) < min(length, 3) {
		return wait
	}
	r := request{command: mysql.COM_SET_OPTION, option: 0xff}
	if length == 3 && p[2] == 0 {
		r.option = p[1]
	}
	t.ask(r)
	return pass
}

// useStatement decides about a command that names a prepared statement.
func (t *Tracker) useStatement(p []byte, length int) fate {
	const idEnd = 5
	if length < idEnd {
		return t.malformed("a statement's command without the statement's id")
	}
	if len(p) < idEnd {
		return wait
	}
	id := binary.LittleEndian.Uint32(p[1:])
	s := t.statements.find(id)
	if s == nil {
		t.statements.hideUnknown(id, p[1:])
		t.ask(request{command: p[0]})
		return pass
	}
	if executes(p[0]) && t.mustRead(s.noticed.effect) {
		return t.hold(StopBegin)
	}
	if !s.prepared() && p[0] != mysql.COM_STMT_CLOSE {
		t.statements.wanted = s.ID
		return t.hold(StopStatement)
	}
	if !t.learnTypes(s, p, length) {
		return wait
	}
	t.statements.translate(s, id, p[1:])
	t.noteUse(s, p[0])
	return pass
}

// noteUse keeps what a command does to a statement in the order in which the
// server will do it.
func (t *Tracker) noteUse(s *Statement, command byte) {
	switch command {
	case mysql.COM_STMT_CLOSE:
		t.facts.Commands++
		t.statements.close(s, t.pending.n == 0)
		return
	case mysql.COM_STMT_SEND_LONG_DATA:
		t.statements.setLongData(s, true)
		return
	case mysql.COM_STMT_EXECUTE, ComBulkExecute, mysql.COM_STMT_RESET:
		t.statements.setLongData(s, false)
	}
	e := commandEffects[command]
	if executes(command) {
		t.ran(s.noticed)
		e = s.noticed.effect
	}
	t.ask(request{command: command, statement: s, effect: e})
}
