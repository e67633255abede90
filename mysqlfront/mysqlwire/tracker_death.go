package mysqlwire

import "github.com/go-mysql-org/go-mysql/mysql"

// Undone is what was under way when a session's backend died.
type Undone struct {
	Commands int  // that wait for an answer
	Seq      byte // the number that the first answer's next packet would have
	Unsent   int  // bytes of the only one, which the client has still to send
	Rollback bool // the only one is a ROLLBACK
	Placed   bool // it is known well enough to be answered
}

// Undone tells what is under way.
func (t *Tracker) Undone() Undone {
	u := Undone{Commands: t.pending.n, Seq: t.turn, Unsent: t.client.skip}
	half := t.client.inside()
	u.Placed = !t.file && !t.replica && !t.backend.inside() &&
		(!half || u.Commands == 1 && t.asking && !t.client.continued)
	u.Rollback = u.Commands == 1 && !half && t.pending.first().effect == undoes
	return u
}

// MayHaveCommitted tells whether what is under way may have taken effect: it is
// not inside a transaction, or may have ended that.
func (t *Tracker) MayHaveCommitted() bool {
	if t.pending.n == 0 {
		return false
	}
	if !t.InTransaction() || t.doubt {
		return true
	}
	for i := range t.pending.n {
		e := t.pending.at(i).effect
		if last := i == t.pending.n-1; e == unclear || e == opens || e == undoes && !last {
			return true
		}
	}
	return false
}

// Abandon forgets what is under way, which no backend will answer. A
// transaction that was open still is, until RolledBack.
func (t *Tracker) Abandon() {
	for t.pending.n > 0 {
		if r := t.pending.first(); r.command == mysql.COM_STMT_PREPARE {
			t.statements.drop(r.statement)
		}
		t.pending.pop()
	}
	t.client, t.backend = side{}, side{}
	t.stage, t.held, t.stop = stageSingle, Running, Running
	t.collecting, t.asking, t.outParams = nil, false, false
}

// RolledBack says that the transaction is, and the session as it was when that
// began.
func (t *Tracker) RolledBack() {
	t.status &^= mysql.SERVER_STATUS_IN_TRANS | mysql.SERVER_STATUS_IN_TRANS_READONLY
	t.doubt = false
	t.facts.NextTransaction, t.facts.NextUnclear = nil, false
	t.facts.Affected, t.facts.Warnings = 0, false
	t.standing = standing{}
}
