package process

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestParseStat(t *testing.T) {
	tail := " S 1 42 42 0 -1 4194560 3 0 0 0 1 2 3 4 20 0 1 0 987654 100 200"
	tests := []struct {
		text string
		want procfs
	}{
		{"42 (postgres)" + tail, procfs{pid: 42, parent: 1, state: 'S', started: 987654, worked: 3, reaped: 7}},
		{"7 (a) b (c)" + tail, procfs{pid: 7, parent: 1, state: 'S', started: 987654, worked: 3, reaped: 7}},
		{"7 ()" + strings.Replace(tail, "S", "Z", 1) + "\n", procfs{pid: 7, parent: 1, state: 'Z', started: 987654, worked: 3, reaped: 7}},
	}
	for _, test := range tests {
		if got, err := parseStat([]byte(test.text)); err != nil || got != test.want {
			t.Errorf("%q: %+v, %v", test.text, got, err)
		}
	}
	for _, bad := range []string{"", "42", "42 (x", ")(", "42 (x) S 1 2", "x (x)" + tail, "42 (x) SS" + tail[2:], "42 (x)" + strings.Replace(tail, "987654", "-", 1)} {
		if got, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("42 (postgres) S 1 42 42 0 -1 4194560 3 0 0 0 1 2 0 0 20 0 1 0 987654 100 200"))
	f.Fuzz(func(_ *testing.T, text []byte) { _, _ = parseStat(text) })
}

func TestReadProc(t *testing.T) {
	p, err := readProc(os.Getpid())
	if err != nil || p.dead() || p.parent != os.Getppid() || p.started == 0 || int(p.uid) != os.Geteuid() {
		t.Errorf("%+v, %v", p, err)
	}
	here, _ := os.Getwd()
	if !p.worksIn(here) || p.worksIn("/") {
		t.Error("working directory")
	}
	self, _ := os.Executable()
	if p.program() != self {
		t.Errorf("program %q, not %q", p.program(), self)
	}
	if _, err := readProc(0); err == nil {
		t.Error("there is no process 0")
	}
}

func TestRecordIsOfOneProcessOnly(t *testing.T) {
	at := Place{UID: os.Geteuid()}
	self, err := readProc(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	good := recordOf(self)
	if p, ok := good.process(at); !ok || p.pid != os.Getpid() {
		t.Errorf("%+v, %v", p, ok)
	}
	for name, spoil := range map[string]func(*record){
		"another start": func(r *record) { r.Started++ },
		"another boot":  func(r *record) { r.Boot = "x" },
		"init":          func(r *record) { r.PID = 1 },
		"none":          func(r *record) { r.PID = 0 },
	} {
		r := good
		spoil(&r)
		if p, ok := r.process(at); ok {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if _, ok := good.process(Place{UID: os.Geteuid() + 1}); ok {
		t.Error("a process of another user was taken for the engine")
	}
}

func TestLastLines(t *testing.T) {
	if got := lastLines("\n one\n\ntwo \n"); got != "\n    one\n    two" {
		t.Errorf("%q", got)
	}
	if got := lastLines(strings.Repeat("x\n", 50)); strings.Count(got, "x") != tailLines {
		t.Errorf("%q", got)
	}
	if got := lastLines(""); got != "" {
		t.Errorf("%q", got)
	}
}

func TestMayEnter(t *testing.T) {
	owner := &syscall.Stat_t{Uid: 10, Gid: 20}
	tests := []struct {
		mode fs.FileMode
		uid  uint32
		gid  uint32
		want bool
	}{
		{0o700, 10, 1, true},
		{0o077, 10, 20, false}, // the owner's bit alone counts for the owner
		{0o070, 11, 20, true},
		{0o707, 11, 20, false},
		{0o701, 11, 21, true},
		{0o770, 11, 21, false},
		{0o000, 0, 21, true},
	}
	for _, test := range tests {
		if got := mayEnter(test.mode, owner, test.uid, []uint32{test.gid}); got != test.want {
			t.Errorf("%v by %d:%d: %v", test.mode, test.uid, test.gid, got)
		}
	}
}

func TestDescribe(t *testing.T) {
	tests := []struct {
		script string
		memory bool
		want   string
	}{
		{"exit 3", true, "exit status 3"},
		{"kill -TERM $$", true, "signal: terminated"},
		{"kill -KILL $$", false, "was killed (137)"},
		{"kill -KILL $$", true, "was killed (137): the kernel ran out of memory for it; give the machine more or the cluster a smaller capacity"},
	}
	for _, test := range tests {
		cmd := exec.Command("/bin/sh", "-c", test.script)
		_ = cmd.Run()
		if got := describe(cmd.ProcessState, test.memory); got != test.want {
			t.Errorf("%s: %q", test.script, got)
		}
	}
}

func TestLogStaysShort(t *testing.T) {
	at := Place{Data: t.TempDir(), UID: os.Geteuid(), GID: os.Getegid()}
	if err := os.Mkdir(filepath.Join(at.Data, "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		text, _ := os.ReadFile(filepath.Join(at.Data, name))
		return string(text)
	}
	l := &engineLog{at: at, limit: 10}
	server, err := l.begin()
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		if _, err := server.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := l.shorten(); err != nil {
			t.Fatal(err)
		}
	}
	write("one\n")
	if l.tail() != "\n    one" || read(logOld) != "" {
		t.Errorf("tail %q, old %q", l.tail(), read(logOld))
	}
	write("the first long one\n")
	write("two\n")
	if read(logOld) != "one\nthe first long one\n" || read(logName) != "two\n" {
		t.Errorf("old %q, now %q", read(logOld), read(logName))
	}
	write("the second long one\n")
	if read(logOldest) != "one\nthe first long one\n" || read(logOld) != "two\nthe second long one\n" || read(logName) != "" {
		t.Errorf("oldest %q, old %q, now %q", read(logOldest), read(logOld), read(logName))
	}
	_, _ = server.WriteString("of this run, rather long\n")
	_ = server.Close()

	next := &engineLog{at: at, limit: 10}
	server, err = next.begin()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = server.WriteString("next\n")
	_ = server.Close()
	if read(logOld) != "of this run, rather long\n" || next.tail() != "\n    next" {
		t.Errorf("old %q, tail %q", read(logOld), next.tail())
	}
	// A run that has written nothing has no tail, whatever is there from before.
	quiet := &engineLog{at: at, limit: 100}
	server, err = quiet.begin()
	if err != nil {
		t.Fatal(err)
	}
	_ = server.Close()
	if quiet.tail() != "" {
		t.Errorf("tail %q", quiet.tail())
	}
}

// A link that the engine's user has put in place of the log does not lead out
// of the volume.
func TestLogDoesNotFollowLinksOut(t *testing.T) {
	at := Place{Data: t.TempDir(), UID: os.Geteuid(), GID: os.Getegid()}
	outside := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(outside, []byte("whole"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(at.Data, "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(at.Data, logName)); err != nil {
		t.Fatal(err)
	}
	l := &engineLog{at: at, limit: 1 << 20}
	if file, err := l.begin(); err == nil {
		_ = file.Close()
		t.Error("the link was followed")
	}
}
