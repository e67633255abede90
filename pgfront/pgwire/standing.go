package pgwire

import "bytes"

// standing is what the session has done since its state was read: whether the
// open transaction began from just that state, to which its rollback returns.
type standing struct {
	moved     bool // something was done outside a transaction, or one has ended
	completed int  // statements of the present request
	begun     bool // the present request began a transaction, as its first statement
	known     bool // the open transaction began where the state was read
	touched   bool // something was prepared or closed, which no rollback takes back
}

// Settled says that the session's state is known as it is now.
func (t *Tracker) Settled() { t.standing = standing{} }

// BeginKnown tells whether a transaction is open whose rollback leads back to
// the state that was Settled.
func (t *Tracker) BeginKnown() bool {
	return t.InTransaction() && t.standing.known && !t.standing.touched
}

// sends takes note of a client's message that changes what no rollback takes
// back. The statement without a name is none: a ROLLBACK ends it.
func (s *standing) sends(kind byte, body []byte) {
	switch kind {
	case Parse:
		s.touched = s.touched || len(body) == 0 || body[0] != 0
	case Close:
		s.touched = s.touched || len(body) < 2 || body[0] == 'S' && body[1] != 0
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
