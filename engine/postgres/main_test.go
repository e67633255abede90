package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"serverlessproxy/acu"
	"serverlessproxy/compute/process"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	quiet  = slog.New(slog.DiscardHandler)
	small  = acu.Size{Capacity: 1, Memory: 1 << 30, CPU: 1, MaxConnections: 40}
	master = process.Master{User: `app "quoted"`, Database: "app's", Password: "pässword ½"}
)

// server is a real server with a master, stopped at the test's end.
type server struct {
	*process.Compute
	place process.Place
	dial  Dial
}

// serve makes and starts a server in a directory whose name has in it what
// needs quoting.
func serve(t *testing.T, parameters map[string]string) *server {
	t.Helper()
	base, err := os.MkdirTemp("", `sl'p, "x" `)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	uid, gid, err := process.Owner("postgres")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{place: process.Place{Data: base + "/data", Run: base + "/run", UID: uid, GID: gid}}
	engine := New(Config{Name: "Tëst", BinDir: os.Getenv("SERVERLESSPROXY_TEST_POSTGRES_BIN"), Parameters: parameters, Log: quiet})
	s.Compute = process.New(process.Config{Name: "test", Engine: engine, Place: s.place, Log: quiet})
	if _, err := s.Create(limited(t), master); err != nil {
		t.Fatal(err)
	}
	s.start(t)
	t.Cleanup(func() { s.stop(t) })
	return s
}

func (s *server) start(t *testing.T) {
	t.Helper()
	b, err := s.Start(limited(t), small)
	if err != nil {
		t.Fatal(err)
	}
	s.dial = Dial{Network: b.Network, Address: b.Address}
}

func (s *server) stop(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// as connects as somebody.
func (s *server) as(t *testing.T, user, database string) *pgx.Conn {
	t.Helper()
	d := s.dial
	d.User = user
	config, err := d.config(database, nil)
	if err != nil {
		t.Fatal(err)
	}
	config.ConnectTimeout = 0 // limited is longer, for a machine with other work
	conn, err := pgx.ConnectConfig(limited(t), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func run(t *testing.T, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if _, err := conn.Exec(limited(t), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

func ask(t *testing.T, conn *pgx.Conn, sql string) string {
	t.Helper()
	var value string
	if err := conn.QueryRow(limited(t), sql).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// hosted is a server as somebody else would run one: over TCP, with passwords.
// It serves the data of s, which is stopped for it, and has a role "service".
func (s *server) hosted(t *testing.T) Dial {
	t.Helper()
	s.stop(t)
	rules := filepath.Join(s.place.Run, "hosted_hba.conf")
	if err := os.WriteFile(rules, []byte("host all all 127.0.0.1/32 scram-sha-256\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	found, err := New(Config{BinDir: os.Getenv("SERVERLESSPROXY_TEST_POSTGRES_BIN"), Log: quiet}).installed(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-D", dataDir(s.place), "-c", "listen_addresses=127.0.0.1", "-c", "port=" + strconv.Itoa(port), "-c", "unix_socket_directories=", "-c", "hba_file=" + rules}
	path := found[0].path("postgres")
	if os.Geteuid() == 0 {
		args = append([]string{fmt.Sprintf("--reuid=%d", s.place.UID), fmt.Sprintf("--regid=%d", s.place.GID), "--clear-groups", path}, args...)
		path = "setpriv"
	}
	var log strings.Builder
	cmd := exec.Command(path, args...)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(New(Config{Log: quiet}).StopSignal())
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, log.String())
		}
	})
	d := Dial{Network: "tcp", Address: fmt.Sprintf("127.0.0.1:%d", port), User: "service", Password: "serves"}
	eventually(t, "the hosted server", func() bool {
		conn, err := d.control(limited(t))
		if err == nil {
			_ = conn.Close(context.Background())
		}
		return err == nil
	})
	return d
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("in vain waited for: %s", what)
}
