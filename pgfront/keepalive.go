package pgfront

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"strings"

	"serverlessproxy/pgfront/pgwire"
)

// keepalive is the engine's own answer to a text that clients send to find out
// whether they are connected: a parked session is answered with it, and wakes
// nobody.
type keepalive struct {
	shape        []byte // of Describe: ParameterDescription, and RowDescription or NoData
	text, binary []byte // of Execute, up to CommandComplete, by the format of its values
}

// emptyQuery is the answer to a query without a statement.
var emptyQuery = &keepalive{
	shape: []byte{pgwire.ParameterDescription, 0, 0, 0, 6, 0, 0, pgwire.NoData, 0, 0, 0, 4},
	text:  []byte{pgwire.EmptyQueryResponse, 0, 0, 0, 4}, binary: []byte{pgwire.EmptyQueryResponse, 0, 0, 0, 4},
}

// learnKeepalives has a fresh backend answer the keepalive queries, once for
// each cluster's list of them. What the engine refuses is not learnt.
func (s *session) learnKeepalives(ctx context.Context, o *opened) error {
	if s.kept != nil || s.replication != none || !s.front.wantsKeepalives(s.target.Name, s.target.KeepaliveQueries) {
		return nil
	}
	defer interruptIO(ctx, o.conn)()
	d := newDialogue(o.conn)
	learnt := map[string]*keepalive{}
	for _, text := range s.target.KeepaliveQueries {
		if isEmptyQuery(text) {
			continue
		}
		k := &keepalive{}
		asked := describe(parseMessage(nil, "", text, nil), "")
		for i, format := range []byte{0, 1} {
			bind := pgwire.AppendMessage(bytes.Clone(asked), pgwire.Bind, []byte{0, 0, 0, 0, 0, 0, 0, 1, 0, format})
			replies, err := d.run(withSync(pgwire.AppendMessage(bind, pgwire.Execute, []byte{0, 0, 0, 0, 0})))
			if err != nil {
				return err
			}
			if replies[0].failed != nil {
				k = nil
				break
			}
			k.shape = replies[0].shape
			if i == 0 {
				k.text = replies[0].raw
			} else {
				k.binary = replies[0].raw
			}
		}
		if k != nil {
			learnt[text] = k
		}
	}
	if _, err := d.run(withSync(closeStatement(nil, ""))); err != nil {
		return err
	}
	s.front.keepKeepalives(s.target.Name, learnt)
	return nil
}

// wantsKeepalives tells whether a cluster's answers are not known yet.
func (f *Front) wantsKeepalives(cluster string, texts []string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.keepalives[cluster]
	return slices.ContainsFunc(texts, func(text string) bool {
		_, asked := known[text]
		return !asked && !isEmptyQuery(text)
	}) && len(texts) > 0 && known == nil
}

func (f *Front) keepKeepalives(cluster string, learnt map[string]*keepalive) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keepalives[cluster] = learnt
}

// keepaliveFor is the answer to a text, nil if there is none without the
// engine.
func (s *session) keepaliveFor(text string) *keepalive {
	if isEmptyQuery(text) {
		return emptyQuery
	}
	if !slices.Contains(s.target.KeepaliveQueries, text) {
		return nil
	}
	s.front.mu.Lock()
	defer s.front.mu.Unlock()
	return s.front.keepalives[s.target.Name][text]
}

// isEmptyQuery tells whether a text surely has no statement: white space,
// semicolons and comments to the end of a line.
func isEmptyQuery(text string) bool {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "--")
		if strings.Trim(line, " \t\r\n\f;") != "" {
			return false
		}
	}
	return true
}

// answerAsleep answers the parked session's first request if that needs no
// engine: a bare Sync, an empty query, a keepalive query. It counts as no
// activity.
func (s *session) answerAsleep() (answered bool, err error) {
	a := asleep{session: s}
	size, ok := a.request(s.pending)
	if !ok {
		return false, nil
	}
	s.pending = s.pending[size:]
	if len(s.pending) == 0 {
		s.pending = nil
	}
	a.remember()
	return true, s.write(a.answer)
}

// asleep answers one request.
type asleep struct {
	session *session
	answer  []byte

	unnamed      []byte // the Parse of the unnamed statement, as it is after this
	unnamedShape []byte
	prepared     bool // the unnamed statement is another than before, or none
	bound        *keepalive
	binary       bool
}

// request answers the messages of one request; !ok: it is not whole, or needs
// the engine.
func (a *asleep) request(b []byte) (size int, ok bool) {
	for at := 0; len(b)-at >= 5; {
		end := at + 1 + int(binary.BigEndian.Uint32(b[at+1:]))
		if end > len(b) || end < at+5 {
			return 0, false
		}
		kind, body := b[at], b[at+5:end]
		at = end
		switch {
		case kind == pgwire.Sync && len(body) == 0:
			a.answer = pgwire.AppendReady(a.answer, pgwire.IdleStatus)
			return at, true
		case kind == pgwire.Query && len(a.answer) == 0:
			return at, a.query(body)
		case !a.extended(kind, body):
			return 0, false
		}
	}
	return 0, false
}

func (a *asleep) query(body []byte) bool {
	text, rest, ended := bytes.Cut(body, []byte{0})
	k := a.session.keepaliveFor(string(text))
	if !ended || len(rest) > 0 || k == nil {
		return false
	}
	if k != emptyQuery {
		a.answer = append(a.answer, rowDescription(k.shape, 0)...)
	}
	a.answer = pgwire.AppendReady(append(a.answer, k.text...), pgwire.IdleStatus)
	a.prepared, a.unnamed = true, nil
	return true
}

func (a *asleep) extended(kind byte, body []byte) bool {
	switch kind {
	case pgwire.Flush:
		return false // what it waits for comes by itself, but not before the Sync
	case pgwire.Parse:
		return a.parse(body)
	case pgwire.Bind:
		return a.bind(body)
	case pgwire.Describe:
		return a.describe(body)
	case pgwire.Execute:
		if !bytes.Equal(body, []byte{0, 0, 0, 0, 0}) || a.bound == nil {
			return false
		}
		rows := a.bound.text
		if a.binary {
			rows = a.bound.binary
		}
		a.answer, a.bound = append(a.answer, rows...), nil
		return true
	}
	return false
}

func (a *asleep) parse(body []byte) bool {
	if len(body) < 4 || body[0] != 0 {
		return false
	}
	text, types, _ := bytes.Cut(body[1:], []byte{0})
	k := a.session.keepaliveFor(string(text))
	if k == nil || !bytes.Equal(types, []byte{0, 0}) {
		return false
	}
	a.prepared, a.unnamed, a.unnamedShape = true, bytes.Clone(body), k.shape
	a.answer = append(a.answer, pgwire.ParseComplete, 0, 0, 0, 4)
	return true
}

// statement is the answer to the text of a prepared statement.
func (a *asleep) statement(name string) *keepalive {
	kept := a.session.kept
	if name == "" {
		body := a.unnamed
		if !a.prepared && kept != nil {
			body = kept.unnamed
		}
		if len(body) < 4 {
			return nil
		}
		text, types, _ := bytes.Cut(body[1:], []byte{0})
		if !bytes.Equal(types, []byte{0, 0}) {
			return nil
		}
		return a.session.keepaliveFor(string(text))
	}
	if kept == nil {
		return nil
	}
	for _, st := range kept.statements {
		if st.name == name && !st.fromSQL && len(st.types) == 0 {
			return a.session.keepaliveFor(st.text)
		}
	}
	return nil
}

// bind takes a Bind to the unnamed portal, without values, all of whose
// results are of one format.
func (a *asleep) bind(body []byte) bool {
	portal, rest, ok := bytes.Cut(body, []byte{0})
	name, rest, named := bytes.Cut(rest, []byte{0})
	if !ok || !named || len(portal) > 0 || len(rest) < 6 {
		return false
	}
	formats := int(binary.BigEndian.Uint16(rest))
	if len(rest) < 2*formats+6 || binary.BigEndian.Uint16(rest[2+2*formats:]) != 0 {
		return false
	}
	results := rest[2*formats+6:]
	a.binary = false
	switch len(results) {
	case 0:
	case 2:
		a.binary = results[1] == 1
	default:
		return false
	}
	a.bound = a.statement(string(name))
	a.answer = append(a.answer, pgwire.BindComplete, 0, 0, 0, 4)
	return a.bound != nil
}

func (a *asleep) describe(body []byte) bool {
	if len(body) < 2 {
		return false
	}
	name := string(body[1 : len(body)-1])
	switch {
	case body[0] == 'S':
		k := a.statement(name)
		if k != nil {
			a.answer = append(a.answer, k.shape...)
		}
		return k != nil
	case body[0] == 'P' && name == "" && a.bound != nil:
		var format byte
		if a.binary {
			format = 1
		}
		a.answer = append(a.answer, rowDescription(a.bound.shape, format)...)
		return true
	}
	return false
}

// rowDescription is what a portal's description is where a statement's is
// shape: without the parameters, and with the format of the values.
func rowDescription(shape []byte, format byte) []byte {
	parameters := 1 + int(binary.BigEndian.Uint32(shape[1:]))
	rows := bytes.Clone(shape[parameters:])
	if rows[0] != pgwire.RowDescription {
		return rows
	}
	for columns := rows[7:]; ; {
		name := bytes.IndexByte(columns, 0)
		if name < 0 || len(columns) < name+19 {
			return rows
		}
		columns[name+18] = format
		columns = columns[name+19:]
	}
}

// remember what the request changed of the session.
func (a *asleep) remember() {
	s := a.session
	if !a.prepared || s.kept == nil && a.unnamed == nil {
		return
	}
	if s.kept == nil {
		s.kept = &state{}
	}
	s.kept.unnamed, s.kept.unnamedShape = a.unnamed, a.unnamedShape
	s.traffic.tracker.HasUnnamed(a.unnamed)
}
