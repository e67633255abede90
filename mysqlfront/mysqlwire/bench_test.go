package mysqlwire

import (
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
)

func BenchmarkPointSelect(b *testing.B) {
	ask, answer := query("SELECT c FROM sbtest1 WHERE id = 4711"), aResult
	k := NewTracker(plain())
	b.ReportAllocs()
	for b.Loop() {
		k.FromClient(ask)
		k.FromBackend(answer)
	}
}

// BenchmarkRows follows a burst of rows of 100 bytes.
func BenchmarkRows(b *testing.B) {
	const rows = 600
	k := NewTracker(plain())
	k.FromClient(query("SELECT * FROM t"))
	k.FromBackend(join(packet(1, 1), packet(2, []byte("\x03def...")...), packet(3, AppendEOF(nil, 2, 0)...)))
	var burst []byte
	for range rows {
		burst = append(burst, packet(4, make([]byte, 100)...)...)
	}
	b.SetBytes(int64(len(burst)))
	b.ReportAllocs()
	for b.Loop() {
		k.FromBackend(burst)
	}
	if !k.Busy() || k.Status() != mysql.SERVER_STATUS_AUTOCOMMIT {
		b.Fatal("the rows ended")
	}
}
