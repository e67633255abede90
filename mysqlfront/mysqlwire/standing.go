package mysqlwire

import "github.com/go-mysql-org/go-mysql/mysql"

// standing is what the session has done since its state was read: whether the
// open transaction began from just that state, in which a rollback leaves it
// unless something beside the transaction was altered meanwhile.
type standing struct {
	moved  bool // something was done outside a transaction, or one has ended
	begun  bool // what is under way began a transaction from the state that was read
	known  bool // the open transaction began there
	strays bool // what no rollback takes back was done in it, or it may have ended
}

// moment is when a command is sent.
type moment struct{ inTransaction, autocommit, busy bool }

func (t *Tracker) moment() moment {
	return moment{t.InTransaction(), t.status&mysql.SERVER_STATUS_AUTOCOMMIT != 0, t.pending.n > 0}
}

// beginsNow tells whether a command begins a transaction.
func (m moment) beginsNow(e effect) bool {
	return !m.inTransaction && !m.busy && (e == opens || e == harmless && !m.autocommit)
}

// asks takes note of a command that is sent.
func (s *standing) asks(e effect, m moment) {
	switch {
	case e == still:
	case m.inTransaction, s.begun:
		s.strays = s.strays || e != harmless
	case m.beginsNow(e):
		s.begun, s.strays = !s.moved, false
	default:
		s.moved = true
	}
}

// settles takes note of what an answer said of the transaction, and of what the
// one before it said.
func (s *standing) settles(was, is bool) {
	switch {
	case was && !is, s.begun && !is:
		*s = standing{moved: true}
	case !was && is:
		s.known, s.begun = s.begun && !s.moved, false
	}
}

// fails takes note of an error.
func (s *standing) fails() {
	if s.begun {
		*s = standing{moved: true}
	}
}

// Settled says that the session's state is known as it is now.
func (t *Tracker) Settled() { t.standing = standing{} }

// Known tells whether the session is as it was when it was Settled.
func (t *Tracker) Known() bool { return !t.Busy() && !t.InTransaction() && !t.standing.moved }

// BeginKnown tells whether a transaction is open whose rollback leads back to
// the state that was Settled.
func (t *Tracker) BeginKnown() bool {
	return t.InTransaction() && t.standing.known && !t.standing.strays
}

// mustRead tells whether the session's state is to be read before a command
// of this effect.
func (t *Tracker) mustRead(e effect) bool {
	return t.standing.moved && t.config.Unread != nil && t.moment().beginsNow(e) && !t.backend.inside() && t.config.Unread()
}

// queryEffect is what the statement in a COM_QUERY may do.
func (t *Tracker) queryEffect(p []byte, length int) effect {
	text, ok := QueryText(p, t.caps)
	if !ok {
		return unclear
	}
	return textEffect(text, t.multi, len(p) == length && length < MaxPacket)
}

// noticeEffect takes note of more of a text whose beginning has passed.
func (t *Tracker) noticeEffect(more []byte) {
	if s := t.collecting; s != nil {
		s.noticed.effect = s.noticed.effect.and(more, false)
		return
	}
	if t.pending.n == 0 {
		return
	}
	last := t.pending.at(t.pending.n - 1)
	if last.command != mysql.COM_QUERY {
		return
	}
	e := last.effect.and(more, t.multi)
	if e != last.effect {
		last.effect = e
		t.standing.strays = true
	}
}
