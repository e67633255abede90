package mysqlwire

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"
)

var algorithms = map[string]Algorithm{"zlib": Zlib, "zstd": Zstd}

// slow is a connection of scripted bytes: each read gets at most size of them,
// and every second one only a timeout. What is written is kept.
type slow struct {
	net.Conn
	in      []byte
	size    int
	reads   int
	written bytes.Buffer
	fail    []error // what the next writes say
	partial int     // bytes that a failing write takes
}

func (c *slow) Read(p []byte) (int, error) {
	c.reads++
	if c.size > 0 && c.reads%2 == 1 {
		return 0, os.ErrDeadlineExceeded
	}
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	n := len(p)
	if c.size > 0 {
		n = min(n, c.size)
	}
	n = copy(p[:n], c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *slow) Write(p []byte) (int, error) {
	if len(c.fail) > 0 {
		err := c.fail[0]
		c.fail = c.fail[1:]
		if err != nil {
			c.written.Write(p[:c.partial])
			return c.partial, err
		}
	}
	return c.written.Write(p)
}

// readAll reads on after timeouts.
func readAll(c net.Conn) ([]byte, error) {
	var all []byte
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		all = append(all, buf[:n]...)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return all, err
		}
	}
}

func compressed(t testing.TB, a Algorithm, parts ...[]byte) []byte {
	t.Helper()
	out := &slow{}
	c := NewCompressed(out, a)
	for _, p := range parts {
		if n, err := c.Write(p); err != nil || n != len(p) {
			t.Fatalf("wrote %d of %d: %v", n, len(p), err)
		}
	}
	return out.written.Bytes()
}

func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestCompressedSurvivesTheRoundTrip(t *testing.T) {
	for name, a := range algorithms {
		parts := [][]byte{
			[]byte("short"), bytes.Repeat([]byte("a"), worthCompressing-1), bytes.Repeat([]byte("a"), worthCompressing),
			noise(1000), bytes.Repeat([]byte("long "), maxChunk), noise(2*maxChunk + 1), []byte("end"),
		}
		wire := compressed(t, a, parts...)
		for _, size := range []int{0, 1000, 1} {
			got, err := readAll(NewCompressed(&slow{in: wire, size: size}, a))
			if err != nil || !bytes.Equal(got, join(parts...)) {
				t.Errorf("%s, %d bytes at once: got %d bytes, error %v", name, size, len(got), err)
			}
		}
		if plain := len(join(parts...)); len(wire) > plain-maxChunk {
			t.Errorf("%s: %d bytes became %d", name, plain, len(wire))
		}
	}
}

// packetsOf takes a compressed stream apart: sequence number, length and
// length before compression of each packet.
func packetsOf(wire []byte) (all [][3]int) {
	for len(wire) >= compressedHeader {
		length, seq := Header(wire)
		all = append(all, [3]int{int(seq), length, int(wire[4]) | int(wire[5])<<8 | int(wire[6])<<16})
		wire = wire[compressedHeader+length:]
	}
	return all
}

func TestCompressedNumbers(t *testing.T) {
	conn := &slow{in: join(
		[]byte{1, 0, 0, 0, 0, 0, 0, 'a'}, []byte{1, 0, 0, 1, 0, 0, 0, 'b'}, // a command in two packets
		[]byte{1, 0, 0, 0, 0, 0, 0, 'c'}, // the next command
	)}
	c := NewCompressed(conn, Zlib)
	buf := make([]byte, 10)
	read := func() {
		t.Helper()
		if n, err := c.Read(buf); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	write := func(p []byte) {
		t.Helper()
		if _, err := c.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	read()
	read()
	write([]byte("answer"))
	write(bytes.Repeat([]byte("x"), 2*maxChunk))
	read()
	write([]byte("another"))
	var numbers []int
	for _, p := range packetsOf(conn.written.Bytes()) {
		numbers = append(numbers, p[0])
	}
	want := []int{2, 3, 4, 1}
	if len(numbers) != len(want) {
		t.Fatalf("numbers %v, want %v", numbers, want)
	}
	for i := range want {
		if numbers[i] != want[i] {
			t.Fatalf("numbers %v, want %v", numbers, want)
		}
	}
}

func TestShortIsSentAsItIs(t *testing.T) {
	got := packetsOf(compressed(t, Zlib, []byte("short"), noise(100), bytes.Repeat([]byte("x"), 100)))
	if len(got) != 3 || got[0] != [3]int{0, 5, 0} || got[1] != [3]int{1, 100, 0} || got[2][1] >= 100 || got[2][2] != 100 {
		t.Errorf("packets %v", got)
	}
}

func TestBrokenCompression(t *testing.T) {
	whole := compressed(t, Zlib, bytes.Repeat([]byte("x"), 100))
	change := func(at int, b byte) []byte {
		w := bytes.Clone(whole)
		w[at] = b
		return w
	}
	for name, c := range map[string]struct {
		wire []byte
		want error
	}{
		"no stream":                    {change(7, 0xff), ErrCompressed},
		"a wrong checksum":             {change(len(whole)-1, whole[len(whole)-1]+1), ErrCompressed},
		"longer than it says":          {change(4, 99), ErrCompressed},
		"shorter than it says":         {change(4, 101), ErrCompressed},
		"much shorter":                 {change(6, 255), ErrCompressed},
		"nothing that is to be much":   {[]byte{0, 0, 0, 0, 9, 0, 0}, ErrCompressed},
		"cut in the header":            {whole[:5], io.ErrUnexpectedEOF},
		"cut in the payload":           {whole[:len(whole)-1], io.ErrUnexpectedEOF},
		"cut in what isn't compressed": {[]byte{5, 0, 0, 0, 0, 0, 0, 'a'}, io.ErrUnexpectedEOF},
	} {
		conn := NewCompressed(&slow{in: c.wire}, Zlib)
		_, err := readAll(conn)
		if !errors.Is(err, c.want) || errors.Is(err, io.EOF) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if _, again := conn.Read(make([]byte, 1)); c.want == ErrCompressed && !errors.Is(again, c.want) {
			t.Errorf("%s: the next read says %v", name, again)
		}
	}
	if got, err := readAll(NewCompressed(&slow{in: join([]byte{0, 0, 0, 0, 0, 0, 0}, whole)}, Zlib)); err != nil || len(got) != 100 {
		t.Errorf("behind an empty packet: %d bytes, %v", len(got), err)
	}
}

func TestAPromiseOfMuchCompressedCostsNothing(t *testing.T) {
	c := NewCompressed(&slow{in: []byte{255, 255, 255, 0, 255, 255, 255, 'a'}}, Zlib)
	_, err := readAll(c)
	if !errors.Is(err, io.ErrUnexpectedEOF) || cap(c.in.packet) > 256<<10 {
		t.Errorf("%d bytes are kept, error %v", cap(c.in.packet), err)
	}
}

func TestAWriteThatFails(t *testing.T) {
	conn := &slow{fail: []error{os.ErrDeadlineExceeded, nil, os.ErrDeadlineExceeded}}
	c := NewCompressed(conn, Zlib)
	if n, err := c.Write([]byte("a")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(n, err)
	}
	if n, err := c.Write([]byte("a")); n != 1 || err != nil {
		t.Fatalf("after a write that took nothing: %d, %v", n, err)
	}
	conn.partial = 3
	if _, err := c.Write([]byte("b")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("c")); err == nil {
		t.Error("writing went on after half a packet")
	}
	if got := packetsOf(conn.written.Bytes()[:8]); got[0] != [3]int{0, 1, 0} {
		t.Errorf("the first packet is %v", got)
	}
}

func TestDeadlinesPassThrough(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	c := NewCompressed(near, Zlib)
	c.SetReadDeadline(time.Now().Add(-time.Second))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	if c.NetConn() != near {
		t.Error("NetConn is another")
	}
}

// FuzzCompressed reads any bytes whole and one by one, and what it reads again
// after having written it.
func FuzzCompressed(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 'a'}, false)
	f.Add(compressed(f, Zlib, bytes.Repeat([]byte("x"), 100), []byte("short")), false)
	f.Add(compressed(f, Zstd, bytes.Repeat([]byte("x"), 100), []byte("short")), true)
	f.Fuzz(func(t *testing.T, wire []byte, isZstd bool) {
		a := Zlib
		if isZstd {
			a = Zstd
		}
		whole, err := readAll(NewCompressed(&slow{in: wire}, a))
		split, err2 := readAll(NewCompressed(&slow{in: wire, size: 1}, a))
		if !bytes.Equal(whole, split) || (err == nil) != (err2 == nil) {
			t.Fatalf("whole: %d bytes, %v; one by one: %d bytes, %v", len(whole), err, len(split), err2)
		}
		if again, err := readAll(NewCompressed(&slow{in: compressed(t, a, whole)}, a)); err != nil || !bytes.Equal(again, whole) {
			t.Fatalf("written and read again: %d bytes of %d, %v", len(again), len(whole), err)
		}
	})
}
