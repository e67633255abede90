package pgwire

import "bytes"

// standing is what the session has done since its state was read: whether the
// open transaction began from just that state, to which its rollback returns.
type standing struct {
	moved     bool // something was done outside a transaction, or one has ended
	completed int  // statements of the present request
	begun     bool // the present request began a transaction, as its first statement
	known     bool // the open transaction began where the state was read
	touched   bool // something was prepared or closed that is not kept, which no rollback takes back
}

// Settled says that the session's state is known as it is now.
func (t *Tracker) Settled() {
	t.standing = standing{}
	t.ledger.settled()
}

// BeginKnown tells whether a transaction is open whose rollback leads back to
// the state that was Settled.
func (t *Tracker) BeginKnown() bool {
	return t.InTransaction() && t.standing.known && !t.standing.touched && !t.ledger.unkept
}

// Prepared are the statements with a name that were made since the session was
// Settled, in their order: a rollback does not take them back. They are all that
// were if BeginKnown.
func (t *Tracker) Prepared() []Prepared { return t.ledger.made }

// closes takes note of a Close, which no rollback takes back. The statement
// without a name does not count: a ROLLBACK ends it.
func (t *Tracker) closes(body []byte) {
	if len(body) < 2 {
		t.standing.touched = true
		return
	}
	if name, _, whole := bytes.Cut(body[1:], []byte{0}); body[0] == 'S' && len(name) > 0 {
		t.standing.touched = t.standing.touched || !whole
		t.ledger.closes(name)
	}
}

// completes takes note of a CommandComplete.
func (s *standing) completes(tag []byte) {
	s.completed++
	switch {
	case bytes.HasPrefix(tag, []byte("BEGI")), bytes.HasPrefix(tag, []byte("STAR")):
		s.begun = s.completed == 1
		s.moved = s.moved || s.completed > 1
	case bytes.HasPrefix(tag, []byte("COMM")):
		s.moved = true
	case bytes.HasPrefix(tag, []byte("PREP")), bytes.HasPrefix(tag, []byte("DEAL")), bytes.HasPrefix(tag, []byte("DISC")):
		s.touched = true
	}
}

// ready takes note of a ReadyForQuery, by what it says of the transaction and
// what the one before it said.
func (s *standing) ready(was, is bool) {
	switch {
	case !is:
		s.known, s.moved = false, true
	case !was:
		s.known = s.begun && !s.moved
	default:
		s.known = s.known && !s.moved
	}
	s.completed, s.begun = 0, false
}

// tagSize is how much of a CommandComplete is looked at.
const tagSize = 4

// Begins tells whether what the client sent next, at a safe point, begins with a
// statement that begins a transaction.
func (t *Tracker) Begins(b []byte) bool {
	if len(b) <= headerSize || b[0] != Query && b[0] != Parse || !t.Safe() || t.client.left > 0 {
		return false
	}
	text := b[headerSize:]
	if b[0] == Parse {
		var named bool
		if _, text, named = bytes.Cut(text, []byte{0}); !named {
			return false
		}
	}
	text, _, _ = bytes.Cut(text, []byte{0})
	word, readable := firstWord(text)
	return readable && (isWord(word, "begin") || isWord(word, "start"))
}
