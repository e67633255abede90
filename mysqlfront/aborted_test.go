package mysqlfront

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"

	"serverlessproxy/mysqlfront/mysqlwire"
)

func TestFate(t *testing.T) {
	in := circumstances{inTransaction: true, placed: true, beginKnown: true}
	for _, c := range []struct {
		name   string
		change func(*circumstances)
		from   circumstances
		want   fate
	}{
		{"idle, known", nil, circumstances{placed: true, known: true}, fateParked},
		{"idle, not known", nil, circumstances{placed: true}, fateEnded},
		{"idle, known, to leave", nil, circumstances{placed: true, known: true, leaving: true}, fateEnded},
		{"half a packet", func(c *circumstances) { c.closed, c.mayCommit = true, true }, in, fateClosed},
		{"in a transaction", nil, in, fateAborted},
		{"with a statement", func(c *circumstances) { c.busy = true }, in, fateAborted},
		{"with a ROLLBACK", func(c *circumstances) { c.busy, c.rollback = true, true }, in, fateRolledBack},
		{"with a COMMIT", func(c *circumstances) { c.busy, c.mayCommit = true, true }, in, fateUnknown},
		{"to leave, with a COMMIT", func(c *circumstances) { c.leaving, c.mayCommit = true, true }, in, fateUnknown},
		{"to leave", func(c *circumstances) { c.leaving = true }, in, fateEnded},
		{"from a state that is not known", func(c *circumstances) { c.beginKnown = false }, in, fateEnded},
		{"with half a file", func(c *circumstances) { c.busy, c.placed = true, false }, in, fateEnded},
		{"by itself, at work", nil, circumstances{busy: true, mayCommit: true, placed: true, known: true}, fateUnknown},
	} {
		got := c.from
		if c.change != nil {
			c.change(&got)
		}
		if got.fate() != c.want {
			t.Errorf("%s: %v, want %v", c.name, got.fate(), c.want)
		}
	}
}

func sent(command byte, rest string) []byte {
	return mysqlwire.AppendPacket(nil, 0, append([]byte{command}, rest...))
}

// said is what packets say: their numbers and OK or the error's.
func said(t *testing.T, b []byte) string {
	var all []string
	for r := bytes.NewReader(b); r.Len() > 0; {
		payload, seq, err := mysqlwire.ReadPacket(r, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		switch payload[0] {
		case mysqlwire.OKHeader:
			ok, _ := mysqlwire.ParseOK(payload, 0)
			all = append(all, fmt.Sprintf("%d:ok/%d", seq, ok.Status))
		default:
			e, err := mysqlwire.ParseErr(payload)
			if err != nil {
				t.Fatal(err)
			}
			first := ""
			if strings.Contains(e.Message, "run it again") {
				first = "!"
			}
			all = append(all, fmt.Sprintf("%d:%d%s", seq, e.Code, first))
		}
	}
	return strings.Join(all, " ")
}

func TestAborted(t *testing.T) {
	const inside = mysql.SERVER_STATUS_IN_TRANS | mysql.SERVER_STATUS_AUTOCOMMIT
	query := func(text string) []byte { return sent(mysql.COM_QUERY, text) }
	number := func(command byte) []byte { return sent(command, "\x07\x00\x00\x00more") }
	long := query("INSERT INTO t VALUES ('" + strings.Repeat("x", 10_000) + "')")
	for _, c := range []struct {
		name string
		sent []byte
		want string
		v    verdict
		left int
	}{
		{"nothing", nil, "", standsAborted, 0},
		{"SELECT", query("SELECT 1"), "1:1213!", standsAborted, 0},
		{"twice", append(query("SELECT 1"), query("SELECT 1")...), "1:1213! 1:1213", standsAborted, 0},
		{"COMMIT", query("COMMIT"), "1:1213!", standsAborted, 0},
		{"BEGIN", query("BEGIN"), "1:1213!", standsAborted, 0},
		{"ROLLBACK TO", query("ROLLBACK TO SAVEPOINT a"), "1:1213!", standsAborted, 0},
		{"ROLLBACK AND CHAIN", query("ROLLBACK AND CHAIN"), "1:1213!", standsAborted, 0},
		{"ROLLBACK", query("/* bye */ rollback work;"), "1:ok/2", rolledBack, 0},
		{"more behind it", append(query("ROLLBACK"), query("SELECT 1")...), "1:ok/2", rolledBack, len(query("SELECT 1"))},
		{"ping", sent(mysql.COM_PING, ""), "1:ok/3", standsAborted, 0},
		{"prepare", sent(mysql.COM_STMT_PREPARE, "ROLLBACK"), "1:1213!", standsAborted, 0},
		{"execute", number(mysql.COM_STMT_EXECUTE), "1:1213!", standsAborted, 0},
		{"close", number(mysql.COM_STMT_CLOSE), "", standsAborted, 0},
		{"long data", number(mysql.COM_STMT_SEND_LONG_DATA), "", standsAborted, 0},
		{"long data and its execution", append(append(number(mysql.COM_STMT_SEND_LONG_DATA), number(mysql.COM_STMT_EXECUTE)...), query("ROLLBACK")...), "1:1213! 1:ok/2", rolledBack, 0},
		{"long data and ROLLBACK", append(number(mysql.COM_STMT_SEND_LONG_DATA), query("ROLLBACK")...), "", spoilt, 0},
		{"another database", sent(mysql.COM_INIT_DB, "a"), "1:1213!", standsAborted, 0},
		{"reset", append(query("SELECT 1"), sent(mysql.COM_RESET_CONNECTION, "")...), "1:1213!", resetting, 5},
		{"quit", sent(mysql.COM_QUIT, ""), "", leaving, 0},
		{"much", append(bytes.Clone(long), query("ROLLBACK")...), "1:1213! 1:ok/2", rolledBack, 0},
	} {
		for _, size := range []int{1, 7, 1 << 20} {
			a := &aborted{status: inside, unheard: true}
			answer, left, v := shown(a, c.sent, size)
			if got := said(t, answer); got != c.want || v != c.v || len(left) != c.left {
				t.Errorf("%s, in pieces of %d: %q, %d, %d left; want %q, %d, %d", c.name, size, got, v, len(left), c.want, c.v, c.left)
			}
		}
	}
}

// shown shows it b in pieces of a size; what follows the end is left with the
// pieces that were not shown.
func shown(a *aborted, b []byte, size int) (answer, left []byte, v verdict) {
	for len(b) > 0 && v == standsAborted {
		n := min(size, len(b))
		var said []byte
		said, left, v = a.take(b[:n])
		answer, b = append(answer, said...), b[n:]
	}
	return answer, append(left, b...), v
}

func TestAbortedBegins(t *testing.T) {
	query := sent(mysql.COM_QUERY, "INSERT INTO t VALUES ('"+strings.Repeat("x", 100)+"')")
	a := &aborted{unheard: true}
	if got := said(t, a.begin(mysqlwire.Undone{Commands: 2, Seq: 5})); got != "5:1213! 1:1213" {
		t.Errorf("two under way: %q", got)
	}
	a = &aborted{unheard: true}
	if got := a.begin(mysqlwire.Undone{Commands: 1, Seq: 1, Unsent: 50}); len(got) > 0 {
		t.Errorf("half a command is answered: %q", said(t, got))
	}
	answer, _, _ := a.take(query[len(query)-50:])
	if got := said(t, answer); got != "1:1213!" {
		t.Errorf("its rest: %q", got)
	}
	a = &aborted{unheard: true}
	if answer := a.begin(mysqlwire.Undone{}); len(answer) > 0 || !a.unheard {
		t.Error("an answer that nobody asked for")
	}
}

// FuzzAborted shows the same bytes whole and in pieces: the answers are the
// same, one for each command that has one, and only a ROLLBACK ends it.
func FuzzAborted(f *testing.F) {
	f.Add(byte(3), append(sent(mysql.COM_QUERY, "SELECT 1"), sent(mysql.COM_QUERY, "ROLLBACK")...))
	f.Add(byte(1), append(sent(mysql.COM_STMT_CLOSE, "\x01\x00\x00\x00"), sent(mysql.COM_PING, "")...))
	f.Add(byte(9), mysqlwire.AppendHeader(nil, mysqlwire.MaxPacket, 0))
	f.Add(byte(9), append(sent(mysql.COM_STMT_SEND_LONG_DATA, "\x01\x00\x00\x00abc"), sent(mysql.COM_RESET_CONNECTION, "")...))
	f.Fuzz(func(t *testing.T, size byte, b []byte) {
		whole, pieces := &aborted{unheard: true}, &aborted{unheard: true}
		answer, left, v := shown(whole, b, len(b)+1)
		answer2, left2, v2 := shown(pieces, b, 1+int(size))
		if !bytes.Equal(answer, answer2) || v != v2 || !bytes.Equal(left, left2) {
			t.Fatalf("whole: %x, %x left, %d; in pieces: %x, %x left, %d", answer, left, v, answer2, left2, v2)
		}
		if v == rolledBack && !bytes.Contains(bytes.ToLower(b), []byte("rollback")) {
			t.Fatal("rolled back without a word")
		}
		for _, id := range whole.closed {
			if !bytes.Contains(b, binary.LittleEndian.AppendUint32([]byte{mysql.COM_STMT_CLOSE}, id)) {
				t.Fatalf("closed %d", id)
			}
		}
	})
}
