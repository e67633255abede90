package pgwire

import (
	"bytes"
	"slices"
	"strings"
)

// How much of a client's text is kept.
const (
	maxParse   = 256 << 10 // of a Parse of the unnamed statement
	maxPartial = 64 << 10  // of a message that comes in pieces
	maxNames   = 2048
	keptSpace  = 4 << 10 // a larger buffer is not kept for its next use
)

// ledger keeps what only the client's own words tell of a session's state: the
// unnamed statement, which no catalogue lists, and the names of settings that
// the server does not list either.
//
// A Parse counts once the server has answered it with ParseComplete. The two
// are matched by where they stand: the nth Parse of the mth request since the
// session was idle last.
type ledger struct {
	sent, answered place
	waiting        []parse
	bodies         []byte // of waiting, one after the other

	unnamed []byte // the body of the last Parse of the unnamed statement that succeeded
	lost    bool   // which one it was can no longer be told

	made   []Prepared // with a name, since the session was settled
	unkept bool       // not all that were made since are kept
	past   bool       // what is made now is of no interest: nothing can lead back to it

	partial []byte // of a message that comes in pieces
	pieces  byte   // its type; 0: none is kept

	names     map[string]struct{} // of settings, perhaps
	crowded   bool                // there were more names than are kept
	byBind    bool                // a statement takes names of settings as its values
	reloading bool                // settings were named that the server shows to superusers alone
}

type place struct{ request, parse int }

type parse struct {
	at         place
	begin, end int
	named      bool
}

// Prepared is the Parse of a statement with a name.
type Prepared struct {
	Name string
	Body []byte
}

// How many of them are kept, and how long they may be together with what waits
// for its answer.
const maxMade = 256

// ofInterest tells whether the ledger must see the body of a client's message.
func (l *ledger) ofInterest(kind byte) bool {
	return kind == Query || kind == Parse || kind == Bind && l.byBind
}

// begins takes a message, or the first piece of one, whose body will be size
// bytes long.
func (l *ledger) begins(kind byte, body []byte, size int) {
	if !l.ofInterest(kind) {
		return
	}
	switch {
	case len(body) == size:
		l.read(kind, body)
	case kind == Parse && size <= maxParse, size <= maxPartial:
		l.partial, l.pieces = append(l.partial[:0], body...), kind
	case kind == Parse && body[0] == 0:
		l.sent.parse++
		l.lost = true
	case kind == Parse:
		l.sent.parse++
		l.unkept = true
		l.sniff(body)
	default:
		l.sniff(body)
	}
}

// goesOn takes another piece.
func (l *ledger) goesOn(body []byte, left int) {
	if l.pieces == 0 {
		return
	}
	l.partial = append(l.partial, body...)
	if left == 0 {
		kind := l.pieces
		l.pieces = 0
		l.read(kind, l.partial)
		l.partial = reusable(l.partial)
	}
}

func (l *ledger) read(kind byte, body []byte) {
	switch kind {
	case Query:
		l.sniff(body)
	case Bind:
		l.sniffValues(body)
	case Parse:
		l.sent.parse++
		l.sniff(body)
		named := len(body) > 0 && body[0] != 0
		if named && (l.unkept || l.past) {
			l.unkept = true
			return
		}
		if len(body) > 0 {
			begin := len(l.bodies)
			l.bodies = append(l.bodies, body...)
			l.waiting = append(l.waiting, parse{l.sent, begin, len(l.bodies), named})
		}
		if len(l.bodies) > 4*maxParse {
			l.waiting, l.bodies, l.lost, l.unkept = nil, nil, true, true
		}
	}
}

// ends is a client's message that ends a request.
func (l *ledger) ends() { l.sent = place{l.sent.request + 1, 0} }

// parsed is a ParseComplete.
func (l *ledger) parsed() {
	l.answered.parse++
	for i, p := range l.waiting {
		if p.at != l.answered {
			continue
		}
		if p.named {
			l.make(l.bodies[p.begin:p.end])
		} else {
			l.unnamed, l.lost = append(l.unnamed[:0], l.bodies[p.begin:p.end]...), false
		}
		l.waiting = l.waiting[i+1:]
		return
	}
}

// make takes note of a statement with a name that there is now.
func (l *ledger) make(body []byte) {
	if l.unkept = l.unkept || len(l.made) >= maxMade; l.unkept {
		l.made = nil
		return
	}
	name, _, _ := bytes.Cut(body, []byte{0})
	l.made = append(l.made, Prepared{string(name), bytes.Clone(body)})
}

// closes takes note of a Close of a statement. One that was not made since the
// session was settled is gone even if the transaction is rolled back.
func (l *ledger) closes(name []byte) {
	i := slices.IndexFunc(l.made, func(p Prepared) bool { return p.Name == string(name) })
	if i < 0 || len(l.waiting) > 0 {
		l.unkept = true
		return
	}
	l.made = slices.Delete(l.made, i, i+1)
}

// settled is that all that was made before is known.
func (l *ledger) settled() { l.made, l.unkept, l.past = nil, false, false }

// copies is a COPY, which may swallow a Sync: from here on the places of
// requests and answers do not match, until the session is idle.
func (l *ledger) copies() {
	l.lost = l.lost || slices.ContainsFunc(l.waiting, func(p parse) bool { return !p.named })
	l.unkept = l.unkept || slices.ContainsFunc(l.waiting, func(p parse) bool { return p.named })
	l.waiting = nil
}

// ready is a ReadyForQuery.
func (l *ledger) ready(idle bool) {
	l.answered = place{l.answered.request + 1, 0}
	if idle {
		l.sent, l.answered = place{}, place{}
		l.waiting = l.waiting[:0]
		l.bodies = reusable(l.bodies)
	}
}

// abandon forgets what was under way. The unnamed statement is gone with its
// server.
func (l *ledger) abandon() {
	l.ready(true)
	l.partial, l.pieces = nil, 0
	l.unnamed, l.lost = nil, false
}

func reusable(b []byte) []byte {
	if cap(b) > keptSpace {
		return nil
	}
	return b[:0]
}

// sniff learns what may be the names of settings that are not the server's own
// from a text which may set some.
func (l *ledger) sniff(text []byte) {
	if !mayHaveSet(text) {
		return
	}
	if !l.byBind && containsFold(text, "set_config") {
		l.byBind = true
	}
	if !l.reloading && (containsFold(text, "dynamic_library_path") || containsFold(text, "session_preload_libraries")) {
		l.reloading = true
	}
	for rest := text; ; {
		dot := bytes.IndexByte(rest, '.')
		if dot < 0 {
			return
		}
		begin, end := dot, dot+1
		for begin > 0 && inName(rest[begin-1]) {
			begin--
		}
		for end < len(rest) && (inName(rest[end]) || rest[end] == '.') {
			end++
		}
		l.learn(rest[begin:end])
		rest = rest[end:]
	}
}

// sniffValues learns from the values of a Bind.
func (l *ledger) sniffValues(body []byte) {
	for range 2 { // the portal's and the statement's name
		end := bytes.IndexByte(body, 0)
		if end < 0 {
			return
		}
		body = body[end+1:]
	}
	formats, body := number(body)
	if len(body) < 2*formats {
		return
	}
	values, body := number(body[2*formats:])
	for range values {
		if len(body) < 4 {
			return
		}
		size := int(int32(uint32(body[0])<<24 | uint32(body[1])<<16 | uint32(body[2])<<8 | uint32(body[3])))
		body = body[4:]
		if size < 0 {
			continue
		}
		if size > len(body) {
			return
		}
		if size <= 128 && bytes.IndexByte(body[:size], '.') > 0 {
			l.learn(body[:size])
		}
		body = body[size:]
	}
}

func number(b []byte) (int, []byte) {
	if len(b) < 2 {
		return 0, nil
	}
	return int(b[0])<<8 | int(b[1]), b[2:]
}

func (l *ledger) learn(written []byte) {
	name := strings.ToLower(strings.ReplaceAll(string(written), `"`, ""))
	if !isSettingName(name) {
		return
	}
	if _, known := l.names[name]; known {
		return
	}
	if len(l.names) >= maxNames {
		l.crowded = true
		return
	}
	if l.names == nil {
		l.names = map[string]struct{}{}
	}
	l.names[name] = struct{}{}
}

// isSettingName tells whether the server would take a name for one of a
// setting of somebody's own: words parted by dots.
func isSettingName(name string) bool {
	words := strings.Split(name, ".")
	for _, word := range words {
		if word == "" || word[0] >= '0' && word[0] <= '9' || word[0] == '$' {
			return false
		}
		for i := range len(word) {
			if !inName(word[i]) || word[i] == '"' {
				return false
			}
		}
	}
	return len(words) > 1
}

func inName(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c == '"' || c >= 0x80
}

// mayHaveSet tells whether a text has one of SET, RESET, set_config… at all.
func mayHaveSet(text []byte) bool { return containsFold(text, "set") }

// containsFold tells whether text has word, which is in lower case, in any.
func containsFold(text []byte, word string) bool {
	for i := 0; i+len(word) <= len(text); i++ {
		if text[i]|0x20 == word[0] && foldedPrefix(text[i:], word) {
			return true
		}
	}
	return false
}

func foldedPrefix(text []byte, word string) bool {
	for i := range len(word) {
		c := text[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != word[i] {
			return false
		}
	}
	return true
}

// Unnamed is the body of the last Parse of the unnamed statement that
// succeeded, nil for none. It is not known where the client sent more than is
// kept, or pipelined past a COPY. Whether that statement still exists the
// server must be asked.
func (t *Tracker) Unnamed() (body []byte, known bool) {
	return t.ledger.unnamed, !t.ledger.lost
}

// HasUnnamed says what the body of the unnamed statement's Parse is, where the
// Tracker has not seen that pass; nil: there is none.
func (t *Tracker) HasUnnamed(body []byte) {
	t.ledger.lost = false
	if body == nil {
		t.ledger.unnamed = nil
		return
	}
	t.ledger.unnamed = append(t.ledger.unnamed[:0], body...)
}

// Names are what may be the names of settings of somebody's own; more tells
// that there were more than are kept.
func (t *Tracker) Names() (names []string, more bool) {
	for name := range t.ledger.names {
		names = append(names, name)
	}
	return names, t.ledger.crowded
}

// Forget a name, which is none.
func (t *Tracker) Forget(name string) { delete(t.ledger.names, name) }

// NamedHidden tells whether the client has named settings that the server
// shows to superusers alone.
func (t *Tracker) NamedHidden() bool { return t.ledger.reloading }

// Reported returns what the backend reported of its parameters since the last
// call.
func (t *Tracker) Reported() map[string]string {
	reported := t.reports
	t.reports = nil
	return reported
}

// report takes note of a ParameterStatus.
func (t *Tracker) report(body []byte) {
	name, rest, _ := bytes.Cut(body, []byte{0})
	value, _, _ := bytes.Cut(rest, []byte{0})
	if t.reports == nil {
		t.reports = map[string]string{}
	}
	t.reports[string(name)] = string(value)
}
