package pgfront

import (
	"bytes"
	"encoding/binary"
	"slices"

	"serverlessproxy/pgfront/pgwire"
)

// aborted is a transaction that died with its engine: the session is answered
// as one whose transaction has failed, until its client has said ROLLBACK. As
// the server would it refuses all else; a COMMIT too, which the server would
// take for a ROLLBACK, so that nobody believes to have committed.
type aborted struct {
	kept    *state // where a ROLLBACK leads to; what is prepared meanwhile is added
	unheard bool   // the client has not been told why

	rest     []byte // of what it sent, too little to be a message
	passing  int    // bytes of a message that are not looked at
	skipping bool   // an error in a batch: until Sync
	portals  map[string]bool
	rolled   bool // ROLLBACK was executed, the batch goes on
	over     bool
	goodbye  bool
}

// interesting is the longest message that is looked at: no ROLLBACK is longer.
const interesting = 10000

// begin answers what was under way.
func (a *aborted) begin(o pgwire.Outstanding) (answer []byte) {
	a.passing = o.Unsent
	for i := range o.Requests {
		if i > 0 || !o.Refused {
			answer = append(answer, a.refusal()...)
		}
		a.unheard = false
		answer = pgwire.AppendReady(answer, pgwire.FailedStatus)
	}
	if o.Open {
		if o.Requests > 0 || !o.Refused {
			answer = append(answer, a.refusal()...)
		}
		a.unheard, a.skipping = false, true
	}
	return answer
}

// refusal is the error of a request, the first time with the reason.
func (a *aborted) refusal() []byte {
	if a.unheard {
		a.unheard = false
		return rolledBack().failure()
	}
	return inFailedTransaction().failure()
}

// take answers what the client sent. What follows the ROLLBACK is left over.
func (a *aborted) take(b []byte) (answer, left []byte, err error) {
	b = append(a.rest, b...)
	a.rest = nil
	const header = 5
	for !a.over && !a.goodbye {
		n := min(a.passing, len(b))
		a.passing -= n
		b = b[n:]
		if a.passing > 0 || len(b) < header {
			break
		}
		var probe pgwire.Tracker
		probe.FromClient(bytes.Clone(b[:header]))
		if err := probe.Violation(); err != nil {
			return answer, nil, err
		}
		kind, size := b[0], int(binary.BigEndian.Uint32(b[1:]))-4
		if size > interesting {
			answer = append(answer, a.message(kind, nil)...)
			a.passing, b = size, b[header:]
			continue
		}
		if len(b) < header+size {
			break
		}
		answer = append(answer, a.message(kind, b[header:header+size:header+size])...)
		b = b[header+size:]
	}
	if a.over || a.goodbye {
		return answer, bytes.Clone(b), nil
	}
	a.rest = bytes.Clone(b)
	return answer, nil, nil
}

// message answers one message. A nil body is one that is too long to be of
// interest.
func (a *aborted) message(kind byte, body []byte) []byte {
	switch kind {
	case pgwire.Terminate:
		a.goodbye = true
		return nil
	case pgwire.Sync:
		a.skipping = false
		return a.ready()
	case pgwire.CopyData, pgwire.CopyDone, pgwire.CopyFail, pgwire.Flush:
		return nil
	}
	if a.skipping {
		return nil
	}
	switch kind {
	case pgwire.Query:
		return a.query(body)
	case pgwire.FunctionCall:
		return append(a.refusal(), a.ready()...)
	}
	answer, ok := a.extended(kind, body)
	if !ok {
		a.skipping = true
		return a.refusal()
	}
	return answer
}

// ready ends a request.
func (a *aborted) ready() []byte {
	if a.rolled {
		a.over = true
		return pgwire.AppendReady(nil, pgwire.IdleStatus)
	}
	return pgwire.AppendReady(nil, pgwire.FailedStatus)
}

func (a *aborted) query(body []byte) []byte {
	text := bytes.TrimSuffix(body, []byte{0})
	switch {
	case a.rolled: // inside a batch that has rolled back already
		return append(inFailedTransaction().failure(), a.ready()...)
	case body != nil && isEmptyQuery(string(text)):
		return append(bytes.Clone(emptyQuery.text), a.ready()...)
	case body != nil && pgwire.IsRollback(text):
		a.kept.unnamed, a.kept.unnamedShape = nil, nil
		a.rolled = true
		return append(rollbackComplete(), a.ready()...)
	}
	return append(a.refusal(), a.ready()...)
}

// extended answers a message of a batch; !ok: with an error.
func (a *aborted) extended(kind byte, body []byte) (answer []byte, ok bool) {
	if a.rolled && kind != pgwire.Close {
		return nil, false
	}
	switch kind {
	case pgwire.Parse:
		return []byte{pgwire.ParseComplete, 0, 0, 0, 4}, a.parse(body)
	case pgwire.Bind:
		return []byte{pgwire.BindComplete, 0, 0, 0, 4}, a.bind(body)
	case pgwire.Describe:
		return a.describe(body)
	case pgwire.Execute:
		portal, _, ended := bytes.Cut(body, []byte{0})
		if !ended || !a.portals[string(portal)] {
			return nil, false
		}
		a.rolled = true
		return rollbackComplete(), true
	case pgwire.Close:
		return []byte{closeComplete, 0, 0, 0, 4}, a.close(body)
	}
	return nil, false
}

func (a *aborted) parse(body []byte) bool {
	name, rest, named := bytes.Cut(body, []byte{0})
	text, types, ended := bytes.Cut(rest, []byte{0})
	if !named || !ended || !bytes.Equal(types, []byte{0, 0}) || !pgwire.IsRollback(text) {
		return false
	}
	if len(name) == 0 {
		a.kept.unnamed, a.kept.unnamedShape = bytes.Clone(body), rollbackShape
		return true
	}
	if a.find(string(name)) != nil {
		return false
	}
	a.kept.statements = append(a.kept.statements, statement{name: string(name), text: string(text), shape: rollbackShape})
	return true
}

func (a *aborted) find(name string) *statement {
	i := slices.IndexFunc(a.kept.statements, func(s statement) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return &a.kept.statements[i]
}

// rollsBack tells whether a prepared statement is a ROLLBACK.
func (a *aborted) rollsBack(name string) bool {
	if name == "" {
		return a.kept.unnamed != nil
	}
	st := a.find(name)
	return st != nil && !st.fromSQL && pgwire.IsRollback([]byte(st.text))
}

func (a *aborted) bind(body []byte) bool {
	portal, rest, ok := bytes.Cut(body, []byte{0})
	name, _, named := bytes.Cut(rest, []byte{0})
	if !ok || !named || !a.rollsBack(string(name)) {
		return false
	}
	if a.portals == nil {
		a.portals = map[string]bool{}
	}
	a.portals[string(portal)] = true
	return true
}

func (a *aborted) describe(body []byte) (answer []byte, ok bool) {
	if len(body) < 2 {
		return nil, false
	}
	name := string(body[1 : len(body)-1])
	switch {
	case body[0] == 'S' && a.rollsBack(name):
		return rollbackShape, true
	case body[0] == 'P' && a.portals[name]:
		return rollbackShape[7:], true
	}
	return nil, false
}

func (a *aborted) close(body []byte) bool {
	if len(body) < 2 {
		return false
	}
	name := string(body[1 : len(body)-1])
	switch {
	case body[0] == 'P':
		delete(a.portals, name)
	case name == "":
		a.kept.unnamed, a.kept.unnamedShape = nil, nil
	default:
		a.kept.statements = slices.DeleteFunc(a.kept.statements, func(s statement) bool { return s.name == name })
	}
	return true
}

const closeComplete = '3'

// rollbackShape is how the server describes a ROLLBACK: no parameters, no rows.
var rollbackShape = []byte{pgwire.ParameterDescription, 0, 0, 0, 6, 0, 0, pgwire.NoData, 0, 0, 0, 4}

func rollbackComplete() []byte {
	return pgwire.AppendMessage(nil, pgwire.CommandComplete, []byte("ROLLBACK\x00"))
}
