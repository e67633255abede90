package mysqlwire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
)

var (
	okPacket  = packet(1, 0, 0, 0, 2, 0, 0, 0)
	errPacket = packet(1, AppendErr(nil, 1064, "42000", "no")...)
	aResult   = join(packet(1, 1), packet(2, []byte("\x03def...")...), packet(3, AppendEOF(nil, 2, 0)...),
		packet(4, 1, '1'), packet(5, AppendEOF(nil, 2, 0)...))
)

func newReplay(c Config) *replay { return &replay{t: NewTracker(c), keep: true} }

func plain() Config { return Config{Capabilities: common, Status: mysql.SERVER_STATUS_AUTOCOMMIT} }

func preparedAnswer(id uint32, columns, params uint16) []byte {
	b := binary.LittleEndian.AppendUint32([]byte{0}, id)
	b = binary.LittleEndian.AppendUint16(b, columns)
	b = binary.LittleEndian.AppendUint16(b, params)
	all := packet(1, append(b, 0, 0, 0)...)
	for _, n := range []uint16{params, columns} {
		for range n {
			all = append(all, packet(2, []byte("\x03def...")...)...)
		}
		if n > 0 {
			all = append(all, packet(3, AppendEOF(nil, 2, 0)...)...)
		}
	}
	return all
}

var stops = map[string]struct {
	packet []byte
	why    Stop
}{
	"quit":         {command(mysql.COM_QUIT), StopQuit},
	"change user":  {command(mysql.COM_CHANGE_USER, []byte("u\x00\x14aaaaaaaaaaaaaaaaaaaadb\x00")...), StopChangeUser},
	"process kill": {command(mysql.COM_PROCESS_KILL, 1, 2, 3, 4), StopKill},
	"kill":         {query("/* so */ KILL QUERY 7"), StopKillQuery},
	"reset":        {command(mysql.COM_RESET_CONNECTION), StopReset},
}

func TestAPacketThatStopsIsLeftOverWhole(t *testing.T) {
	config := plain()
	config.StopReset = true
	for name, c := range stops {
		for _, size := range []int{1, 1000} {
			r := newReplay(config)
			stopped := false
			shown := 0
			pieces(join(c.packet, []byte("and more")), size, func(b []byte) {
				if stopped {
					return
				}
				shown += len(b)
				stopped = r.fromClient(b)
			})
			if !stopped || r.t.Stopped() != c.why || len(r.sent) > 0 || !bytes.HasPrefix(r.client, c.packet) {
				t.Errorf("%s in pieces of %d: stopped %v by %v, %q passed, %q left over", name, size, stopped, r.t.Stopped(), r.sent, r.client)
			}
			if size == 1 && shown != len(c.packet) {
				t.Errorf("%s: stopped after %d bytes of %d", name, shown, len(c.packet))
			}
		}
	}
}

func TestAPacketThatStopsWaitsForEarlierAnswers(t *testing.T) {
	config := plain()
	config.StopReset = true
	for name, c := range stops {
		r := newReplay(config)
		first := join(query("SELECT 1"), command(mysql.COM_PING))
		if r.fromClient(join(first, c.packet)) {
			t.Errorf("%s: stopped before the answers came", name)
		}
		if !bytes.Equal(r.sent, first) || !bytes.Equal(r.client, c.packet) {
			t.Errorf("%s: %q passed, %q left over", name, r.sent, r.client)
		}
		answer := join(aResult, okPacket)
		for i, b := range answer {
			if stopped := r.fromBackend([]byte{b}); stopped != (i == len(answer)-1) {
				t.Fatalf("%s: after %d of %d bytes of the answers: stopped %v", name, i+1, len(answer), stopped)
			}
		}
		if r.t.Stopped() != c.why || r.t.Busy() {
			t.Errorf("%s: stopped by %v, busy %v", name, r.t.Stopped(), r.t.Busy())
		}
	}
}

func TestAPacketThatStopsWaitsForTheEndOfAnAnswersBody(t *testing.T) {
	r := newReplay(plain())
	answer := packet(1, AppendOK(nil, OK{Status: 2, Info: bytes.Repeat([]byte("i"), 100)}, common)...)
	r.fromClient(query("UPDATE t SET i = 1"))
	r.fromBackend(answer[:60])
	if r.t.Pending() > 0 || !r.t.Busy() {
		t.Fatalf("%d pending, busy %v", r.t.Pending(), r.t.Busy())
	}
	if r.fromClient(command(mysql.COM_QUIT)) {
		t.Error("stopped in the middle of a packet")
	}
	if !r.fromBackend(answer[60:]) || r.t.Stopped() != StopQuit {
		t.Errorf("stopped by %v", r.t.Stopped())
	}
}

func TestPassNextLetsOnePass(t *testing.T) {
	config := plain()
	config.StopReset = true
	for name, c := range stops {
		r := newReplay(config)
		r.t.PassNext()
		stopped := r.fromClient(join(c.packet, c.packet))
		if name == "change user" {
			if !stopped || len(r.sent) > 0 {
				t.Errorf("%s passed", name)
			}
			continue
		}
		if !bytes.Equal(r.sent, c.packet) {
			t.Errorf("%s: %q passed, %q left over", name, r.sent, r.client)
		}
		if name != "quit" && (stopped || !r.fromBackend(okPacket) || r.t.Stopped() != c.why) {
			t.Errorf("%s: the second one: stopped at once %v, in the end by %v", name, stopped, r.t.Stopped())
		}
	}
}

func TestResetPassesUnlessItStops(t *testing.T) {
	r := newReplay(plain())
	r.fromClient(prepare("SELECT 1"))
	r.fromBackend(preparedAnswer(1, 1, 0))
	if r.fromClient(command(mysql.COM_RESET_CONNECTION)) || r.t.Pending() != 1 {
		t.Fatal("it did not pass")
	}
	r.fromBackend(okPacket)
	wantFacts(t, r, "after the reset", facts{})
}

func TestWhatIsAKill(t *testing.T) {
	for text, want := range map[string]verdict{
		"KILL 5": yes, "kill query 5": yes, " \t\n KiLl\t5": yes, "KILL/**/5": yes, "KILL(5)": yes, "KILL`x`": yes, "KILL@x": yes,
		"-- so\nKILL 5": yes, "--\tso\n# and\n/* so */ KILL 5": yes, "/*!KILL 5*/": yes, "/*!50000 KILL 5*/": yes, "/*M!100100 KILL 5*/": yes,
		";KILL 5": yes, "/**/KILL 5": yes,
		"SELECT 1": no, "KILLER 5": no, "KILL_5": no, "KILL5": no, "K": undecided, "KIL": undecided, "KILL": undecided, "": undecided,
		"  ": undecided, "/* KILL 5": undecided, "/*": undecided, "/": undecided, "/ KILL": no, "/*!": undecided, "/*!500": undecided,
		"-": undecided, "--": undecided, "--KILL 5": no, "-- KILL 5": undecided, "-KILL": no, "# KILL 5": undecided, "/*M": undecided, "/*M KILL */SELECT": no,
		"'KILL 5'": no, "(KILL 5)": no, "SELECT 1; KILL 5": no, "KÄLL 5": no, "kill\xc3\xa4": no,
	} {
		if got := killBegins([]byte(text)); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
		for n := range len(text) {
			if got := killBegins([]byte(text[:n])); got != want && got != undecided && !(got == yes && want == no) {
				t.Errorf("%q is %v, but its beginning %q %v", text, want, text[:n], got)
			}
		}
	}
}

func TestKillBehindAttributes(t *testing.T) {
	config := plain()
	config.Capabilities |= Capabilities(mysql.CLIENT_QUERY_ATTRIBUTES)
	attributes := "\x03\x01\x04\x01\x03\x00\x01a\xfd\x00\x01b\x08\x00\x01c\x07\x00\x00\x00\x04KILL"
	for text, want := range map[string]Stop{
		"\x00\x01KILL 5":        StopKillQuery,
		"\x00\x01SELECT 5":      Running,
		attributes + "KILL 5":   StopKillQuery,
		attributes + "SELECT 5": Running,
		attributes[:20]:         Running, // cut: the server's matter
		"\xff\x01KILL 5":        Running,
		"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01KILL 5": Running,
	} {
		for _, size := range []int{1, 1000} {
			r := newReplay(config)
			pieces(query(text), size, func(b []byte) { r.fromClient(b) })
			if r.t.Stopped() != want || want == Running && r.t.Pending() != 1 {
				t.Errorf("%q in pieces of %d: stopped by %v, want %v", text, size, r.t.Stopped(), want)
			}
		}
	}
	got, ok := QueryText(append([]byte{mysql.COM_QUERY}, attributes+"SELECT 1"...), config.Capabilities)
	if !ok || string(got) != "SELECT 1" {
		t.Errorf("text %q, %v", got, ok)
	}
}

func TestALongStatementIsNotLookedAt(t *testing.T) {
	r := newReplay(plain())
	long := query("KILL 5" + strings.Repeat(" ", 2*maxNoticed))
	if r.fromClient(long[:20]) || len(r.sent) != 0 {
		t.Errorf("%d bytes passed before enough had arrived to be noticed", len(r.sent))
	}
	if r.fromClient(long[20:5000]) || len(r.sent) != 5000 {
		t.Errorf("%d bytes passed, stopped by %v", len(r.sent), r.t.Stopped())
	}
}

func TestMalformed(t *testing.T) {
	small := plain()
	small.MaxPayload = int64(MaxPacket) + 100
	for name, c := range map[string]struct {
		config Config
		bytes  []byte
		passes int
	}{
		"an empty command":           {plain(), packet(0), 0},
		"an empty command after one": {plain(), join(command(mysql.COM_PING), packet(0)), 5},
		"a statement without its id": {plain(), command(mysql.COM_STMT_EXECUTE, 1, 0, 0), 0},
		"a close without an id":      {plain(), command(mysql.COM_STMT_CLOSE), 0},
		"a change of user too long":  {plain(), []byte{0, 0, 16, 0, mysql.COM_CHANGE_USER}, 0},
		"more than is allowed":       {small, AppendPacket(nil, 0, append([]byte{3}, make([]byte, MaxPacket+100)...)), HeaderSize + MaxPacket},
	} {
		r := newReplay(c.config)
		if !r.fromClient(c.bytes) || r.t.Stopped() != StopMalformed || !errors.Is(r.t.Err(), ErrMalformed) {
			t.Errorf("%s: stopped by %v, error %v", name, r.t.Stopped(), r.t.Err())
		}
		if len(r.sent) != c.passes {
			t.Errorf("%s: %d bytes passed, want %d", name, len(r.sent), c.passes)
		}
	}
}

func TestAFarewellNobodyAskedFor(t *testing.T) {
	farewell := packet(0, AppendErr(nil, 4031, "HY000", "inactive")...)
	r := newReplay(plain())
	if r.fromBackend(farewell) || !bytes.Equal(r.received, farewell) {
		t.Errorf("it did not pass: stopped by %v", r.t.Stopped())
	}
	config := plain()
	config.StopStray = true
	r = newReplay(config)
	r.fromClient(query("SELECT 1"))
	if !r.fromBackend(join(aResult, farewell)) || r.t.Stopped() != StopStray || !bytes.Equal(r.backend, farewell) || !bytes.Equal(r.received, aResult) {
		t.Errorf("stopped by %v, left over %q", r.t.Stopped(), r.backend)
	}
}

func TestMorePipeliningThanIsKept(t *testing.T) {
	const all = 3 * maxRequests
	r := newReplay(plain())
	r.keep = false
	ping := command(mysql.COM_PING)
	stopped := r.fromClient(bytes.Repeat(ping, all))
	if stopped || r.t.Pending() != maxRequests {
		t.Fatalf("stopped %v, %d pending", stopped, r.t.Pending())
	}
	answered := 0
	for answered < all {
		stopped := r.fromBackend(okPacket)
		answered++
		if stopped {
			if r.t.Stopped() != StopAgain {
				t.Fatalf("stopped by %v", r.t.Stopped())
			}
			r.fromClient(nil) // lent again
		}
	}
	if r.t.Busy() || len(r.client) > 0 {
		t.Errorf("%d pending, %d bytes left over", r.t.Pending(), len(r.client))
	}
	if len(r.t.pending.ring) > 16*smallRing {
		t.Errorf("an idle session keeps a ring of %d", len(r.t.pending.ring))
	}
}

func TestCommandsBehindALocalFileAreTheFile(t *testing.T) {
	r := newReplay(plain())
	r.fromClient(join(query("LOAD DATA LOCAL INFILE 'x' INTO TABLE t"), command(mysql.COM_PING), command(mysql.COM_QUIT)))
	if !r.fromBackend(packet(1, LocalFileHeader, 'x')) || r.t.Stopped() != StopAgain {
		t.Fatalf("stopped by %v", r.t.Stopped())
	}
	if r.fromClient(packet(4)) || len(r.client) > 0 || r.t.Pending() != 1 {
		t.Fatalf("stopped by %v, %d pending, %d left over", r.t.Stopped(), r.t.Pending(), len(r.client))
	}
	r.fromBackend(okPacket)
	wantFacts(t, r, "after the file", facts{Queries: 1, Transactions: 1})
}

func TestALocalFileIsNumberedAnew(t *testing.T) {
	config := plain()
	config.Renumber = true
	r := newReplay(config)
	r.fromClient(query("SELECT 1; LOAD DATA LOCAL INFILE 'x' INTO TABLE t"))
	more := AppendEOF(nil, 2|mysql.SERVER_MORE_RESULTS_EXISTS, 0)
	r.fromBackend(join(packet(1, 1), packet(2, []byte("\x03def...")...), packet(3, more...), packet(4, 1, '1'), packet(5, more...), packet(6, LocalFileHeader, 'x')))
	r.sent = nil
	pieces(join(packet(2, 'a'), packet(3, 'b'), packet(3)), 2, func(b []byte) { r.fromClient(b) })
	if want := join(packet(7, 'a'), packet(8, 'b'), packet(9)); !bytes.Equal(r.sent, want) {
		t.Errorf("sent % x\nwant % x", r.sent, want)
	}
	r.fromBackend(okPacket)
	r.sent = nil
	r.fromClient(command(mysql.COM_PING))
	if !bytes.Equal(r.sent, command(mysql.COM_PING)) {
		t.Errorf("the next command: % x", r.sent)
	}
}

func TestTextsAreBounded(t *testing.T) {
	config := plain()
	config.TextLimit, config.TextTotal = 100, 250
	r := newReplay(config)
	unreadable := func(id uint32) bool {
		s, ok := r.t.Statement(id)
		if !ok || s.Unreadable == (len(s.Text()) > 0) {
			t.Fatalf("statement %d: %+v", id, s)
		}
		return s.Unreadable
	}
	for id, size := range []int{1: 99, 2: 100, 3: 99, 4: 99, 5: 40} {
		if id == 0 {
			continue
		}
		pieces(prepare(strings.Repeat("x", size)), 7, func(b []byte) { r.fromClient(b) })
		r.fromBackend(preparedAnswer(uint32(id), 0, 0))
		if got, want := unreadable(uint32(id)), id == 2 || id == 4; got != want {
			t.Errorf("statement %d of %d bytes: unreadable %v, want %v", id, size, got, want)
		}
	}
	r.fromClient(aboutStatement(mysql.COM_STMT_CLOSE, 1))
	r.fromClient(prepare(strings.Repeat("y", 99)))
	r.fromBackend(preparedAnswer(6, 0, 0))
	if unreadable(6) {
		t.Error("the text of a closed statement still counts")
	}
	r.fromClient(prepare(strings.Repeat("z", 17<<20)))
	r.fromBackend(preparedAnswer(7, 0, 0))
	if !unreadable(7) || len(r.t.statements.byID[6].Text()) != 99 {
		t.Error("a long text")
	}
}

func TestAStreamPassesWhatIsNoCommand(t *testing.T) {
	r := newReplay(plain())
	r.fromClient(command(mysql.COM_BINLOG_DUMP, make([]byte, 10)...))
	r.fromBackend(packet(1, 0, 1, 2, 3))
	ack := packet(0, 0xef, 1, 2, 3, 4, 5, 6, 7, 8, 'f')
	if r.fromClient(ack) || r.t.Pending() != 1 || !r.t.Replica() {
		t.Errorf("an acknowledgement: stopped by %v, %d pending", r.t.Stopped(), r.t.Pending())
	}
	if !r.fromClient(command(mysql.COM_QUIT)) || r.t.Stopped() != StopQuit {
		t.Errorf("COM_QUIT waits for a stream that may never end: %v", r.t.Stopped())
	}
}

func TestWhatWaitsBehindAStreamDoesNotWaitForItsEnd(t *testing.T) {
	for name, c := range stops {
		r := newReplay(plain())
		if r.fromClient(join(query("SELECT 1"), command(mysql.COM_BINLOG_DUMP, make([]byte, 10)...), c.packet)) {
			if name != "reset" {
				t.Errorf("%s: stopped at once", name)
			}
			continue
		}
		want := StopAgain
		if name == "quit" {
			want = StopQuit
		}
		if stopped := r.fromBackend(aResult); stopped != (name != "reset") || stopped && r.t.Stopped() != want {
			t.Errorf("%s: stopped %v by %v", name, stopped, r.t.Stopped())
		}
		if name != "quit" && (r.fromClient(nil) || len(r.client) > 0) {
			t.Errorf("%s: lent again: stopped by %v, %d bytes left over", name, r.t.Stopped(), len(r.client))
		}
	}
}

func TestAProcedureThatFailsLeavesADoubt(t *testing.T) {
	r := newReplay(plain())
	r.fromClient(query("CALL p()"))
	r.fromBackend(errPacket)
	if !r.t.Doubtful() || r.t.InTransaction() {
		t.Errorf("doubtful %v", r.t.Doubtful())
	}
}

func TestChangesAreReported(t *testing.T) {
	var seen []string
	config := plain()
	config.Capabilities |= Capabilities(mysql.CLIENT_SESSION_TRACK)
	config.Changed = func(c StateChange) {
		c.Variables(func(name, value []byte) { seen = append(seen, string(name)+"="+string(value)) })
	}
	r := newReplay(config)
	variable := AppendString([]byte{mysql.SESSION_TRACK_SYSTEM_VARIABLES}, AppendString(AppendString(nil, "autocommit"), "OFF"))
	r.fromClient(query("SET autocommit = 0"))
	pieces(packet(1, AppendOK(nil, OK{Status: 0, State: variable}, config.Capabilities)...), 3, func(b []byte) { r.fromBackend(b) })
	if !slices.Equal(seen, []string{"autocommit=OFF"}) {
		t.Errorf("seen %q", seen)
	}
	r.fromClient(query("SET x"))
	large := AppendString([]byte{mysql.SESSION_TRACK_SYSTEM_VARIABLES}, AppendString(AppendString(nil, "x"), strings.Repeat("v", maxState)))
	pieces(packet(1, AppendOK(nil, OK{Status: 1, State: large}, config.Capabilities)...), 100, func(b []byte) { r.fromBackend(b) })
	if !r.t.Untracked() || !r.t.InTransaction() || r.t.Busy() {
		t.Errorf("a state of %d bytes: untracked %v, in a transaction %v", len(large), r.t.Untracked(), r.t.InTransaction())
	}
}

func TestNothingIsAllocatedPerCommand(t *testing.T) {
	tr := NewTracker(plain())
	tr.FromClient(prepare("SELECT ?"))
	tr.FromBackend(preparedAnswer(1, 1, 1))
	ask, answer := query("SELECT 1"), bytes.Clone(aResult)
	run, oneShot, oneAnswer := execute(1, 0, 0, 1, 3, 0, 1, 0, 0, 0), prepare("SELECT 1"), preparedAnswer(2, 1, 0)
	shut := aboutStatement(mysql.COM_STMT_CLOSE, 2)
	work := func() {
		tr.FromClient(ask)
		tr.FromBackend(answer)
		tr.FromClient(run)
		tr.FromBackend(answer)
		tr.FromClient(oneShot)
		tr.FromBackend(oneAnswer)
		tr.FromClient(shut)
	}
	work()
	if n := testing.AllocsPerRun(1000, work); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if tr.Busy() {
		t.Error("busy")
	}
}
