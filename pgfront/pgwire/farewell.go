package pgwire

import "bytes"

// A server that goes away says so in an error that ends the session, or in a
// notice where it has crashed. Whether that reaches the client is the front's
// to decide: such a message stops the session and is left over.

// Farewell is what a server said at the end of a session.
type Farewell uint8

const (
	NoFarewell Farewell = iota
	Ordered             // 57P01: somebody ended this session, or stops the whole server
	Crashing            // the whole server goes down, and this session with it
)

// Codes of the class "operator intervention".
const (
	AdminShutdown = "57P01"
	crashShutdown = "57P02"
)

// Farewell tells how the server took leave, if it has.
func (t *Tracker) Farewell() Farewell { return t.farewell }

// Fatal tells whether the client has heard an error that ends its session.
func (t *Tracker) Fatal() bool { return t.fatal && t.server.left == 0 }

// report of an error or a notice, which is there whole.
func (t *Tracker) hear(kind byte, body []byte) (leaves Farewell) {
	severity, code := fields(body)
	fatal := kind == ErrorResponse && (severity == "FATAL" || severity == "PANIC")
	switch {
	case code == crashShutdown && (fatal || kind == NoticeResponse):
		return Crashing
	case code == AdminShutdown && kind == NoticeResponse: // an immediate shutdown
		return Crashing
	case code == AdminShutdown && fatal:
		return Ordered
	}
	t.fatal = t.fatal || fatal
	return NoFarewell
}

// fields are an error's severity, as no locale changes it, and its code.
func fields(body []byte) (severity, code string) {
	for len(body) > 1 {
		value, rest, ended := bytes.Cut(body[1:], []byte{0})
		if !ended {
			break
		}
		switch body[0] {
		case 'V':
			severity = string(value)
		case 'C':
			code = string(value)
		}
		body = rest
	}
	return severity, code
}
