package command

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"serverlessproxy/acu"
	"serverlessproxy/compute/fixed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var size = acu.Size{Capacity: 4, Memory: 8 << 30, CPU: 1.5, MaxConnections: 833}

// shop is a server that scripts run: it is up while the file "up" is there.
type shop struct {
	t   *testing.T
	dir string
}

func open(t *testing.T) shop { return shop{t, t.TempDir()} }

// sh is a command of this shell text; $1 and on are its arguments.
func sh(text string) []string { return []string{"/bin/sh", "-c", text, "sh"} }

func (s shop) compute(commands Commands, limit time.Duration) *Compute {
	return New(Config{
		Commands: commands, Limit: limit, Dir: s.dir, Name: "shop", Engine: "postgres",
		Environment: []string{"PATH=/usr/bin:/bin", "TOKEN=x"},
		Server:      fixed.Config{Network: "unix", Address: filepath.Join(s.dir, "socket"), Ping: s.ping},
		Log:         slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
}

func (s shop) ping(context.Context) error {
	_, err := os.Stat(filepath.Join(s.dir, "up"))
	return err
}

func (s shop) read(name string) string {
	text, _ := os.ReadFile(filepath.Join(s.dir, name))
	return string(text)
}

var usual = Commands{Start: sh("touch up; echo start >> runs"), Stop: sh("rm -f up; echo stop >> runs"), Status: sh("test -e up || exit 3")}

func TestStartStopsAndStartsAgain(t *testing.T) {
	s := open(t)
	c := s.compute(usual, time.Minute)
	for generation := uint64(1); generation <= 2; generation++ {
		b, err := c.Start(t.Context(), size)
		if err != nil || b.Generation != generation || b.Address != filepath.Join(s.dir, "socket") {
			t.Fatalf("%+v, %v", b, err)
		}
		if running, err := c.Running(t.Context()); !running || err != nil {
			t.Errorf("running: %v, %v", running, err)
		}
		if err := c.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.read("runs"); got != "start\nstop\nstart\nstop\n" {
		t.Errorf("ran %q", got)
	}
}

func TestOneThatRunsIsAdopted(t *testing.T) {
	s := open(t)
	c := s.compute(usual, time.Minute)
	if err := os.WriteFile(filepath.Join(s.dir, "up"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(t.Context(), size); err != nil {
		t.Fatal(err)
	}
	if got := s.read("runs"); got != "" {
		t.Errorf("ran %q", got)
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWhatACommandIsTold(t *testing.T) {
	s := open(t)
	commands := usual
	commands.Start = sh("touch up; env | grep -E 'SERVERLESSPROXY|TOKEN' | sort > told")
	commands.Resize = sh("echo \"$SERVERLESSPROXY_ACTION $SERVERLESSPROXY_CAPACITY $1\" > resized")
	c := s.compute(commands, time.Minute)
	before, err := c.Start(t.Context(), size)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop(t.Context())
	want := fmt.Sprintf(`SERVERLESSPROXY_ACTION=start
SERVERLESSPROXY_ADDRESS=%s
SERVERLESSPROXY_CAPACITY=4
SERVERLESSPROXY_CLUSTER=shop
SERVERLESSPROXY_CPU=1.5
SERVERLESSPROXY_ENGINE=postgres
SERVERLESSPROXY_MAX_CONNECTIONS=833
SERVERLESSPROXY_MEMORY=8589934592
TOKEN=x
`, filepath.Join(s.dir, "socket"))
	if got := s.read("told"); got != want {
		t.Errorf("told\n%s\nwant\n%s", got, want)
	}
	after, err := c.Resize(t.Context(), acu.Size{Capacity: 8})
	if err != nil || after != before {
		t.Errorf("resized in place: %+v, %v", after, err)
	}
	if got := s.read("resized"); got != "resize 8 8\n" {
		t.Errorf("resize was told %q", got)
	}
}

func TestAStartThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		start []string
		limit time.Duration
		want  string
	}{
		"says why":       {sh("echo one; echo disk full >&2; exit 7"), time.Minute, "exit status 7; its output"},
		"and how":        {sh("echo one; echo disk full >&2; exit 7"), time.Minute, "\n    disk full"},
		"too long":       {sh("touch up; echo begun; sleep 60"), 300 * time.Millisecond, "not done within"},
		"ends at once":   {sh("echo gone"), time.Minute, "its status command says that it is stopped"},
		"no such script": {[]string{"/nowhere/start"}, time.Minute, "/nowhere/start"},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			commands := usual
			commands.Start = c.start
			compute := s.compute(commands, c.limit)
			began := time.Now()
			_, err := compute.Start(t.Context(), size)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if s.ping(t.Context()) == nil || time.Since(began) > 30*time.Second {
				t.Error("it still runs, or was waited for")
			}
			if compute.Exited() != nil {
				t.Error("what did not start is watched")
			}
		})
	}
}

func TestItsEndIsNoticed(t *testing.T) {
	s := open(t)
	c := s.compute(usual, time.Minute)
	if _, err := c.Start(t.Context(), size); err != nil {
		t.Fatal(err)
	}
	defer c.Stop(t.Context())
	if c.ExitReason() != "" {
		t.Error(c.ExitReason())
	}
	if err := os.Remove(filepath.Join(s.dir, "up")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.Exited():
	case <-time.After(20 * time.Second):
		t.Fatal("not noticed")
	}
	if !strings.Contains(c.ExitReason(), errStopped.Error()) {
		t.Error(c.ExitReason())
	}
}

// Without a status command a server is there while somebody listens.
func TestStopWaitsUntilItIsGone(t *testing.T) {
	s := open(t)
	listener, err := net.Listen("unix", filepath.Join(s.dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	commands := Commands{Start: sh("exit 1"), Stop: sh("touch stopped")}
	c := s.compute(commands, 300*time.Millisecond)
	if err := c.Stop(t.Context()); err == nil || !strings.Contains(err.Error(), "still runs") {
		t.Errorf("one that goes on: %v", err)
	}
	c = s.compute(commands, 30*time.Second)
	var ending sync.WaitGroup
	ending.Go(func() {
		for !s.exists("stopped") {
			time.Sleep(time.Millisecond)
		}
		listener.Close()
	})
	if err := c.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	ending.Wait()
	if err := c.Stop(t.Context()); err != nil {
		t.Errorf("again: %v", err)
	}
}

func (s shop) exists(name string) bool {
	_, err := os.Stat(filepath.Join(s.dir, name))
	return err == nil
}

// A stop that fails is an error only while the server is there.
func TestAStopThatFails(t *testing.T) {
	s := open(t)
	commands := usual
	commands.Stop = sh("echo not today; exit 1")
	c := s.compute(commands, time.Minute)
	if err := c.Stop(t.Context()); err != nil {
		t.Errorf("of a server that is gone: %v", err)
	}
	if _, err := c.Start(t.Context(), size); err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(t.Context()); err == nil || !strings.Contains(err.Error(), "not today") {
		t.Errorf("of one that runs: %v", err)
	}
}

func TestOutputIsKeptShort(t *testing.T) {
	s := open(t)
	r := runner{dir: s.dir, limit: time.Minute}
	if err := r.run(t.Context(), order{action: "stop", program: sh("head -c 1500000 /dev/zero; echo; echo the end")}); err != nil {
		t.Fatal(err)
	}
	err := r.run(t.Context(), order{action: "stop", program: sh("echo anew; exit 2")})
	if err == nil || !strings.Contains(err.Error(), "anew") || strings.Contains(err.Error(), "the end") {
		t.Errorf("%.200v", err)
	}
	if n := len(s.read(outputName)); n > 100 {
		t.Errorf("%d bytes are kept", n)
	}
	if old := s.read(outputOld); len(old) != outputLimit || !strings.HasSuffix(old, "the end\n") {
		t.Errorf("%d older bytes are kept", len(old))
	}
}

func TestCancelled(t *testing.T) {
	s := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := runner{dir: s.dir, limit: time.Minute}
	if err := r.run(ctx, order{action: "stop", program: sh("sleep 60")}); err == nil {
		t.Error(err)
	}
}
