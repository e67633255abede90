package pgwire

import (
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// msg is one message with a body of so many bytes.
func msg(kind byte, body ...byte) []byte { return AppendMessage(nil, kind, body) }

func ready(status byte) []byte { return AppendReady(nil, status) }

// play feeds a script: ">X" is a message of the client, "<X" one of the
// server; "<ZI" is a ReadyForQuery.
func play(t *testing.T, tr *Tracker, script string) {
	t.Helper()
	for step := range strings.FieldsSeq(script) {
		m := msg(step[1], make([]byte, 8)...)
		feed := tr.FromClient
		if step[0] == '<' {
			feed = tr.FromServer
			if step[1] == ReadyForQuery {
				m = ready(step[2])
			}
		}
		if n, _ := feed(m); n != len(m) {
			t.Fatalf("%s: %d of %d bytes passed: %v", step, n, len(m), tr.Violation())
		}
	}
}

func TestTrackerSafe(t *testing.T) {
	for _, c := range []struct {
		name, script string
		safe         bool
		pinned       string
	}{
		{"fresh", "", true, ""},
		{"query under way", ">Q", false, "transaction"},
		{"query answered", ">Q <T <D <C <ZI", true, ""},
		{"answer begun", ">Q <T <D", false, "transaction"},
		{"in a transaction", ">Q <C <ZT", false, "transaction"},
		{"in a failed transaction", ">Q <E <ZE", false, "transaction"},
		{"transaction over", ">Q <C <ZT >Q <C <ZI", true, ""},
		{"two queries, one answered", ">Q >Q <C <ZI", false, "transaction"},
		{"two queries, both answered", ">Q >Q <C <ZI <C <ZI", true, ""},
		{"half-sent batch", ">P >B", false, "transaction"},
		{"half-sent batch, flushed and answered", ">P >B >H <1 <2", false, "transaction"},
		{"batch", ">P >B >D >E >S <1 <2 <n <C <ZI", true, ""},
		{"pipelined batches", ">P >B >E >S >B >E >S <1 <2 <C <ZI", false, "transaction"},
		{"bare sync", ">S <ZI", true, ""},
		{"flush alone", ">H", true, ""},
		{"error in a batch", ">P >B >E >S <E <ZI", true, ""},
		{"query inside a batch", ">P >Q >S <1 <C <ZI <ZI", true, ""},
		{"query inside a failed batch", ">P >Q >S <E <ZI", false, "unreadable"},
		{"function call", ">F <V <ZI", true, ""},
		{"notification while idle", "<A", true, ""},
		{"parameter while idle", "<S <N", true, ""},
		{"fatal while idle", "<E", false, "transaction"},

		{"copy out", ">Q <H <d <d <c <C <ZI", true, ""},
		{"copy in begun", ">Q <G", false, "copy"},
		{"copy in", ">Q <G >d >d >c <C <ZI", true, ""},
		{"copy in failed by the client", ">Q <G >d >f <E <ZI", true, ""},
		{"copy in failed by the server", ">Q <G >d <E <ZI >d >c", true, ""},
		{"copy in, data ahead of its response", ">Q >d >c <G <C <ZI", true, ""},
		{"two copies of one query", ">Q <G >c <C <G", false, "copy"},
		{"two copies of one query, over", ">Q <G >c <C <G >c <C <ZI", true, ""},
		{"stray copy messages", ">d >c >f", true, ""},
		{"extended copy in, its sync swallowed", ">P >B >E >S <1 <2 <G >d >c >S <C <ZI", true, ""},
		{"extended copy in, one sync alone", ">P >B >E >H <1 <2 <G >d >c >S <C <ZI", true, ""},
		{"extended copy in, all ahead", ">P >B >E >d >c >S <1 <2 <G <C <ZI", true, ""},
		{"extended copy in, all ahead and a sync swallowed", ">P >B >E >S >d >c >S <1 <2 <G <C <ZI", true, ""},
		{"extended copy in that fails in its data", ">P >B >E >S <1 <2 <G >d <E >c >S <ZI >Q <C <ZI", true, ""},
		{"extended copy in that fails at once", ">P >B >E >S <1 <2 <G <E <ZI", true, ""},
		{"extended copy in that fails at once, its end pipelined", ">P >B >E >S <1 <2 <G >d >c >S <E <ZI <ZI", true, ""},
		{"extended copy in that fails, a query behind", ">P >B >E >S <1 <2 <G >d >c >S >Q <E <ZI", false, "unreadable"},
		{"batches pipelined into a copy", ">P >B >E >S >B >E >S <1 <2 <G", false, "unreadable"},
		{"query amid data", ">Q <G >Q", false, "unreadable"},
		{"replication", ">Q <W <d >d", false, "copy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tr Tracker
			play(t, &tr, c.script)
			if tr.Safe() != c.safe || tr.Pinned().String() != c.pinned {
				t.Errorf("after %q: safe %v, pinned %q; want %v, %q", c.script, tr.Safe(), tr.Pinned(), c.safe, c.pinned)
			}
		})
	}
}

func TestTrackerCounts(t *testing.T) {
	for _, c := range []struct {
		script                string
		queries, transactions int64
	}{
		{">Q <C <ZI", 1, 1},
		{">Q <C <ZT >Q <C <ZT >Q <C <ZI", 3, 1},
		{">P >B >E >B >E >S <1 <2 <C <2 <C <ZI", 2, 1},
		{">S <ZI", 0, 0},
		{">Q <E <ZE >Q <C <ZI", 2, 1},
	} {
		var tr Tracker
		play(t, &tr, c.script)
		if q, x := tr.Take(); q != c.queries || x != c.transactions {
			t.Errorf("%q: %d queries, %d transactions; want %d, %d", c.script, q, x, c.queries, c.transactions)
		}
		if q, x := tr.Take(); q != 0 || x != 0 {
			t.Errorf("%q: counted twice", c.script)
		}
	}
}

func TestTrackerViolations(t *testing.T) {
	header := func(kind byte, length uint32) []byte {
		return binary.BigEndian.AppendUint32([]byte{kind}, length)
	}
	for _, c := range []struct {
		name       string
		client     bool
		bytes      []byte
		want       error
		wantPassed int
	}{
		{"unknown type", true, header('!', 4), ErrMessageType, 0},
		{"password after login", true, header('p', 4), ErrMessageType, 0},
		{"no length", true, header(Query, 3), ErrMessageLength, 0},
		{"negative length", true, header(Query, 0xffffffff), ErrMessageLength, 0},
		{"over a gigabyte", true, header(Query, 0x3fffffff), ErrMessageLength, 0},
		{"long sync", true, header(Sync, 10001), ErrMessageLength, 0},
		{"good, then bad", true, append(msg(Query, 0), header('!', 4)...), ErrMessageType, 6},
		{"bad status", false, ready('x'), ErrServer, 0},
		{"server without length", false, header('D', 0), ErrServer, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tr Tracker
			feed := tr.FromServer
			if c.client {
				feed = tr.FromClient
			}
			n, stop := feed(c.bytes)
			if !stop || n != c.wantPassed || !errors.Is(tr.Violation(), c.want) || tr.Safe() {
				t.Errorf("passed %d, stop %v, %v, safe %v", n, stop, tr.Violation(), tr.Safe())
			}
		})
	}
}

func TestTrackerTerminate(t *testing.T) {
	var tr Tracker
	b := append(append(msg(Query, 0), AppendTerminate(nil)...), msg(Query, 0)...)
	n, stop := tr.FromClient(b)
	if n != 11 || !stop || !tr.Ended() || tr.Safe() {
		t.Errorf("passed %d, stop %v, ended %v", n, stop, tr.Ended())
	}
}

func TestTrackerHoldsOnlyHeaders(t *testing.T) {
	var tr Tracker
	whole := msg(Query, make([]byte, 100)...)
	for cut := 1; cut < headerSize; cut++ {
		if n, _ := tr.FromClient(whole[:cut]); n != 0 || tr.Busy() {
			t.Fatalf("%d bytes of a header passed", n)
		}
	}
	if n, _ := tr.FromClient(whole[:headerSize]); n != headerSize || !tr.Busy() {
		t.Errorf("a whole header did not pass: %d", n)
	}
	if n, _ := tr.FromServer(ready(IdleStatus)[:headerSize]); n != 0 {
		t.Errorf("a ReadyForQuery passed without its status")
	}
}

func TestTrackerRemapsOwnNotifications(t *testing.T) {
	var tr Tracker
	tr.Remap(7, 4200000)
	own, other := msg(NotificationResponse, 0, 0, 0, 7, 'c', 0, 0), msg(NotificationResponse, 0, 0, 0, 8, 'c', 0, 0)
	if n, _ := tr.FromServer(own[:8]); n != 0 {
		t.Error("a notification passed before its process id was whole")
	}
	tr.FromServer(own)
	tr.FromServer(other)
	if pid := binary.BigEndian.Uint32(own[5:]); pid != 4200000 {
		t.Errorf("own notification carries %d", pid)
	}
	if pid := binary.BigEndian.Uint32(other[5:]); pid != 8 {
		t.Errorf("another's notification carries %d", pid)
	}
}

func TestTrackerTold(t *testing.T) {
	var tr Tracker
	play(t, &tr, ">Q <E")
	if !tr.Told() {
		t.Error("an error that ends the session is not known")
	}
	play(t, &tr, "<ZI")
	if tr.Told() {
		t.Error("an error with a ReadyForQuery behind it ended nothing")
	}
	tr.FromServer(msg('D', make([]byte, 9)...)[:8])
	if !tr.Torn() {
		t.Error("a torn message is not known")
	}
}

// feedAll shows a stream in pieces of the given sizes, as a relay does, and
// returns what passed.
func feedAll(feed func([]byte) (int, bool), stream, sizes []byte) (passed []byte, stopped bool) {
	var kept []byte
	for i := 0; len(stream) > 0 && !stopped; i++ {
		size := len(stream)
		if len(sizes) > 0 {
			size = min(int(sizes[i%len(sizes)])+1, len(stream))
		}
		kept = append(kept, stream[:size]...)
		stream = stream[size:]
		var n int
		n, stopped = feed(kept)
		passed = append(passed, kept[:n]...)
		kept = kept[n:]
	}
	return passed, stopped
}

func FuzzTracker(f *testing.F) {
	f.Add(append(msg(Query, 'x', 0), msg(Sync)...), append(msg('C', 'x', 0), ready('I')...), []byte{0, 3, 7})
	f.Add([]byte{Query, 0, 0, 0, 3}, []byte{ReadyForQuery, 0, 0, 0, 5, '?'}, []byte{0})
	f.Add(append(msg(Parse), msg(Terminate)...), msg('G', 0, 0, 0), []byte{4})
	f.Fuzz(func(t *testing.T, client, server, sizes []byte) {
		var whole, split Tracker
		whole.Remap(1, 2)
		split.Remap(1, 2)
		for i, direction := range [][2]func([]byte) (int, bool){{whole.FromClient, split.FromClient}, {whole.FromServer, split.FromServer}} {
			stream := [][]byte{client, server}[i]
			wantPassed, wantStop := feedAll(direction[0], stream, nil)
			passed, stop := feedAll(direction[1], stream, sizes)
			if string(passed) != string(wantPassed) || stop != wantStop {
				t.Fatalf("in pieces %q, %v; whole %q, %v", passed, stop, wantPassed, wantStop)
			}
		}
		if whole.violation != nil && split.violation != nil {
			whole.violation, split.violation = nil, nil
		}
		if whole.ledger.pieces == 0 {
			whole.ledger.partial, split.ledger.partial = nil, nil
		}
		// What comes in pieces is judged with less to go by, never more boldly.
		if whole.intent.mayCommit && !split.intent.mayCommit || whole.standing.touched && !split.standing.touched {
			t.Fatalf("in pieces %+v, %+v; whole %+v, %+v", split.intent, split.standing, whole.intent, whole.standing)
		}
		whole.intent, split.intent, whole.standing, split.standing = intent{}, intent{}, standing{}, standing{}
		if !reflect.DeepEqual(whole, split) {
			t.Fatalf("in pieces %+v; whole %+v", split, whole)
		}
	})
}

func BenchmarkTracker(b *testing.B) {
	client := msg(Query, make([]byte, 40)...)
	server := append(append(append(msg('T', make([]byte, 30)...), msg('D', make([]byte, 20)...)...), msg('C', make([]byte, 9)...)...), ready('I')...)
	b.ReportAllocs()
	var tr Tracker
	for b.Loop() {
		tr.FromClient(client)
		tr.FromServer(server)
	}
}
