package mysqlwire

import (
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// TestTurn: what is said in a dead engine's place must bear the number that
// the client waits for.
func TestTurn(t *testing.T) {
	t1 := NewTracker(Config{Capabilities: Capabilities(mysql.CLIENT_DEPRECATE_EOF)})
	query := AppendPacket(nil, 0, append([]byte{mysql.COM_QUERY}, "select 1"...))
	expect := func(when string, seq byte, whole bool) {
		t.Helper()
		if gotSeq, gotWhole := t1.Turn(); gotSeq != seq || gotWhole != whole {
			t.Errorf("%s: %d, whole %v; want %d, %v", when, gotSeq, gotWhole, seq, whole)
		}
	}
	t1.FromClient(query)
	expect("asked", 1, true)
	t1.FromBackend(AppendPacket(nil, 1, []byte{1}))
	expect("columns counted", 2, true)
	t1.FromBackend(AppendPacket(nil, 2, []byte("\x03def definition")))
	rows := AppendPacket(AppendPacket(nil, 3, []byte{1, 'a'}), 4, []byte{1, 'b'})
	t1.FromBackend(rows)
	expect("two rows", 5, true)
	long := AppendPacket(nil, 5, []byte("\x09123456789"))
	n, _ := t1.FromBackend(long[:8])
	expect("half a row", 6, false)
	t1.FromBackend(long[n:])
	expect("three rows", 6, true)
	end := AppendOK(nil, OK{}, Capabilities(mysql.CLIENT_DEPRECATE_EOF))
	end[0] = EOFHeader
	t1.FromBackend(AppendPacket(nil, 6, end))
	t1.FromClient(query)
	expect("asked again", 1, true)
	t1.FromBackend(AppendPacket(nil, 1, []byte{1}))
	t1.FromClient(AppendPacket(nil, 0, []byte{mysql.COM_STMT_CLOSE, 7, 0, 0, 0}))
	expect("a statement closed meanwhile", 2, true)
	t1.FromClient(query)
	expect("the next command sent meanwhile", 2, true)
}
