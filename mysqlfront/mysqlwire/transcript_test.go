package mysqlwire

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Real servers' answers to the scripts of scripts_test.go are kept in
// testdata. To record them anew:
//
//	go test -run Record -record [-mysql SOCKET]
//
// which starts a MariaDB, or uses the MySQL that listens at SOCKET and lets
// root in without a password.
var (
	record      = flag.Bool("record", false, "record testdata from a MariaDB, or from -mysql")
	mysqlSocket = flag.String("mysql", "", "the socket of a MySQL to record from")
)

// A transcript is a session's bytes after the login: a line "capabilities
// HEX", a line "status HEX", and then, for each step of its script, what the
// client sent ("> ") and what the server answered ("< "), in hexadecimal with
// runs written as {78x1000} for 1000 times 0x78.
type transcript struct {
	caps   Capabilities
	status uint16
	steps  []exchange
}

type exchange struct{ sent, received []byte }

func (x transcript) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "capabilities %016x\nstatus %04x\n", uint64(x.caps), x.status)
	for _, s := range x.steps {
		fmt.Fprintf(&b, "> %s\n< %s\n", runs(s.sent), runs(s.received))
	}
	return b.String()
}

func runs(b []byte) string {
	const worth = 32
	var out strings.Builder
	for len(b) > 0 {
		n := 1
		for n < len(b) && b[n] == b[0] {
			n++
		}
		if n >= worth {
			fmt.Fprintf(&out, "{%02xx%d}", b[0], n)
		} else {
			out.WriteString(hex.EncodeToString(b[:n]))
		}
		b = b[n:]
	}
	return out.String()
}

func parseRuns(s string) ([]byte, error) {
	var out []byte
	for s != "" {
		plain, rest, run := strings.Cut(s, "{")
		b, err := hex.DecodeString(plain)
		if err != nil {
			return nil, err
		}
		out = append(out, b...)
		if !run {
			return out, nil
		}
		inside, after, _ := strings.Cut(rest, "}")
		value, times, _ := strings.Cut(inside, "x")
		v, err := hex.DecodeString(value)
		if err != nil {
			return nil, err
		}
		n, err := strconv.Atoi(times)
		if err != nil {
			return nil, err
		}
		out = append(out, bytes.Repeat(v, n)...)
		s = after
	}
	return out, nil
}

func readTranscript(path string) (x transcript, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return x, err
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		kind, value, _ := strings.Cut(lines.Text(), " ")
		switch kind {
		case "capabilities":
			var v uint64
			v, err = strconv.ParseUint(value, 16, 64)
			x.caps = Capabilities(v)
		case "status":
			var v uint64
			v, err = strconv.ParseUint(value, 16, 16)
			x.status = uint16(v)
		case ">":
			var b []byte
			b, err = parseRuns(value)
			x.steps = append(x.steps, exchange{sent: b})
		case "<":
			x.steps[len(x.steps)-1].received, err = parseRuns(value)
		default:
			err = fmt.Errorf("unknown line %q", kind)
		}
		if err != nil {
			return x, fmt.Errorf("read %s: %w", path, err)
		}
	}
	return x, lines.Err()
}

func transcriptPath(server, script, dialect string) string {
	return filepath.Join("testdata", server, strings.ReplaceAll(script, " ", "_")+"."+dialect)
}

func TestRecord(t *testing.T) {
	if !*record {
		return // testdata is what the other tests read
	}
	server, socket := "mysql", *mysqlSocket
	if socket == "" {
		server, socket = "mariadb", needMariaDB(t)
	}
	if err := os.MkdirAll(filepath.Join("testdata", server), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, s := range scripts {
		for dialect, caps := range dialects {
			if !s.spoken(server, dialect) {
				continue
			}
			t.Run(s.name+"/"+dialect, func(t *testing.T) {
				x := recordScript(t, socket, s, caps|s.also)
				if err := os.WriteFile(transcriptPath(server, s.name, dialect), []byte(x.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

func recordScript(t *testing.T, socket string, s script, want Capabilities) (x transcript) {
	c, caps, ok := dial(t, socket, want)
	do(t, c, caps, "DROP DATABASE IF EXISTS wire", "CREATE DATABASE wire", "USE wire")
	do(t, c, caps, s.setup...)
	x.caps, x.status = caps, ok.Status
	var received []byte
	var ids []uint32
	for _, step := range s.steps {
		sent := putIDs(step.send, ids)
		if step.file {
			sent = renumber(sent, lastNumber(received)+1)
		}
		if _, err := c.Write(sent); err != nil {
			t.Fatal(err)
		}
		var answer []byte
		if !step.silent {
			answer = readQuiet(t, c, max(step.quiet, 150*time.Millisecond))
			received = answer
		} else {
			received = sent
		}
		ids = learnID(ids, sent, answer)
		x.steps = append(x.steps, exchange{sent, answer})
	}
	return x
}

// lastNumber is the sequence number of the last of some packets.
func lastNumber(packets []byte) (seq byte) {
	for len(packets) >= HeaderSize {
		var length int
		length, seq = Header(packets)
		packets = packets[HeaderSize+length:]
	}
	return seq
}

// renumber gives packets new sequence numbers, from next on.
func renumber(packets []byte, next byte) []byte {
	packets = bytes.Clone(packets)
	for rest := packets; len(rest) >= HeaderSize; next++ {
		length, _ := Header(rest)
		rest[3] = next
		rest = rest[HeaderSize+length:]
	}
	return packets
}

// TestTranscripts follows each recorded session, whole and in pieces, and
// holds the Tracker to what each step of its script says. An answer that ends
// the step must not look ended before its very last byte.
func TestTranscripts(t *testing.T) {
	for _, server := range []string{"mariadb", "mysql"} {
		for _, s := range scripts {
			for dialect := range dialects {
				if !s.spoken(server, dialect) {
					continue
				}
				t.Run(server+"/"+s.name+"/"+dialect, func(t *testing.T) {
					if !s.large { // memory is worth more than time here
						t.Parallel()
					}
					x, err := readTranscript(transcriptPath(server, s.name, dialect))
					if err != nil {
						t.Fatal(err)
					}
					sizes := []int{1 << 30, 1000, 7, 1}
					if s.large {
						sizes = []int{65536}
					}
					for _, size := range sizes {
						follow(t, x, s, size)
					}
				})
			}
		}
	}
}

func follow(t *testing.T, x transcript, s script, size int) {
	r := &replay{t: NewTracker(Config{Capabilities: x.caps, Status: x.status}), keep: true}
	var ids []uint32
	for i, step := range s.steps {
		when := fmt.Sprintf("in pieces of %d, step %d", size, i+1)
		send := x.steps[i].sent
		if !bytes.Equal(send, putIDs(step.send, ids)) && !step.file {
			t.Fatalf("%s: the script and the transcript differ; record anew", when)
		}
		r.sent, r.received = r.sent[:0], r.received[:0]
		pieces(send, size, func(b []byte) {
			if r.fromClient(b) {
				t.Fatalf("%s: stopped by %v, %v", when, r.t.Stopped(), r.t.Err())
			}
		})
		answer := x.steps[i].received
		pieces(answer, size, func(b []byte) {
			if !r.t.Busy() {
				t.Fatalf("%s: idle with %d bytes of the answer to come", when, len(answer)-len(r.received))
			}
			if r.fromBackend(b) {
				t.Fatalf("%s: stopped by %v", when, r.t.Stopped())
			}
		})
		wantFacts(t, r, when, step.want)
		if !bytes.Equal(r.sent, send) || !bytes.Equal(r.received, answer) {
			t.Errorf("%s: bytes were changed on their way", when)
		}
		ids = learnID(ids, send, answer)
		if step.check != nil {
			step.check(t, observed{r.t, ids})
		}
		if t.Failed() {
			return
		}
	}
}
