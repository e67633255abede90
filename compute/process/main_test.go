package process_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
	"serverlessproxy/compute/process"
	"serverlessproxy/engine/postgres"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.Cleanup(cleanUp)) }

var (
	small  = acu.Size{Capacity: 1, Memory: 1 << 30, CPU: 1, MaxConnections: 30}
	master = process.Master{User: "app", Database: "app", Password: "s3cret-pass"}
)

// room is a place for a cluster that the engine's user can enter, which
// testing's own temporary directories do not allow. At its end nothing may
// run in it.
func room(t *testing.T) process.Place {
	t.Helper()
	base, err := os.MkdirTemp("", "slp")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, pid := range within(base) {
			t.Errorf("process %d was left behind", pid)
			_ = exec.Command("kill", "-QUIT", strconv.Itoa(pid)).Run()
		}
		_ = os.RemoveAll(base)
	})
	uid, gid, err := process.Owner("postgres")
	if err != nil {
		t.Fatal(err)
	}
	return process.Place{Data: filepath.Join(base, "c", "data"), Run: filepath.Join(base, "c", "run"), UID: uid, GID: gid}
}

// within are the processes that work in a directory.
func within(base string) []int {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	var pids []int
	for _, link := range links {
		if at, err := os.Readlink(link); err == nil && strings.HasPrefix(at, base+"/") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(link)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// template is a cluster that is made once and copied for each test.
var template struct {
	sync.Once
	dir string
	err error
}

func cleanUp(code int) {
	if template.dir != "" {
		_ = os.RemoveAll(template.dir)
	}
	os.Exit(code)
}

// filled is a room with a cluster in it.
func filled(t *testing.T) process.Place {
	t.Helper()
	template.Do(func() {
		template.dir, template.err = os.MkdirTemp("", "slp")
		if template.err != nil {
			return
		}
		_ = os.Chmod(template.dir, 0o755)
		uid, gid, _ := process.Owner("postgres")
		at := process.Place{Data: template.dir + "/data", Run: template.dir + "/run", UID: uid, GID: gid}
		_, template.err = compute(at).Create(context.Background(), master)
	})
	if template.err != nil {
		t.Fatal(template.err)
	}
	at := room(t)
	if err := os.Mkdir(filepath.Dir(at.Data), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", template.dir+"/data", at.Data).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return at
}

var quiet = slog.New(slog.DiscardHandler)

func engine(parameters map[string]string) *postgres.Engine {
	return postgres.New(postgres.Config{Name: "test", BinDir: os.Getenv("SERVERLESSPROXY_TEST_POSTGRES_BIN"), Parameters: parameters, Log: quiet})
}

func compute(at process.Place) *process.Compute { return with(at, engine(nil)) }

func with(at process.Place, e process.Engine) *process.Compute {
	return process.New(process.Config{Name: "test", Engine: e, Place: at, Log: quiet})
}

// limited is a context for one step of a test.
func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// start starts an engine which is stopped at the test's end.
func start(t *testing.T, c *process.Compute) cluster.Backend {
	t.Helper()
	began := time.Now()
	b, err := c.Start(limited(t), small)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("start took %v", time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() { stop(t, c) })
	return b
}

func stop(t *testing.T, c *process.Compute) {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.Stop(ctx); err != nil {
		t.Error(err)
	}
	t.Logf("stop took %v", time.Since(began).Round(time.Millisecond))
}

// dial connects as the master.
func dial(t *testing.T, b cluster.Backend) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(limited(t), fmt.Sprintf("host=%s user=app dbname=app sslmode=disable", filepath.Dir(b.Address)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func query(t *testing.T, conn *pgx.Conn, sql string) string {
	t.Helper()
	var value string
	if err := conn.QueryRow(limited(t), sql).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

func run(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(limited(t), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// postmaster is the server's process, 0 for none.
func postmaster(at process.Place) int { return engine(nil).PID(at) }

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("in vain waited for: %s", what)
}

func closes(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("in vain waited for: %s", what)
	}
}
