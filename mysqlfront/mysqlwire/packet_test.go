package mysqlwire

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/go-mysql-org/go-mysql/mysql"
)

func TestPacketsSurviveTheRoundTrip(t *testing.T) {
	for _, size := range []int{0, 1, 250, 251, 65536, MaxPacket, MaxPacket + 1} {
		payload := bytes.Repeat([]byte{'x'}, size)
		var wire bytes.Buffer
		next, err := WritePacket(&wire, 250, payload)
		if err != nil {
			t.Fatal(err)
		}
		tail := []byte("tail")
		wire.Write(tail)
		got, seq, err := ReadPacket(&wire, size)
		if err != nil || !bytes.Equal(got, payload) {
			t.Fatalf("%d bytes: got %d, error %v", size, len(got), err)
		}
		if seq+1 != next {
			t.Errorf("%d bytes: last packet is %d, the writer says %d is next", size, seq, next)
		}
		if !bytes.Equal(wire.Bytes(), tail) {
			t.Errorf("%d bytes: the reader took more than the packet", size)
		}
	}
}

func TestReadPacketRefuses(t *testing.T) {
	long := AppendHeader(nil, MaxPacket, 0)
	long = append(long, make([]byte, MaxPacket)...)
	for name, c := range map[string]struct {
		wire  []byte
		limit int
		want  error
	}{
		"nothing":                       {nil, 10, io.EOF},
		"half a header":                 {[]byte{1, 0}, 10, io.ErrUnexpectedEOF},
		"half a payload":                {[]byte{3, 0, 0, 0, 'a'}, 10, io.ErrUnexpectedEOF},
		"a payload that never comes":    {[]byte{3, 0, 0, 0}, 10, io.ErrUnexpectedEOF},
		"a promise beyond the limit":    {[]byte{255, 255, 254, 0}, 10, ErrTooLarge},
		"a continuation beyond it":      {append(bytes.Clone(long), 1, 0, 0, 1, 'a'), MaxPacket, ErrTooLarge},
		"a continuation that is missed": {long, MaxPacket, io.ErrUnexpectedEOF},
		"a continuation out of order":   {append(bytes.Clone(long), 0, 0, 0, 7), MaxPacket, ErrSequence},
	} {
		_, _, err := ReadPacket(iotest.HalfReader(bytes.NewReader(c.wire)), c.limit)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestAPromiseAloneCostsNoMemory(t *testing.T) {
	wire := append(AppendHeader(nil, MaxPacket-1, 0), "abc"...)
	perRun := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			_, _, _ = ReadPacket(bytes.NewReader(wire), MaxPacket)
		}
	}).AllocedBytesPerOp()
	if perRun > 256<<10 {
		t.Errorf("a header that promises 16 MiB made the reader allocate %d bytes", perRun)
	}
}

func TestUint(t *testing.T) {
	for _, v := range []uint64{0, 250, 251, 65535, 65536, 1<<24 - 1, 1 << 24, 1<<64 - 1} {
		b := AppendUint(nil, v)
		if got, n := Uint(b); got != v || n != len(b) {
			t.Errorf("Uint(% x) = %d in %d bytes, want %d in %d", b, got, n, v, len(b))
		}
		if _, n := Uint(b[:len(b)-1]); n != 0 {
			t.Errorf("Uint(% x) takes %d bytes of a cut integer", b[:len(b)-1], n)
		}
	}
	for _, b := range [][]byte{{0xfb}, {0xff, 1, 2}} {
		if _, n := Uint(b); n != 0 {
			t.Errorf("Uint(% x) reads a number", b)
		}
	}
}

func TestStringStaysInside(t *testing.T) {
	if _, _, ok := String([]byte{0xfe, 255, 255, 255, 255, 255, 255, 255, 255, 'a'}); ok {
		t.Error("a length beyond all memory was believed")
	}
	s, rest, ok := String(append(AppendString(nil, "abc"), "de"...))
	if !ok || string(s) != "abc" || string(rest) != "de" {
		t.Errorf("got %q, rest %q, %v", s, rest, ok)
	}
}

func TestOKSurvivesTheRoundTrip(t *testing.T) {
	state := AppendString([]byte{mysql.SESSION_TRACK_SCHEMA}, AppendString(nil, "shop"))
	tracking := Capabilities(mysql.CLIENT_SESSION_TRACK)
	for name, c := range map[string]struct {
		ok   OK
		caps Capabilities
	}{
		"plain":          {OK{AffectedRows: 3, LastInsertID: 1 << 40, Status: 2, Warnings: 7, Info: []byte("Rows matched: 3")}, 0},
		"empty":          {OK{Status: 2}, 0},
		"tracking, none": {OK{Status: 3}, tracking},
		"tracking, info": {OK{Status: 3, Info: []byte("x")}, tracking},
		"tracking, all":  {OK{Status: 2 | mysql.SERVER_SESSION_STATE_CHANGED, Info: []byte("x"), State: state}, tracking},
	} {
		got, err := ParseOK(AppendOK(nil, c.ok, c.caps), c.caps)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got.AffectedRows != c.ok.AffectedRows || got.LastInsertID != c.ok.LastInsertID || got.Status != c.ok.Status ||
			got.Warnings != c.ok.Warnings || !bytes.Equal(got.Info, c.ok.Info) || !bytes.Equal(got.State, c.ok.State) {
			t.Errorf("%s: got %+v, want %+v", name, got, c.ok)
		}
	}
	var schema []byte
	err := EachStateChange(state, func(c StateChange) { schema, _ = c.Schema() })
	if err != nil || string(schema) != "shop" {
		t.Errorf("schema %q, error %v", schema, err)
	}
}

func TestParseOKRefuses(t *testing.T) {
	whole := AppendOK(nil, OK{AffectedRows: 300, LastInsertID: 70000, Status: 2, Info: []byte("abc")}, Capabilities(mysql.CLIENT_SESSION_TRACK))
	for n := range whole {
		if n == 12 { // just before the information, which may be missing
			continue
		}
		if _, err := ParseOK(whole[:n], Capabilities(mysql.CLIENT_SESSION_TRACK)); !errors.Is(err, ErrMalformed) {
			t.Errorf("the first %d of %d bytes: %v", n, len(whole), err)
		}
	}
}

func TestErrSurvivesTheRoundTrip(t *testing.T) {
	e, err := ParseErr(AppendErr(nil, 1045, "28000", "Access denied"))
	if err != nil || *e != (ServerError{1045, "28000", "Access denied"}) {
		t.Errorf("got %+v, %v", e, err)
	}
	e, err = ParseErr([]byte("\xff\x10\x04Too many connections"))
	if err != nil || *e != (ServerError{1040, "HY000", "Too many connections"}) {
		t.Errorf("without a SQLSTATE: got %+v, %v", e, err)
	}
	if _, err = ParseErr([]byte{0xff, 1}); !errors.Is(err, ErrMalformed) {
		t.Errorf("a cut ERR: %v", err)
	}
}

func FuzzReadPacket(f *testing.F) {
	f.Add([]byte{3, 0, 0, 0, 'a', 'b', 'c'})
	f.Add([]byte{255, 255, 255, 0})
	f.Fuzz(func(t *testing.T, wire []byte) {
		whole, seq, err := ReadPacket(bytes.NewReader(wire), 1<<20)
		split, seq2, err2 := ReadPacket(iotest.OneByteReader(bytes.NewReader(wire)), 1<<20)
		if !bytes.Equal(whole, split) || seq != seq2 || (err == nil) != (err2 == nil) {
			t.Fatalf("whole: %q %d %v; byte by byte: %q %d %v", whole, seq, err, split, seq2, err2)
		}
		if err != nil {
			return
		}
		if again, _, err := ReadPacket(bytes.NewReader(AppendPacket(nil, seq, whole)), 1<<20); err != nil || !bytes.Equal(again, whole) {
			t.Fatalf("written and read again: %q, %v", again, err)
		}
	})
}
