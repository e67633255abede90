package mysqlwire

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// FuzzTracker shows the same bursts whole and in pieces to two Trackers, which
// must then know and have passed the same. The input is the capabilities (8
// bytes), the size of the pieces (1), and bursts: their length (2 bytes, the
// highest bit telling the backend's) and bytes.
func FuzzTracker(f *testing.F) {
	paths, err := filepath.Glob("testdata/*/*.*")
	if err != nil || len(paths) < 100 {
		f.Fatalf("%d transcripts, error %v", len(paths), err)
	}
	for _, path := range paths {
		if strings.Contains(path, "/long_") {
			continue
		}
		x, err := readTranscript(path)
		if err != nil {
			f.Fatal(err)
		}
		input := append(binary.LittleEndian.AppendUint64(nil, uint64(x.caps)), 3)
		for _, e := range x.steps {
			input = appendBurst(appendBurst(input, 0, e.sent), 1<<15, e.received)
		}
		f.Add(input)
	}
	config := plain().Capabilities
	for _, stop := range stops {
		input := append(binary.LittleEndian.AppendUint64(nil, uint64(config)), 1)
		f.Add(appendBurst(appendBurst(input, 0, join(query("SELECT 1"), stop.packet)), 1<<15, aResult))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) < 9 {
			return
		}
		config := Config{
			Capabilities: Capabilities(binary.LittleEndian.Uint64(input)),
			StopReset:    input[8]&0x80 != 0, StopStray: input[8]&0x40 != 0, Renumber: input[8]&0x40 != 0,
			TextLimit: 100, TextTotal: 200, MaxPayload: 1 << 25,
		}
		size := 1 + int(input[8]&0x3f)
		whole, split := newReplay(config), newReplay(config)
		for n, bursts := 0, input[9:]; len(bursts) >= 2; n++ {
			var burst []byte
			var backend bool
			backend, burst, bursts = nextBurst(bursts)
			if len(burst) == 0 {
				continue // a relay shows nothing then
			}
			stopped := show(whole, backend, burst)
			stoppedToo := false
			pieces(burst, size, func(b []byte) {
				stoppedToo = stoppedToo || show(split, backend, b)
			})
			a, b := known(whole), known(split)
			if stopped != stoppedToo || a != b {
				t.Fatalf("burst %d, stopped %v and %v:\nwhole: %s\nsplit: %s", n, stopped, stoppedToo, a, b)
			}
			if stopped {
				return
			}
			for _, r := range []*replay{whole, split} { // the same so far
				r.sent, r.received = r.sent[:0], r.received[:0]
			}
		}
	})
}

func appendBurst(dst []byte, side uint16, b []byte) []byte {
	for len(b) > 0 {
		n := min(len(b), 1<<15-1)
		dst = binary.LittleEndian.AppendUint16(dst, side|uint16(n))
		dst = append(dst, b[:n]...)
		b = b[n:]
	}
	return dst
}

func nextBurst(b []byte) (backend bool, burst, rest []byte) {
	head := binary.LittleEndian.Uint16(b)
	b = b[2:]
	n := min(int(head&0x7fff), len(b))
	return head&(1<<15) != 0, slices.Clone(b[:n]), b[n:]
}

func show(r *replay, backend bool, b []byte) bool {
	if backend {
		return r.fromBackend(b)
	}
	return r.fromClient(b)
}

// known is all that a Tracker knows and has passed.
func known(r *replay) string {
	k := r.t
	var statements []string
	for s := range k.Statements() {
		statements = append(statements, fmt.Sprintf("%d %d %d %q %x %v %v %v %v", s.ID, s.Params, s.Columns, s.Text(), s.Types, s.TypesUnknown, s.Unreadable, s.cursor, s.longData))
	}
	slices.Sort(statements)
	schema, schemaKnown := k.Schema()
	cursors := 0
	for s := range k.Statements() {
		if s.cursor {
			cursors++
		}
	}
	if cursors != k.Cursors() {
		return fmt.Sprintf("%d cursors, counted as %d", cursors, k.Cursors())
	}
	return fmt.Sprintf("%+v stop %d err %v stage %d left %d status %x doubt %v multi %v schema %q %v pending %d\n%q\nsent %x\nreceived %x",
		factsOf(k), k.stop, k.err, k.stage, k.left, k.status, k.doubt, k.multi, schema, schemaKnown, k.pending.n, statements, r.sent, r.received)
}
