package mysqlwire

import (
	"bytes"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// Facts are what a session's own words tell of its state, where a server does
// not.
type Facts struct {
	// UserLock tells that a statement named GET_LOCK, which may be held since.
	// UserLocks are the names of those that were asked for by a plain literal
	// and no more: the server can be asked about each.
	UserLock  bool
	UserLocks []string
	// NextTransaction is a SET TRANSACTION for the next transaction alone,
	// which has not begun; NextUnclear, that there may be one whose text is
	// not known.
	NextTransaction []byte
	NextUnclear     bool
	// Watched tells that the session has the server note what its statements do
	// (profiling, optimizer_trace, FLUSH STATUS), among which others' would show.
	Watched bool
	// Handler tells that the session may have a HANDLER open, which a reading of
	// tables closes where another waits for it.
	Handler bool
	// Affected is what was said at the end of the last statement; Warnings, that
	// it has left conditions to be asked for, or not swept away earlier ones.
	Affected uint64
	Warnings bool
	// Commands is how many there were; Sent, how many bytes went to the
	// backend since its counters began.
	Commands uint64
	Sent     int64
	// Resets is how often the session was reset.
	Resets uint64
}

// gathered are Facts that are kept where commands pass.
type gathered struct {
	Facts
	tail  [len(lockWord) - 1]byte // of the text that has been looked at
	epoch uint32                  // counts what may change how a text is read: sql_mode, database, character sets
}

// Facts returns what is known so far.
func (t *Tracker) Facts() Facts {
	f := t.facts.Facts
	f.Warnings = f.Warnings || t.doubt
	return f
}

// AddSent counts bytes that went to the backend beside the Tracker.
func (t *Tracker) AddSent(n int) { t.facts.Sent += int64(n) }

// Present tells whether s was prepared with the sql_mode, database and
// character sets that are in force now.
func (t *Tracker) Present(s *Statement) bool { return s.epoch == t.facts.epoch }

// maxNoticed is how much of a text is looked at for what decides by its first
// words. What holds a lock is looked for in all of it that has arrived.
const maxNoticed = 4 << 10

// notice keeps what a statement's text tells. It runs now, or with prepared
// not null, whenever that is executed.
func (t *Tracker) notice(text []byte, prepared *Statement) {
	if holds(text, lockWord) {
		t.noticeLock(text, prepared)
	}
	t.noticeTail(text)
	n := noticed{whole: len(text) <= maxNoticed}
	n.look(text[:min(len(text), maxNoticed)])
	if prepared != nil {
		prepared.noticed = n
		return
	}
	first := t.facts.NextTransaction == nil && !t.facts.NextUnclear
	t.ran(n)
	if n.transaction && n.single && !n.session && first {
		t.facts.NextTransaction, t.facts.NextUnclear = append([]byte(nil), text...), false
	}
}

// ran takes over what a statement does that is executed.
func (t *Tracker) ran(n noticed) {
	if n.context {
		t.facts.epoch++
	}
	t.facts.Watched = t.facts.Watched || n.watches
	t.facts.Handler = t.facts.Handler || n.handler
	if !n.set {
		t.facts.NextTransaction, t.facts.NextUnclear = nil, false
	}
	if n.transaction && (!n.session || t.facts.NextTransaction != nil) {
		// A second SET, for the next transaction or the session's, overrides the
		// first in part: what is left of that is the engine's to say.
		t.facts.NextTransaction, t.facts.NextUnclear = nil, true
	}
}

// noticed is what the words of a text may do.
type noticed struct {
	whole       bool
	single      bool // one statement
	set         bool // a SET
	context     bool // changes how later texts are read
	transaction bool // a SET of a transaction's characteristics
	session     bool // for the session's transactions
	watches     bool // has the server note what statements do
	handler     bool // a HANDLER
	effect      effect
}

func (n *noticed) look(text []byte) {
	rest, _ := LeadingSQL(text)
	several := bytes.IndexByte(bytes.TrimRight(rest, "; \t\r\n"), ';') >= 0
	n.single = n.whole && !several
	n.set = begins(rest, "set")
	if begins(rest, "use") || several && (holds(rest, "use ") || holds(rest, "use\t") || holds(rest, "use\n") || holds(rest, "use`")) {
		n.context = true
	}
	n.handler = begins(rest, "handler") || several && holds(rest, "handler")
	n.watches = (begins(rest, "flush") || several && holds(rest, "flush")) && holds(rest, "status")
	if !n.set && !(several && holds(rest, "set")) {
		return
	}
	n.watches = n.watches || holds(rest, "profiling") || holds(rest, "optimizer_trace")
	for _, name := range []string{"sql_mode", "names", "char", "collation"} {
		n.context = n.context || holds(rest, name)
	}
	n.transaction = holds(rest, "transaction") || holds(rest, "tx_")
	n.session = !several && (holds(rest, "session") || holds(rest, "global") || holds(rest, "session_track_transaction"))
	n.set = n.set && !several
}

// begins tells whether a text's first word is this one, in lower case.
func begins(text []byte, word string) bool {
	return len(text) >= len(word) && equalFold(text[:len(word)], word) && (len(text) == len(word) || !partOfWord(text[len(word)]))
}

// holds tells whether a text has a word, which is in lower case, anywhere.
func holds(text []byte, word string) bool {
	pivot := max(strings.IndexByte(word, '_'), 0)
	low, high := word[pivot], word[pivot]
	if low >= 'a' && low <= 'z' {
		high -= 'a' - 'A'
	}
	for from := pivot; from < len(text); from++ {
		i := bytes.IndexByte(text[from:], low)
		if low != high {
			if j := bytes.IndexByte(text[from:], high); j >= 0 && (i < 0 || j < i) {
				i = j
			}
		}
		if i < 0 {
			return false
		}
		from += i
		start := from - pivot
		if start+len(word) <= len(text) && equalFold(text[start:start+len(word)], word) {
			return true
		}
	}
	return false
}

func equalFold(text []byte, word string) bool {
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

// noticeCommand keeps what a command that passes does, of which p has arrived.
func (t *Tracker) noticeCommand(p []byte) {
	switch p[0] {
	case mysql.COM_QUERY:
		if text, ok := QueryText(p, t.caps); ok {
			t.notice(text, nil)
		} else {
			t.facts.UserLock = t.facts.UserLock || holds(p, lockWord)
			t.noticeTail(p)
			t.facts.epoch++
			t.facts.NextUnclear = true
		}
	case mysql.COM_INIT_DB:
		t.facts.epoch++
	}
}
