package pgfront_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"serverlessproxy/cluster"
	"serverlessproxy/pgfront"
	"serverlessproxy/pool"
	"serverlessproxy/router"
)

// parkAll parks everybody and has the cluster serve under another generation:
// nobody can go on with an old backend.
func (h *house) parkAll() {
	h.t.Helper()
	b := engineBackend()
	b.Generation = h.cluster.Status().Backend.Generation + 1
	h.cluster.Sleep()
	if err := h.pool.Park(h.ctx()); err != nil {
		h.t.Fatalf("%v: %+v", err, h.pool.Sessions())
	}
	h.cluster.Serve(b)
}

func (h *house) value(conn *pgx.Conn, sql string, args ...any) string {
	h.t.Helper()
	var v any
	if err := conn.QueryRow(h.ctx(), sql, args...).Scan(&v); err != nil {
		h.t.Errorf("%s: %v", sql, err)
	}
	return fmt.Sprint(v)
}

func (h *house) exec(conn *pgx.Conn, sql string, args ...any) {
	h.t.Helper()
	if _, err := conn.Exec(h.ctx(), sql, args...); err != nil {
		h.t.Errorf("%s: %v", sql, err)
	}
}

func TestSettingsOutliveTheBackend(t *testing.T) {
	for _, more := range []string{"", "sslmode=require"} {
		h := open(t)
		conn := h.connect(more)
		h.exec(conn, "set work_mem = '7MB'; set search_path = \"$user\", public, \"O'dd\"; set myapp.user_id = 'it''s'; set application_name = 'name'; set statement_timeout = '1min'; set default_transaction_read_only = on")
		h.exec(conn, "select set_config($1, $2, false)", "other.thing", "x")
		before := h.value(conn, "select pg_backend_pid()")
		h.parkAll()
		h.eventuallyIn(pool.Parked, 1)
		for sql, want := range map[string]string{
			"show work_mem": "7MB", "show search_path": `"$user", public, "O'dd"`, "show myapp.user_id": "it's",
			"show application_name": "name", "show statement_timeout": "1min", "show transaction_read_only": "on",
			"show other.thing": "x",
		} {
			if got := h.value(conn, sql); got != want {
				t.Errorf("%s: %q, want %q", sql, got, want)
			}
		}
		if h.value(conn, "select pg_backend_pid()") == before {
			t.Error("the backend is the same")
		}
	}
}

func TestPreparedStatementsOutliveTheBackend(t *testing.T) {
	h := open(t)
	conn := h.connect("")
	h.exec(conn, "create table if not exists kept (n int, s text); truncate kept; insert into kept values (1, 'one')")
	raw := conn.PgConn()
	if _, err := raw.Prepare(h.ctx(), "by_n", "select s from kept where n = $1", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := raw.Prepare(h.ctx(), "", "select n from kept where s = $1", nil); err != nil {
		t.Fatal(err)
	}
	one := func(name, value string) string {
		t.Helper()
		r := raw.ExecPrepared(h.ctx(), name, [][]byte{[]byte(value)}, nil, nil).Read()
		if r.Err != nil || len(r.Rows) != 1 {
			t.Errorf("%q: %v", name, r.Err)
			return ""
		}
		return string(r.Rows[0][0])
	}
	for range 2 {
		h.parkAll()
		if got := one("", "one"); got != "1" {
			t.Errorf("unnamed: %q", got)
		}
		if got := one("by_n", "1"); got != "one" {
			t.Errorf("named: %q", got)
		}
	}
	h.exec(conn, "prepare q (int) as select $1 + 1")
	h.parkAll()
	if got := h.value(conn, "execute q (41)"); got != "42" {
		t.Errorf("by SQL: %s", got)
	}
	if got := h.value(conn, "select string_agg(name, ',' order by name) from pg_prepared_statements where from_sql or name = 'by_n'"); got != "by_n,q" {
		t.Errorf("listed: %s", got)
	}
	h.exec(conn, "deallocate by_n")
	h.parkAll()
	if r := raw.ExecPrepared(h.ctx(), "by_n", [][]byte{[]byte("1")}, nil, nil).Read(); code(r.Err) != "26000" {
		t.Errorf("after DEALLOCATE: %v", r.Err)
	}
}

func TestRoleOutlivesTheBackend(t *testing.T) {
	h := open(t)
	conn := h.connect("user=boss")
	h.exec(conn, "set session authorization app")
	h.parkAll()
	if got := h.value(conn, "select session_user::text || ' ' || current_user"); got != "app app" {
		t.Error(got)
	}
	h.exec(conn, "reset session authorization; set role app")
	h.parkAll()
	if got := h.value(conn, "select session_user::text || ' ' || current_user"); got != "boss app" {
		t.Error(got)
	}
}

// pinned is why a session cannot be parked.
func (h *house) pinned() string {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.ctx(), time.Second) // whoever has not answered by then counts as in a transaction
	defer cancel()
	var holdouts *cluster.Holdouts
	if err := h.pool.Park(ctx); !errors.As(err, &holdouts) {
		h.t.Errorf("not pinned: %v", err)
		return ""
	}
	return strings.Join(holdouts.Sessions[0].Reasons, ",")
}

func TestPins(t *testing.T) {
	h := open(t)
	for _, c := range []struct{ set, want, unset string }{
		{"begin", "transaction", "rollback"},
		{"create temp table tt (n int)", "temporary_object", "drop table tt"},
		{"create type pg_temp.tt as (n int)", "temporary_object", "drop type pg_temp.tt"},
		{"create function pg_temp.f() returns int language sql as 'select 1'", "temporary_object", "drop function pg_temp.f()"},
		{"select pg_advisory_lock(7)", "advisory_lock", "select pg_advisory_unlock(7)"},
		{"begin; declare c cursor with hold for select 1; commit", "cursor", "close c"},
		{"prepare a as select 1; select 2", "prepared_text", "deallocate a"},
	} {
		conn := h.connect("default_query_exec_mode=simple_protocol")
		h.exec(conn, c.set)
		if c.want != "" {
			if got := h.pinned(); got != c.want {
				t.Errorf("%s: pinned by %q, want %q", c.set, got, c.want)
			}
			h.exec(conn, c.unset)
			h.parkAll()
			h.exec(conn, "select 1")
		}
		conn.Close(h.ctx())
		h.eventuallyGone(0)
	}
}

// What asks only whether the connection lives is answered without the engine,
// byte for byte as the engine does.
func TestKeepalives(t *testing.T) {
	h := open(t, withTarget(func(t *router.Target) { t.KeepaliveQueries = []string{"SELECT 1", "/* ping */ SELECT 1", "-- ping"} }))
	_, conn := h.raw()
	ask := func(request []byte) string {
		t.Helper()
		if _, err := conn.Write(request); err != nil {
			t.Fatal(err)
		}
		var got []byte
		b := make([]byte, 4096)
		for !strings.HasSuffix(string(got), "Z\x00\x00\x00\x05I") {
			n, err := conn.Read(b)
			if err != nil {
				t.Fatalf("%q: %v", got, err)
			}
			got = append(got, b[:n]...)
		}
		return string(got)
	}
	bind := func(formats string) []byte { return message('B', "\x00\x00\x00\x00\x00\x00"+formats) }
	parse, run, done := message('P', "\x00SELECT 1\x00\x00\x00"), message('E', "\x00\x00\x00\x00\x00"), message('S', "")
	requests := map[string][]byte{
		"Sync": done, "empty": query(""), "ping": query("-- ping"), "simple": query("SELECT 1"), "commented": query("/* ping */ SELECT 1"),
		"extended": join(parse, bind("\x00\x00"), message('D', "P\x00"), run, done),
		"binary":   join(parse, message('D', "S\x00"), bind("\x00\x01\x00\x01"), message('D', "P\x00"), run, done),
		"again":    join(bind("\x00\x00"), run, done),
		"nothing":  join(message('P', "\x00\x00\x00\x00"), bind("\x00\x00"), message('D', "P\x00"), run, done),
	}
	order := []string{"Sync", "empty", "ping", "simple", "commented", "extended", "again", "binary", "nothing"}
	want := map[string]string{}
	for _, name := range order {
		want[name] = ask(requests[name])
	}
	h.parkAll()
	h.cluster.Sleep()
	woken := h.cluster.Woken()
	for _, name := range order {
		if got := ask(requests[name]); got != want[name] {
			t.Errorf("%s: %q, the engine says %q", name, got, want[name])
		}
		if h.phases(pool.Parked) != 1 {
			t.Errorf("%s: not parked any more", name)
		}
	}
	if n := h.cluster.Woken(); n != woken {
		t.Errorf("woken %d times", n-woken)
	}
	h.cluster.Serve(engineBackend())
	if got := ask(join(bind("\x00\x00"), run, done)); got != ask(join(bind("\x00\x00"), run, done)) {
		t.Errorf("the unnamed statement is another: %q", got)
	}
}

func atOnce(h *house, _ *pgfront.Config) {
	limits := h.poolLimits()
	limits.ReleaseAfter = pool.AtOnce
	h.pool.Configure(limits)
}

// Sessions that give up their backends at every safe point lose nothing.
func TestReleasedAtOnce(t *testing.T) {
	h := open(t, atOnce)
	conn := h.connect("")
	h.exec(conn, "set work_mem = '9MB'")
	h.eventuallyIn(pool.Parked, 1)
	for i := range 20 {
		if got := h.value(conn, "select $1::int + 1", i); got != fmt.Sprint(i+1) {
			t.Errorf("%s", got)
		}
		if got := h.value(conn, "show work_mem"); got != "9MB" {
			t.Errorf("%s", got)
		}
	}
	h.exec(conn, "begin")
	h.exec(conn, "create temp table gone (n int)")
	h.exec(conn, "commit")
	h.exec(conn, "insert into gone values (1)")
	if got := h.value(conn, "select n from gone"); got != "1" {
		t.Error("the temporary table is another")
	}
	h.exec(conn, "drop table gone")
	h.eventuallyIn(pool.Parked, 1)
	if h.pool.Spares() == 0 {
		t.Error("the backend is not kept for others")
	}
	// Another session finds nothing of it.
	other := h.connect("")
	h.eventuallyIn(pool.Parked, 2)
	if got := h.value(other, "show work_mem"); got != "4MB" {
		t.Errorf("another session has work_mem %s", got)
	}
}

func TestProgramsReleasedAtOnce(t *testing.T) {
	h := open(t, atOnce)
	env := append(os.Environ(), "PGHOST=127.0.0.1", fmt.Sprintf("PGPORT=%d", h.address.Port), "PGUSER=app", "PGPASSWORD=secret", "PGDATABASE=app", "PGSSLMODE=disable")
	for _, command := range []string{
		"pgbench -i -s 1 -q", "pgbench -c 4 -T 2 -n -M simple", "pgbench -c 4 -T 2 -n -M extended", "pgbench -c 4 -T 2 -n -M prepared", "pgbench -c 4 -T 2 -n -S -M prepared",
	} {
		words := strings.Fields(command)
		cmd := exec.Command(bin(words[0]), words[1:]...)
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Contains(string(out), "aborted") {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
		t.Logf("%s", out)
	}
}

// A prepared statement that cannot be what it was fails with the engine's own
// error when it is used, and the session goes on.
func TestStatementsThatChanged(t *testing.T) {
	h := open(t)
	conn := h.connect("default_query_exec_mode=simple_protocol")
	h.exec(conn, "drop table if exists changing, vanishing; create table changing (n int); create table vanishing (n int); insert into changing values (1)")
	raw := conn.PgConn()
	for name, sql := range map[string]string{"c": "select * from changing where n = $1", "v": "select n from vanishing where n = $1", "": "select * from changing where n = $1"} {
		if _, err := raw.Prepare(h.ctx(), name, sql, nil); err != nil {
			t.Fatal(err)
		}
	}
	h.parkAll()
	boss, err := server.connect(h.ctx(), "postgres", "app")
	if err != nil {
		t.Fatal(err)
	}
	defer boss.Close(context.Background())
	if _, err := boss.Exec(h.ctx(), "alter table changing alter n type bigint; drop table vanishing"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for name, want := range map[string]string{"c": "0A000 cached plan must not change result type", "v": `42P01 relation "vanishing" does not exist`} {
			r := raw.ExecPrepared(h.ctx(), name, [][]byte{[]byte("1")}, nil, nil).Read()
			var e *pgconn.PgError
			if !errors.As(r.Err, &e) || e.Code+" "+e.Message != want {
				t.Errorf("%s: %v, want %s", name, r.Err, want)
			}
		}
		h.parkAll()
	}
	if err := raw.Deallocate(h.ctx(), "c"); err != nil {
		t.Error(err)
	}
	h.exec(conn, "select 1")
}
