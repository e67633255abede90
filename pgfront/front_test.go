package pgfront_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func code(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return fmt.Sprint(err)
}

func TestQueries(t *testing.T) {
	h := open(t)
	for _, mode := range []string{"simple_protocol", "exec", "cache_statement", "cache_describe"} {
		conn := h.connect("default_query_exec_mode=" + mode)
		var n int
		var s string
		if err := conn.QueryRow(h.ctx(), "select $1::int + 1, $2::text", 41, "x'y").Scan(&n, &s); err != nil || n != 42 || s != "x'y" {
			t.Errorf("%s: %d %q %v", mode, n, s, err)
		}
		if _, err := conn.Exec(h.ctx(), "select 1/0"); code(err) != "22012" {
			t.Errorf("%s: %v", mode, err)
		}
	}
	conn := h.connect("")
	batch := &pgx.Batch{}
	for i := range 500 {
		batch.Queue("select $1::int", i)
	}
	results := conn.SendBatch(h.ctx(), batch)
	for i := range 500 {
		var n int
		if err := results.QueryRow().Scan(&n); err != nil || n != i {
			t.Fatalf("query %d of a batch: %d, %v", i, n, err)
		}
	}
	if err := results.Close(); err != nil {
		t.Error(err)
	}
}

func TestCopy(t *testing.T) {
	h := open(t)
	conn := h.connect("")
	ctx := h.ctx()
	if _, err := conn.Exec(ctx, "create temp table t (n int, s text)"); err != nil {
		t.Fatal(err)
	}
	rows := make([][]any, 100_000)
	for i := range rows {
		rows[i] = []any{i, strings.Repeat("x", i%100)}
	}
	n, err := conn.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"n", "s"}, pgx.CopyFromRows(rows))
	if err != nil || n != 100_000 {
		t.Fatal(n, err)
	}
	var out countingWriter
	if _, err := conn.PgConn().CopyTo(ctx, &out, "copy t to stdout"); err != nil || out < 5_000_000 {
		t.Errorf("%d bytes out, %v", out, err)
	}
	if _, err := conn.PgConn().CopyFrom(ctx, strings.NewReader("1\tx\nbad\ty\n"), "copy t from stdin"); code(err) != "22P02" {
		t.Error(err)
	}
	if err := conn.Ping(ctx); err != nil {
		t.Error(err)
	}
}

type countingWriter int

func (w *countingWriter) Write(b []byte) (int, error) {
	*w += countingWriter(len(b))
	return len(b), nil
}

func TestNotify(t *testing.T) {
	h := open(t)
	listener, notifier := h.connect(""), h.connect("")
	if _, err := listener.Exec(h.ctx(), "listen news"); err != nil {
		t.Fatal(err)
	}
	if _, err := notifier.Exec(h.ctx(), "notify news, 'hello'"); err != nil {
		t.Fatal(err)
	}
	n, err := listener.WaitForNotification(h.ctx())
	if err != nil || n.Payload != "hello" || n.PID != notifier.PgConn().PID() {
		t.Errorf("%+v, %v", n, err)
	}
}

func TestCancel(t *testing.T) {
	h := open(t)
	conn, other := h.connect(""), h.connect("")
	var pid uint32
	if err := conn.QueryRow(h.ctx(), "select pg_backend_pid()").Scan(&pid); err != nil || pid != conn.PgConn().PID() {
		t.Errorf("the client knows %d, the engine %d, %v", conn.PgConn().PID(), pid, err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), "select pg_sleep(30)")
		done <- err
	}()
	eventually(t, "the query runs", func() bool {
		var state string
		other.QueryRow(h.ctx(), "select state from pg_stat_activity where pid = $1", pid).Scan(&state)
		return state == "active"
	})
	if err := conn.PgConn().CancelRequest(h.ctx()); err != nil {
		t.Error(err)
	}
	select {
	case err := <-done:
		if code(err) != "57014" {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("not cancelled")
	}
	if err := conn.Ping(h.ctx()); err != nil {
		t.Error(err)
	}
}

func TestParametersAreTheEngines(t *testing.T) {
	h := open(t)
	direct, err := server.connect(h.ctx(), "app", "app")
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close(context.Background())
	through := h.connect("")
	for _, name := range []string{"server_version", "server_encoding", "client_encoding", "is_superuser", "session_authorization", "DateStyle", "IntervalStyle", "TimeZone", "integer_datetimes", "standard_conforming_strings", "in_hot_standby", "default_transaction_read_only", "application_name"} {
		if want, got := direct.PgConn().ParameterStatus(name), through.PgConn().ParameterStatus(name); got != want || name == "server_version" && got == "" {
			t.Errorf("%s: %q, directly %q", name, got, want)
		}
	}
}

func TestPrograms(t *testing.T) {
	h := open(t)
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(h.ctx(), name, args...)
		cmd.Env = append(cmd.Environ(), "PGPASSWORD=secret", "PGHOST=127.0.0.1", fmt.Sprint("PGPORT=", h.address.Port), "PGUSER=app", "PGDATABASE=app", "PGSSLMODE=prefer")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s %v: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	if out := run("psql", "-Atc", "select 6*7"); out != "42\n" {
		t.Errorf("psql: %q", out)
	}
	run("pgbench", "-i", "-q", "-s", "1")
	for _, protocol := range []string{"simple", "extended", "prepared"} {
		out := run("pgbench", "-n", "-c", "8", "-j", "2", "-t", "40", "-M", protocol)
		if !strings.Contains(out, "number of transactions actually processed: 320/320") || !strings.Contains(out, "failed transactions: 0") {
			t.Errorf("pgbench %s: %s", protocol, out)
		}
	}
	if n := h.tally.Transactions.Load(); n < 960 {
		t.Errorf("%d transactions counted", n)
	}
}
