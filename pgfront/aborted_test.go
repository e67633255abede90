package pgfront

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"serverlessproxy/pgfront/pgwire"
)

func TestFate(t *testing.T) {
	for _, c := range []struct {
		name string
		in   circumstances
		want fate
	}{
		{"idle, all known", circumstances{placed: true, idle: true, known: true}, fateParked},
		{"idle, not all known", circumstances{placed: true, idle: true}, fateEnded},
		{"idle, leaving", circumstances{placed: true, idle: true, known: true, leaving: true}, fateEnded},
		{"a statement by itself", circumstances{placed: true, mayCommit: true}, fateUnknown},
		{"in a transaction", circumstances{placed: true, inTransaction: true, beginKnown: true}, fateAborted},
		{"in a transaction from what is not known", circumstances{placed: true, inTransaction: true}, fateEnded},
		{"COMMIT under way", circumstances{placed: true, inTransaction: true, beginKnown: true, mayCommit: true}, fateUnknown},
		{"in a transaction, out of step", circumstances{inTransaction: true, beginKnown: true}, fateEnded},
		{"half a row sent", circumstances{placed: true, closed: true, mayCommit: true}, fateClosed},
	} {
		if got := c.in.fate(); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// heard are the types of messages; a ReadyForQuery as its status in lower
// case, an error as E or, with the reason, as R.
func heard(t *testing.T, b []byte) string {
	t.Helper()
	var types strings.Builder
	for len(b) > 0 {
		if len(b) < 5 || len(b) < 1+int(binary.BigEndian.Uint32(b[1:])) {
			t.Fatalf("half a message: %q", b)
		}
		end := 1 + int(binary.BigEndian.Uint32(b[1:]))
		switch {
		case b[0] == pgwire.ReadyForQuery:
			types.WriteByte(b[5] | 0x20)
		case b[0] == pgwire.ErrorResponse && bytes.Contains(b[:end], []byte("C40001\x00")):
			types.WriteByte('R')
		default:
			types.WriteByte(b[0])
		}
		b = b[end:]
	}
	return types.String()
}

func simple(text string) []byte {
	return pgwire.AppendMessage(nil, pgwire.Query, append([]byte(text), 0))
}

func joined(messages ...[]byte) []byte { return bytes.Join(messages, nil) }

func TestAborted(t *testing.T) {
	run := pgwire.AppendMessage(nil, pgwire.Execute, []byte{0, 0, 0, 0, 0})
	bindTo := func(name string) []byte {
		return pgwire.AppendMessage(nil, pgwire.Bind, append(append([]byte{0}, name...), 0, 0, 0, 0, 0, 0, 0))
	}
	sync := withSync(nil)
	for _, c := range []struct {
		name  string
		at    pgwire.Outstanding
		begin string
		sent  []byte
		want  string
		over  bool
	}{
		{"idle in the transaction", pgwire.Outstanding{}, "", simple("select 1"), "Re", false},
		{"a second statement", pgwire.Outstanding{}, "", joined(simple("select 1"), simple("select 1")), "ReEe", false},
		{"a statement under way", pgwire.Outstanding{Requests: 1}, "Re", simple("select 1"), "Ee", false},
		{"refused already", pgwire.Outstanding{Requests: 1, Refused: true}, "e", simple("select 1"), "Ee", false},
		{"three under way", pgwire.Outstanding{Requests: 3}, "ReEeEe", nil, "", false},
		{"half a batch", pgwire.Outstanding{Open: true}, "R", joined(run, sync, simple("x")), "eEe", false},
		{"half a message", pgwire.Outstanding{Requests: 1, Unsent: 3}, "Re", joined([]byte("abc"), simple("x")), "Ee", false},
		{"COMMIT", pgwire.Outstanding{Requests: 1}, "Re", simple("commit"), "Ee", false},
		{"DISCARD ALL", pgwire.Outstanding{Requests: 1}, "Re", simple("discard all"), "Ee", false},
		{"empty query", pgwire.Outstanding{Requests: 1}, "Re", simple(""), "Ie", false},
		{"bare Sync", pgwire.Outstanding{Requests: 1}, "Re", sync, "e", false},
		{"data of a COPY", pgwire.Outstanding{Requests: 1}, "Re", pgwire.AppendMessage(nil, pgwire.CopyData, []byte("x")), "", false},
		{"function call", pgwire.Outstanding{Requests: 1}, "Re", pgwire.AppendMessage(nil, pgwire.FunctionCall, nil), "Ee", false},
		{"ROLLBACK", pgwire.Outstanding{Requests: 1}, "Re", simple("ROLLBACK"), "Ci", true},
		{"ROLLBACK at once", pgwire.Outstanding{}, "", simple("rollback;"), "Ci", true},
		{"ROLLBACK TO", pgwire.Outstanding{Requests: 1}, "Re", simple("rollback to a"), "Ee", false},
		{"a batch", pgwire.Outstanding{Requests: 1}, "Re", joined(parseMessage(nil, "", "select 1", nil), bindTo(""), run, sync), "Ee", false},
		{"ROLLBACK in a batch", pgwire.Outstanding{Requests: 1}, "Re", joined(parseMessage(nil, "", "rollback", nil), bindTo(""), run, sync), "12Ci", true},
		{"ROLLBACK described", pgwire.Outstanding{Requests: 1}, "Re", joined(describe(parseMessage(nil, "", "rollback", nil), ""), bindTo(""), run, sync), "1tn2Ci", true},
		{"ROLLBACK prepared before", pgwire.Outstanding{Requests: 1}, "Re", joined(bindTo("r"), run, sync), "2Ci", true},
		{"another prepared before", pgwire.Outstanding{Requests: 1}, "Re", joined(bindTo("s"), run, sync), "Ee", false},
		{"more behind a ROLLBACK in its batch", pgwire.Outstanding{Requests: 1}, "Re", joined(bindTo("r"), run, bindTo("s"), run, sync), "2CEi", true},
		{"closing a statement", pgwire.Outstanding{Requests: 1}, "Re", joined(closeStatement(nil, "s"), sync), "3e", false},
		{"too long for a ROLLBACK", pgwire.Outstanding{Requests: 1}, "Re", joined(simple(strings.Repeat(" ", 20000)+"rollback"), sync), "Eee", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, size := range []int{1, 7, 1 << 20} {
				a := &aborted{unheard: true, kept: &state{statements: []statement{{name: "r", text: "ROLLBACK"}, {name: "s", text: "select 1"}}}}
				if got := heard(t, a.begin(c.at)); got != c.begin {
					t.Fatalf("begins with %q, want %q", got, c.begin)
				}
				var answer []byte
				for rest := c.sent; len(rest) > 0 && !a.over; {
					n := min(size, len(rest))
					said, _, err := a.take(rest[:n])
					if err != nil {
						t.Fatal(err)
					}
					answer, rest = append(answer, said...), rest[n:]
				}
				if got := heard(t, answer); got != c.want || a.over != c.over {
					t.Errorf("in pieces of %d: %q, over %v; want %q, %v", size, got, a.over, c.want, c.over)
				}
			}
		})
	}
}

// FuzzAborted: every Sync is answered by one ReadyForQuery, every Query and
// FunctionCall by at most one, in whatever pieces they come.
func FuzzAborted(f *testing.F) {
	f.Add(joined(simple("select 1"), simple("rollback"), simple("select 2")), byte(3))
	f.Add(joined(parseMessage(nil, "", "rollback", nil), withSync(nil)), byte(200))
	f.Add(joined(parseMessage(nil, "a", "rollback", nil), pgwire.AppendMessage(nil, pgwire.Bind, []byte("\x00a\x00\x00\x00\x00\x00\x00\x00")), withSync(execute(nil, "a"))), byte(0))
	f.Fuzz(func(t *testing.T, stream []byte, size byte) {
		whole, parts := &aborted{kept: &state{}}, &aborted{kept: &state{}}
		want, left, failed := whole.take(bytes.Clone(stream))
		var got []byte
		var broken error
		rest := stream
		for len(rest) > 0 && !parts.over && !parts.goodbye && broken == nil {
			n := min(int(size)+1, len(rest))
			var said []byte
			said, _, broken = parts.take(bytes.Clone(rest[:n]))
			got, rest = append(got, said...), rest[n:]
		}
		if !bytes.Equal(got, want) || (broken == nil) != (failed == nil) || parts.over != whole.over {
			t.Fatalf("in pieces %q, %v; whole %q, %v", got, broken, want, failed)
		}
		if failed != nil {
			return
		}
		all, syncs := requestsIn(stream[:len(stream)-len(left)])
		answered := strings.Count(heard(t, want), "e") + strings.Count(heard(t, want), "i")
		if answered > all || answered < syncs {
			t.Fatalf("%d requests, %d of them Syncs, %d answers: %q", all, syncs, answered, heard(t, want))
		}
	})
}

// requestsIn counts the messages that a ReadyForQuery may be owed for (a Query
// in a batch that has failed is skipped), and the Syncs, which always are.
func requestsIn(stream []byte) (all, syncs int) {
	for len(stream) >= 5 {
		size := 1 + int(binary.BigEndian.Uint32(stream[1:]))
		if size > len(stream) && size <= 5+interesting {
			return all, syncs
		}
		switch stream[0] {
		case pgwire.Sync:
			syncs++
			all++
		case pgwire.Query, pgwire.FunctionCall:
			all++
		}
		stream = stream[min(size, len(stream)):]
	}
	return all, syncs
}
