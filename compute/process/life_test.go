package process_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"serverlessproxy/compute/process"
)

func TestCreateServeAndStop(t *testing.T) {
	t.Setenv("SERVERLESSPROXY_SECRET", "not for the engine")
	at := room(t)
	c := compute(at)
	began := time.Now()
	created, err := c.Create(limited(t), master)
	if err != nil || !created {
		t.Fatalf("create: %v, %v", created, err)
	}
	t.Logf("create took %v", time.Since(began).Round(time.Millisecond))
	if again, err := c.Create(limited(t), master); again || err != nil {
		t.Fatalf("what is there is used, not made again: %v, %v", again, err)
	}
	for _, dir := range []string{at.Data, at.Run, at.Data + "/log", at.Data + "/db"} {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if owner := info.Sys().(*syscall.Stat_t); info.Mode().Perm() != 0o700 || int(owner.Uid) != at.UID || int(owner.Gid) != at.GID {
			t.Errorf("%s is %v of %d:%d", dir, info.Mode(), owner.Uid, owner.Gid)
		}
	}

	b := start(t, c)
	if b.Network != "unix" || b.Generation != 1 {
		t.Errorf("backend %+v", b)
	}
	conn := dial(t, b)
	for sql, want := range map[string]string{
		"select current_user":          "app",
		"show listen_addresses":        "",
		"show fsync":                   "on",
		"show data_checksums":          "on",
		"show max_connections":         "30",
		"show cluster_name":            "test",
		"show server_encoding":         "UTF8",
		"show unix_socket_permissions": "0700",
		"select (select rolsuper or rolreplication or rolbypassrls from pg_roles where rolname='app')::text":    "false",
		"select (select rolcreatedb and rolcreaterole and rolcanlogin from pg_roles where rolname='app')::text": "true",
		"select pg_get_userbyid(datdba)::text from pg_database where datname='app'":                             "app",
		"select pg_has_role('pg_signal_backend', 'usage')::text":                                                "true",
	} {
		if got := query(t, conn, sql); got != want {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
	}
	checkChild(t, postmaster(at))

	pid := postmaster(at)
	again, err := c.Start(limited(t), small)
	if err != nil || again != b || postmaster(at) != pid {
		t.Errorf("a second start: %+v, %v", again, err)
	}
	larger := small
	larger.Capacity, larger.Memory = 4, 2*small.Memory
	if resized, err := c.Resize(limited(t), larger); err != nil || resized != b {
		t.Errorf("resize: %+v, %v", resized, err)
	}
	exited := c.Exited()
	stop(t, c)
	if left := within(filepath.Dir(at.Data)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	select {
	case <-exited:
		t.Error("a stop that was asked for counts as an exit")
	default:
	}
	if b := start(t, c); b.Generation != 2 {
		t.Errorf("generation after a restart: %d", b.Generation)
	}
}

// checkChild looks at how a child runs.
func checkChild(t *testing.T, pid int) {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", pid)
	environment, err := os.ReadFile(proc + "environ")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(environment), "SERVERLESSPROXY_SECRET") || !strings.Contains(string(environment), "LC_ALL=C.UTF-8") {
		t.Errorf("environment: %q", environment)
	}
	if session, err := syscall.Getpgid(pid); err != nil || session != pid {
		t.Errorf("process group %d, %v: not its own", session, err)
	}
	limits, _ := os.ReadFile(proc + "limits")
	for line := range strings.Lines(string(limits)) {
		if f := strings.Fields(line); strings.HasPrefix(line, "Max open files") && f[3] != f[4] {
			t.Errorf("open files: %s of %s allowed", f[3], f[4])
		}
	}
	command, _ := os.ReadFile(proc + "cmdline")
	if strings.Contains(string(command), string(master.Password)) {
		t.Error("the password is in the command line")
	}
}

func TestPasswordIsNowhere(t *testing.T) {
	at := filled(t)
	for _, file := range []string{"log/engine.log"} {
		text, err := os.ReadFile(filepath.Join(at.Data, file))
		if err != nil {
			t.Fatal(err)
		}
		if len(text) == 0 || strings.Contains(string(text), string(master.Password)) || strings.Contains(string(text), "SCRAM-SHA-256$") {
			t.Errorf("%s: %q", file, text)
		}
	}
}

// An engine that is killed with a backend at work is seen to be gone, what is
// left of it is ended, and the next start has every committed row.
func TestCrashIsRecovered(t *testing.T) {
	at := filled(t)
	c := compute(at)
	b := start(t, c)
	conn := dial(t, b)
	run(t, conn, "create table t as select generate_series(1, 1000) as i")
	busy := dial(t, b)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = busy.Exec(context.Background(), "select count(*) from generate_series(1, 1000000000000)")
	}()
	eventually(t, "a backend at work", func() bool {
		return query(t, conn, "select count(*)::text from pg_stat_activity where state = 'active' and query like '%generate_series(1, 10%'") != "0"
	})
	exited := c.Exited()
	killed := postmaster(at)
	if err := syscall.Kill(killed, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	closes(t, exited, "word of the engine's end")
	if why := c.ExitReason(); !strings.Contains(why, "was killed (137)") {
		t.Errorf("reason: %q", why)
	}
	if len(within(filepath.Dir(at.Data))) == 0 {
		t.Error("the backend at work has gone by itself: this test shows nothing")
	}
	next := start(t, c)
	if next.Generation <= b.Generation {
		t.Errorf("generation %d after %d", next.Generation, b.Generation)
	}
	if n := query(t, dial(t, next), "select count(*)::text from t"); n != "1000" {
		t.Errorf("%s rows", n)
	}
	closes(t, done, "the end of the lost query")
}

// A stop after a crash leaves none of its processes either.
func TestStopAfterCrashLeavesNothing(t *testing.T) {
	at := filled(t)
	c := compute(at)
	b := start(t, c)
	busy := dial(t, b)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = busy.Exec(context.Background(), "select count(*) from generate_series(1, 1000000000000)")
	}()
	conn := dial(t, b)
	eventually(t, "a backend at work", func() bool {
		return query(t, conn, "select count(*)::text from pg_stat_activity where state = 'active' and query like '%generate_series(1, 10%'") != "0"
	})
	exited := c.Exited()
	_ = syscall.Kill(postmaster(at), syscall.SIGKILL)
	closes(t, exited, "word of the engine's end")
	stop(t, c)
	// One that was killed may take a moment to go on a busy machine.
	eventually(t, "nothing left behind", func() bool { return len(within(filepath.Dir(at.Data))) == 0 })
	closes(t, done, "the end of the lost query")
}

func TestAdopt(t *testing.T) {
	at := filled(t)
	first := compute(at)
	if running, err := first.Running(limited(t)); running || err != nil {
		t.Fatalf("nothing runs yet: %v, %v", running, err)
	}
	b := start(t, first)
	pid := postmaster(at)
	conn := dial(t, b)

	second := compute(at)
	if running, err := second.Running(limited(t)); !running || err != nil {
		t.Fatalf("an engine runs: %v, %v", running, err)
	}
	adopted := start(t, second)
	if adopted.Address != b.Address || postmaster(at) != pid {
		t.Fatalf("adopted %+v, process %d; was %+v, %d", adopted, postmaster(at), b, pid)
	}
	query(t, conn, "select 'still there'")

	t.Run("its end is seen", func(t *testing.T) {
		exited := second.Exited()
		_ = syscall.Kill(pid, syscall.SIGKILL)
		closes(t, exited, "word of the adopted engine's end")
		closes(t, first.Exited(), "the first one's")
		if second.ExitReason() == "" {
			t.Error("no reason")
		}
	})
	t.Run("it is stopped", func(t *testing.T) {
		b := start(t, second)
		third := compute(at)
		start(t, third)
		run(t, dial(t, b), "create table kept (i int)")
		exited := third.Exited()
		stop(t, third)
		select {
		case <-exited:
			t.Error("a stop that was asked for counts as an exit")
		default:
		}
		if left := within(filepath.Dir(at.Data)); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	t.Run("without its record", func(t *testing.T) {
		start(t, first)
		pid := postmaster(at)
		if err := os.Remove(at.Run + "/engine.json"); err != nil {
			t.Fatal(err)
		}
		fourth := compute(at)
		start(t, fourth)
		if postmaster(at) != pid {
			t.Error("not adopted")
		}
	})
	t.Run("one that stops", func(t *testing.T) {
		start(t, first)
		pid := postmaster(at)
		_ = syscall.Kill(pid, syscall.SIGINT)
		fifth := compute(at)
		b := start(t, fifth)
		query(t, dial(t, b), "select 'served'")
	})
	t.Run("Stop alone", func(t *testing.T) {
		start(t, first)
		sixth := compute(at)
		stop(t, sixth)
		if left := within(filepath.Dir(at.Data)); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

// A server that somebody else runs on the data is neither used nor ended.
func TestForeignServerIsLeftAlone(t *testing.T) {
	at := filled(t)
	elsewhere := filepath.Join(filepath.Dir(at.Data), "other")
	_ = os.Mkdir(elsewhere, 0o700)
	_ = os.Chown(elsewhere, at.UID, at.GID)
	served := engine(nil).Serve(at, small)
	other := exec.Command(served.Path, "-D", at.Data+"/db", "-c", "listen_addresses=", "-c", "unix_socket_directories="+elsewhere)
	other.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if os.Geteuid() == 0 {
		other.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(at.UID), Gid: uint32(at.GID)}
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = other.Process.Signal(syscall.SIGINT)
		_ = other.Wait()
	}()
	eventually(t, "the other server", func() bool { return engine(nil).Announced(at, other.Process.Pid) })

	c := compute(at)
	_, err := c.Start(limited(t), small)
	if !errors.Is(err, process.ErrForeign) || !strings.Contains(err.Error(), fmt.Sprint(other.Process.Pid)) {
		t.Errorf("start: %v", err)
	}
	if err := c.Stop(limited(t)); !errors.Is(err, process.ErrForeign) {
		t.Errorf("stop: %v", err)
	}
	conn, err := pgx.Connect(limited(t), "user=app dbname=app sslmode=disable host="+elsewhere)
	if err != nil {
		t.Fatalf("the other server was harmed: %v", err)
	}
	_ = conn.Close(context.Background())
}

// deaf does not stop when it is asked to.
type deaf struct{ process.Engine }

func (deaf) StopSignal() syscall.Signal { return syscall.SIGWINCH }

func TestStopHasAnEnd(t *testing.T) {
	at := filled(t)
	c := process.New(process.Config{Name: "test", Engine: deaf{engine(nil)}, Place: at, Log: quiet, StopTimeout: 200 * time.Millisecond})
	b := start(t, c)
	run(t, dial(t, b), "create table kept as select 1 as i")
	stop(t, c)
	if left := within(filepath.Dir(at.Data)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	healed := compute(at)
	if n := query(t, dial(t, start(t, healed)), "select count(*)::text from kept"); n != "1" {
		t.Errorf("%s rows after the hard stop", n)
	}
}

// recovering answers again only after some questions.
type recovering struct {
	process.Engine
	refusals *int
	stopped  *bool
}

func (r recovering) Ready(ctx context.Context, network, address string) error {
	if *r.refusals > 0 {
		*r.refusals--
		return errors.New("the database system is in recovery mode")
	}
	return r.Engine.Ready(ctx, network, address)
}

func (r recovering) StopSignal() syscall.Signal {
	*r.stopped = *r.refusals == 0
	return r.Engine.StopSignal()
}

func TestStopWaitsForRecovery(t *testing.T) {
	refusals, stopped := 0, false
	c := with(filled(t), recovering{engine(nil), &refusals, &stopped})
	start(t, c)
	refusals = 3
	stop(t, c)
	if !stopped {
		t.Errorf("it was told to stop with %d refusals to come", refusals)
	}
}

// mute never answers.
type mute struct{ process.Engine }

func (mute) Ready(context.Context, string, string) error { return errors.New("no answer") }

func TestStartHasAnEnd(t *testing.T) {
	at := filled(t)
	c := with(at, mute{engine(nil)})
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	_, err := c.Start(ctx, small)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("start: %v", err)
	}
	if left := within(filepath.Dir(at.Data)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
