package mysqlwire

import (
	"strings"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// TestStanding: what a session that was read does, and whether a transaction
// that is open then began where it was read, and may have been committed by
// what is under way.
func TestStanding(t *testing.T) {
	const in, auto = mysql.SERVER_STATUS_IN_TRANS, mysql.SERVER_STATUS_AUTOCOMMIT
	ok := func(status uint16) []byte {
		return packet(1, AppendOK(nil, OK{Status: status}, plain().Capabilities)...)
	}
	refused := packet(1, AppendErr(nil, 1062, "23000", "duplicate")...)
	prepared := packet(1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	execute := command(mysql.COM_STMT_EXECUTE, 7, 0, 0, 0, 0, 1, 0, 0, 0)
	big := query("INSERT INTO t VALUES ('" + strings.Repeat("x", 40_000) + "')")
	type step struct{ sent, answer []byte }
	begin := step{query("BEGIN"), ok(in | auto)}
	update := step{query("UPDATE t SET n = 1"), ok(in | auto)}
	for _, c := range []struct {
		name                         string
		status                       uint16
		steps                        []step
		known, beginKnown, mayCommit bool
	}{
		{"nothing", auto, nil, true, false, false},
		{"a ping", auto, []step{{command(mysql.COM_PING), ok(auto)}}, true, false, false},
		{"a statement by itself", auto, []step{{query("UPDATE t SET n = 1"), ok(auto)}}, false, false, false},
		{"one under way", auto, []step{{query("UPDATE t SET n = 1"), nil}}, false, false, true},
		{"BEGIN", auto, []step{begin}, false, true, false},
		{"BEGIN under way", auto, []step{{query("BEGIN"), nil}}, false, false, true},
		{"BEGIN and a statement", auto, []step{begin, update}, false, true, false},
		{"a statement under way", auto, []step{begin, {query("UPDATE t SET n = 1"), nil}}, false, true, false},
		{"pipelined behind BEGIN", auto, []step{{join(query("BEGIN"), query("UPDATE t SET n = 1")), join(ok(in|auto), ok(in|auto))}}, false, true, false},
		{"altered in it", auto, []step{begin, {query("SELECT @a := 1"), ok(in | auto)}}, false, false, false},
		{"altered under way", auto, []step{begin, {query("SELECT @a := 1"), nil}}, false, false, false},
		{"SET in it", auto, []step{begin, {query("SET @a = 1"), ok(in | auto)}}, false, false, false},
		{"another database", auto, []step{begin, {command(mysql.COM_INIT_DB, 'a'), ok(in | auto)}}, false, false, false},
		{"COMMIT under way", auto, []step{begin, update, {query("COMMIT"), nil}}, false, false, true},
		{"COMMIT", auto, []step{begin, update, {query("COMMIT"), ok(auto)}}, false, false, false},
		{"COMMIT AND CHAIN", auto, []step{begin, {query("COMMIT AND CHAIN"), ok(in | auto)}}, false, false, false},
		{"the next transaction", auto, []step{begin, {query("COMMIT"), ok(auto)}, begin}, false, false, false},
		{"BEGIN in a transaction", auto, []step{begin, {query("BEGIN"), nil}}, false, false, true},
		{"ROLLBACK under way", auto, []step{begin, {query("ROLLBACK"), nil}}, false, false, false},
		{"a statement behind ROLLBACK", auto, []step{begin, {join(query("ROLLBACK"), query("UPDATE t SET n = 1")), nil}}, false, false, true},
		{"CALL under way", auto, []step{begin, {query("CALL p()"), nil}}, false, false, true},
		{"an error in it", auto, []step{begin, {query("INSERT INTO t VALUES (1)"), refused}}, false, true, false},
		{"one under way behind an error", auto, []step{begin, {query("INSERT INTO t VALUES (1)"), refused}, {query("UPDATE t SET n = 1"), nil}}, false, true, true},
		{"BEGIN that is refused", auto, []step{{query("BEGIN"), refused}}, false, false, false},
		{"BEGIN from elsewhere", auto, []step{{query("SET @a = 1"), ok(auto)}, begin}, false, false, false},
		{"without autocommit", 0, []step{{query("UPDATE t SET n = 1"), ok(in)}}, false, true, false},
		{"without autocommit, no table", 0, []step{{query("SELECT 1"), ok(0)}}, false, false, false},
		{"without autocommit, altered", 0, []step{{query("SELECT @a := n FROM t"), ok(in)}}, false, false, false},
		{"prepared in it", auto, []step{begin, {command(mysql.COM_STMT_PREPARE, []byte("UPDATE t SET n = 1")...), prepared}, {execute, nil}}, false, true, false},
		{"prepared before", auto, []step{{command(mysql.COM_STMT_PREPARE, []byte("COMMIT")...), prepared}, begin, {execute, nil}}, false, false, true},
		{"much data", auto, []step{begin, {big, nil}}, false, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReplay(Config{Capabilities: plain().Capabilities &^ Capabilities(mysql.CLIENT_MULTI_STATEMENTS), Status: c.status})
			r.t.Settled()
			for _, s := range c.steps {
				pieces(s.sent, 16<<10, func(b []byte) { r.fromClient(b) })
				if s.answer != nil {
					r.fromBackend(s.answer)
				}
			}
			if r.t.Known() != c.known || r.t.BeginKnown() != c.beginKnown || r.t.MayHaveCommitted() != c.mayCommit {
				t.Errorf("known %v, BEGIN known %v, may have committed %v", r.t.Known(), r.t.BeginKnown(), r.t.MayHaveCommitted())
			}
		})
	}
}

// TestUnread: a session of which something is not known is read before it
// begins a transaction, and then not again.
func TestUnread(t *testing.T) {
	asked := 0
	config := plain()
	config.Status = mysql.SERVER_STATUS_AUTOCOMMIT
	config.Unread = func() bool { asked++; return true }
	r := newReplay(config)
	if r.fromClient(query("SELECT 1")) || asked != 0 {
		t.Error("a statement by itself is held")
	}
	r.fromBackend(aResult)
	if !r.fromClient(query("BEGIN")) || r.t.Stopped() != StopBegin || asked != 1 {
		t.Error("BEGIN is not held")
	}
	r.t.Settled()
	if r.fromClient(nil) || asked != 1 || r.t.Pending() != 1 {
		t.Error("BEGIN is held again")
	}
}

// TestLeave: an engine's farewell is held back, also where it is an answer.
func TestLeave(t *testing.T) {
	for _, code := range []uint16{mysql.ER_SERVER_SHUTDOWN, 1927} {
		config := plain()
		config.StopStray = true
		r := newReplay(config)
		r.fromClient(query("SELECT 1"))
		if !r.fromBackend(packet(1, AppendErr(nil, code, "08S01", "bye")...)) || r.t.Stopped() != StopStray || r.t.Pending() != 1 {
			t.Errorf("%d passes", code)
		}
		r.t.PassStray()
		if r.fromBackend(nil) || r.t.Pending() != 0 {
			t.Errorf("%d does not pass", code)
		}
	}
}

func TestUndone(t *testing.T) {
	r := newReplay(plain())
	if u := r.t.Undone(); u.Commands != 0 || !u.Placed {
		t.Errorf("nothing: %+v", u)
	}
	r.fromClient(query("SELECT 1")[:9])
	if u := r.t.Undone(); u.Commands != 0 {
		t.Errorf("what was not passed: %+v", u)
	}
	r.fromClient(query("SELECT 1")[9:])
	if u := r.t.Undone(); u != (Undone{Commands: 1, Seq: 1, Placed: true}) {
		t.Errorf("a query: %+v", u)
	}
	r.fromBackend(aResult[:len(aResult)-1])
	if u := r.t.Undone(); u.Commands != 1 || u.Seq == 1 {
		t.Errorf("half an answer: %+v", u)
	}
	r = newReplay(plain())
	big := query("INSERT INTO t VALUES ('" + strings.Repeat("x", 40_000) + "')")
	r.fromClient(big[:30_000])
	if u := r.t.Undone(); u != (Undone{Commands: 1, Seq: 1, Unsent: len(big) - 30_000, Placed: true}) {
		t.Errorf("half a query: %+v", u)
	}
	r.t.Abandon()
	if r.t.Busy() {
		t.Error("busy after all was abandoned")
	}
}
