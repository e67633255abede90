package pgwire

import (
	"slices"
	"strings"
	"testing"
)

func TestEndingOf(t *testing.T) {
	for _, c := range []struct {
		text string
		want ending
	}{
		{"select 1", stays},
		{"", stays},
		{"  ;; ", stays},
		{"insert into t values ('commit')", stays},
		{"update t set a = case when b then 1 end", stays},
		{"call p()", stays},
		{"commit", commits},
		{"  COMMIT ; ", commits},
		{"End", commits},
		{"end;", commits},
		{"endless", stays},
		{"prepare transaction 'x'", commits},
		{"commit and chain", commits},
		{"/* a */ commit", commits},
		{"/* a /* nested */ b */commit", commits},
		{"-- a\ncommit", commits},
		{"-- commit", stays},
		{"-- a; b\ncommit", commits},
		{"select 1 -- a; b\n; commit", commits},
		{"-- a\n; select 1", commits}, // it could be
		{"/* commit", commits},        // it cannot be read
		{"insert into t values (1); commit", commits},
		{"insert into t values (1);commit", commits},
		{"insert into t values ('; commit')", commits}, // every semicolon counts
		{"rollback", rolls},
		{"ROLLBACK;", rolls},
		{"abort", rolls},
		{"rollback to savepoint a", rolls},
		{"rollback; insert into t values (1)", commits},
		{"select 1; rollback", rolls},
	} {
		if got := endingOf([]byte(c.text)); got != c.want {
			t.Errorf("%q: %d, want %d", c.text, got, c.want)
		}
	}
}

func TestIsRollback(t *testing.T) {
	for text, want := range map[string]bool{
		"rollback": true, "ROLLBACK;": true, " abort work ; ": true, "rollback transaction": true,
		"/* x */ rollback -- y": true, "rollback and no chain": true,
		"rollback and chain": false, "rollback to a": false, "rollback to savepoint a": false, "rollback prepared 'x'": false,
		"rollback; select 1": false, "commit": false, "": false, "rollback /*": false, "rollbacks": false, "-- rollback": false,
		"rollback work work": false, "rollback;;": true, "rollback; ; select": false,
	} {
		if got := IsRollback([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func queryOf(text string) []byte { return msg(Query, append([]byte(text), 0)...) }

func parseOf(name, text string) []byte {
	return msg(Parse, append(append(append([]byte(name), 0), text...), 0, 0, 0)...)
}

func bindOf(portal, name string) []byte {
	return msg(Bind, append(append(append([]byte(portal), 0), name...), 0, 0, 0, 0, 0, 0, 0)...)
}

func executeOf(portal string) []byte { return msg(Execute, append([]byte(portal), 0, 0, 0, 0, 0)...) }

func tagOf(text string) []byte { return msg(CommandComplete, append([]byte(text), 0)...) }

// event is a message, of the client unless it is the server's.
type event struct {
	server bool
	bytes  []byte
}

func says(messages ...[]byte) (events []event) {
	for _, m := range messages {
		events = append(events, event{false, m})
	}
	return events
}

func hears(messages ...[]byte) (events []event) {
	for _, m := range messages {
		events = append(events, event{true, m})
	}
	return events
}

func TestMayHaveCommitted(t *testing.T) {
	begun := append(says(queryOf("begin")), hears(tagOf("BEGIN"), ready(InTxStatus))...)
	sync := msg(Sync)
	for _, c := range []struct {
		name   string
		events []event
		want   bool
	}{
		{"nothing under way", nil, false},
		{"a statement", says(queryOf("update t set a = 1")), false},
		{"COMMIT", says(queryOf("commit")), true},
		{"COMMIT behind a statement", says(queryOf("select 1"), queryOf("commit")), true},
		{"ROLLBACK", says(queryOf("rollback")), false},
		{"something behind a ROLLBACK", says(queryOf("rollback"), queryOf("insert into t values (1)")), true},
		{"COMMIT, answered", append(says(queryOf("rollback to a")), hears(tagOf("ROLLBACK"), ready(InTxStatus))...), false},
		{"unnamed statement", says(parseOf("", "update t set a = 1"), bindOf("", ""), executeOf(""), sync), false},
		{"unnamed COMMIT", says(parseOf("", "commit"), bindOf("", ""), executeOf(""), sync), true},
		{"unnamed COMMIT, replaced", says(parseOf("", "commit"), parseOf("", "select 1"), bindOf("", ""), executeOf(""), sync), false},
		{"named COMMIT", says(parseOf("c", "COMMIT"), bindOf("", "c"), executeOf(""), sync), true},
		{"named COMMIT, not executed", says(parseOf("c", "COMMIT"), sync), false},
		{"another statement beside a named COMMIT", says(parseOf("c", "COMMIT"), bindOf("", "s"), executeOf(""), sync), false},
		{"COMMIT bound to a portal", says(parseOf("c", "COMMIT"), bindOf("p", "c"), executeOf("p"), sync), true},
		{"ROLLBACK and more in one batch", says(parseOf("", "rollback"), bindOf("", ""), executeOf(""), parseOf("", "select 1"), bindOf("", ""), executeOf(""), sync), true},
		{"unnamed COMMIT in pieces", says(parseOf("", "commit")[:6], parseOf("", "commit")[6:], bindOf("", ""), executeOf(""), sync), true},
		{"Bind in pieces", says(parseOf("c", "commit"), bindOf("", "c")[:5], bindOf("", "c")[5:], executeOf(""), sync), true},
		{"function call", says(msg(FunctionCall)), false},
		{"a part of a statement", says(queryOf("update t set a = 1")[:12]), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tr Tracker
			feedEvents(t, &tr, begun)
			feedEvents(t, &tr, c.events)
			if tr.MayHaveCommitted() != c.want {
				t.Errorf("%v, want %v", !c.want, c.want)
			}
		})
	}
	var alone Tracker
	feedEvents(t, &alone, says(queryOf("select 1")))
	if !alone.MayHaveCommitted() {
		t.Error("a statement by itself cannot have taken effect")
	}
}

func feedEvents(t *testing.T, tr *Tracker, events []event) {
	t.Helper()
	for _, e := range events {
		feed := tr.FromClient
		if e.server {
			feed = tr.FromServer
		}
		if n, _ := feed(append([]byte(nil), e.bytes...)); n != len(e.bytes) {
			t.Fatalf("%q: %d of %d bytes passed", e.bytes, n, len(e.bytes))
		}
	}
}

func TestBeginKnown(t *testing.T) {
	exchange := func(text string, status byte, tags ...string) []event {
		events := says(queryOf(text))
		for _, text := range tags {
			events = append(events, hears(tagOf(text))...)
		}
		return append(events, hears(ready(status))...)
	}
	begin := exchange("begin", InTxStatus, "BEGIN")
	for _, c := range []struct {
		name   string
		events [][]event
		want   bool
	}{
		{"idle", nil, false},
		{"begun", [][]event{begin}, true},
		{"START TRANSACTION", [][]event{exchange("start transaction", InTxStatus, "START TRANSACTION")}, true},
		{"with statements", [][]event{begin, exchange("set a = 1", InTxStatus, "SET")}, true},
		{"failed", [][]event{begin, exchange("x", FailedStatus)}, true},
		{"in one string", [][]event{exchange("begin; set a = 1", InTxStatus, "BEGIN", "SET")}, true},
		{"behind a SET", [][]event{exchange("set a = 1", IdleStatus, "SET"), begin}, false},
		{"behind a SET in one string", [][]event{exchange("set a = 1; begin", InTxStatus, "SET", "BEGIN")}, false},
		{"behind a COMMIT in one string", [][]event{exchange("begin; commit; set a = 1; begin", InTxStatus, "BEGIN", "COMMIT", "SET", "BEGIN")}, false},
		{"a second one", [][]event{begin, exchange("commit", IdleStatus, "COMMIT"), begin}, false},
		{"chained", [][]event{begin, exchange("commit and chain", InTxStatus, "COMMIT")}, false},
		{"rolled back to a savepoint", [][]event{begin, exchange("rollback to a", InTxStatus, "ROLLBACK")}, true},
		{"with PREPARE", [][]event{begin, exchange("prepare q as select 1", InTxStatus, "PREPARE")}, false},
		{"with DEALLOCATE", [][]event{begin, exchange("deallocate q", InTxStatus, "DEALLOCATE")}, false},
		{"with a named statement", [][]event{begin, says(parseOf("a", "select 1"))}, true},
		{"a statement that was there closed", [][]event{begin, says(AppendMessage(nil, Close, []byte("Sa\x00")))}, false},
		{"a named statement too long to keep", [][]event{begin, says(parseOf("a", strings.Repeat(" ", 5*maxParse)))}, false},
		{"with an unnamed statement", [][]event{begin, says(parseOf("", "select 1"))}, true},
		{"over", [][]event{begin, exchange("rollback", IdleStatus, "ROLLBACK")}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tr Tracker
			for _, events := range c.events {
				feedEvents(t, &tr, events)
			}
			if tr.BeginKnown() != c.want {
				t.Errorf("%v, want %v", !c.want, c.want)
			}
		})
	}
	var tr Tracker
	feedEvents(t, &tr, exchange("set a = 1", IdleStatus, "SET"))
	tr.Settled()
	feedEvents(t, &tr, begin)
	if !tr.BeginKnown() {
		t.Error("what was read is not known")
	}
}

func TestFarewell(t *testing.T) {
	said := func(kind byte, severity, code string) []byte {
		return msg(kind, []byte("S"+severity+"\x00V"+severity+"\x00C"+code+"\x00Mx\x00\x00")...)
	}
	for _, c := range []struct {
		name  string
		bytes []byte
		want  Farewell
		fatal bool
	}{
		{"pg_terminate_backend", said(ErrorResponse, "FATAL", "57P01"), Ordered, false},
		{"crash of another process", said(NoticeResponse, "WARNING", "57P02"), Crashing, false},
		{"crash", said(ErrorResponse, "FATAL", "57P02"), Crashing, false},
		{"immediate shutdown", said(NoticeResponse, "WARNING", "57P01"), Crashing, false},
		{"idle time-out", said(ErrorResponse, "FATAL", "57P05"), NoFarewell, true},
		{"PANIC", said(ErrorResponse, "PANIC", "XX000"), NoFarewell, true},
		{"raised by a function", said(ErrorResponse, "ERROR", "57P01"), NoFarewell, false},
		{"a notice", said(NoticeResponse, "NOTICE", "00000"), NoFarewell, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tr Tracker
			n, stop := tr.FromServer(c.bytes)
			if leaves := c.want != NoFarewell; stop != leaves || (n == 0) != leaves {
				t.Errorf("%d passed, stop %v", n, stop)
			}
			if tr.Farewell() != c.want || tr.Fatal() != c.fatal {
				t.Errorf("%d, fatal %v; want %d, %v", tr.Farewell(), tr.Fatal(), c.want, c.fatal)
			}
		})
	}
}

func TestBegins(t *testing.T) {
	query := func(text string) []byte { return AppendMessage(nil, Query, append([]byte(text), 0)) }
	parse := func(name, text string) []byte {
		return AppendMessage(nil, Parse, []byte(name+"\x00"+text+"\x00\x00\x00"))
	}
	for _, c := range []struct {
		name string
		sent []byte
		want bool
	}{
		{"begin", query("BEGIN"), true},
		{"start transaction", query("start transaction isolation level serializable; insert into t values (1)"), true},
		{"behind a comment", query("/* a */ -- b\n begin"), true},
		{"parsed", parse("", "BEGIN"), true},
		{"parsed with a name", parse("S_1", "BEGIN"), true},
		{"another statement", query("select 'begin'"), false},
		{"a longer word", query("beginning"), false},
		{"another message", AppendMessage(nil, Bind, []byte("\x00begin\x00")), false},
		{"a name alone", []byte{Parse, 0, 0, 0, 20, 'S', '_'}, false},
		{"half a header", []byte{Query, 0, 0}, false},
		{"a comment that does not end", query("/* begin"), false},
	} {
		var tracker Tracker
		if got := tracker.Begins(c.sent); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
		tracker.FromClient(query("select 1"))
		if tracker.Begins(c.sent) {
			t.Errorf("%s, behind a request: true", c.name)
		}
	}
}

func TestPreparedInTransaction(t *testing.T) {
	parsed := hears(AppendMessage(nil, ParseComplete, nil))
	closed := says(AppendMessage(nil, Close, []byte("Sa\x00")), AppendMessage(nil, Sync, nil))
	synced := slices.Concat(says(AppendMessage(nil, Sync, nil)), hears(ready(InTxStatus)))
	begin := slices.Concat(says(queryOf("begin")), hears(tagOf("BEGIN"), ready(InTxStatus)))
	a, b := slices.Concat(says(parseOf("a", "select 1")), parsed, synced), slices.Concat(says(parseOf("b", "select 2")), parsed, synced)
	for _, c := range []struct {
		name   string
		events []event
		want   []string
	}{
		{"in order", slices.Concat(begin, a, b), []string{"a", "b"}},
		{"unanswered", slices.Concat(begin, a, says(parseOf("b", "select 2"))), []string{"a"}},
		{"failed", slices.Concat(begin, says(parseOf("a", "select x")), synced, b), []string{"b"}},
		{"closed", slices.Concat(begin, a, b, closed), []string{"b"}},
		{"of a transaction that is over", slices.Concat(begin, a, says(queryOf("commit")), hears(tagOf("COMMIT"), ready(IdleStatus)), begin, b), []string{"a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tr Tracker
			feedEvents(t, &tr, c.events)
			var got []string
			for _, p := range tr.Prepared() {
				got = append(got, p.Name)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
			tr.Settled()
			if len(tr.Prepared()) > 0 {
				t.Error("settled, and not forgotten")
			}
		})
	}
}
