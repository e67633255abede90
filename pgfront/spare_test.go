package pgfront_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
)

// visit logs in, does what it is given, and leaves. It returns its backend's
// process id, and what it found.
func (h *house) visit(look string, do ...string) (pid, found string) {
	h.t.Helper()
	conn := h.connect("default_query_exec_mode=exec")
	pid, found = h.value(conn, "select pg_backend_pid()::text"), h.value(conn, look)
	for _, sql := range do {
		h.exec(conn, sql)
	}
	h.leave(conn)
	return pid, found
}

// leave says goodbye and waits until the session is over.
func (h *house) leave(conn *pgx.Conn) {
	h.t.Helper()
	if err := conn.Close(h.ctx()); err != nil {
		h.t.Fatal(err)
	}
	eventually(h.t, "the session is over", func() bool { return !h.pool.Anyone() })
}

// left is whatever a session could leave in its backend.
const left = `select concat_ws(' ', current_setting('work_mem'), current_setting('application_name'), current_setting('role'), session_user,
	(select count(*) from pg_prepared_statements), (select count(*) from pg_locks where locktype = 'advisory'), (select count(*) from pg_cursors where is_holdable),
	(select count(*) from pg_listening_channels()), to_regclass('pg_temp.t') is null, current_setting('my.own', true) is null)`

const nothing = "4MB  none app 0 0 0 0 t t"

// A client that comes after another has gone gets its backend, and finds
// nothing of it there, and everything that a new login would find.
func TestNewSessionsOnSpares(t *testing.T) {
	h := open(t)
	boss, err := server.connect(h.ctx(), "postgres", "app")
	if err != nil {
		t.Fatal(err)
	}
	defer boss.Close(context.Background())
	h.visit(left) // a spare whose like was never looked at
	// Whether one finds a spare is a matter of time; what it finds there is not.
	again := false
	for range 10 {
		first, _ := h.visit(left, "set work_mem = '9MB'", "set application_name = 'a'", "prepare p as select 1",
			"select pg_advisory_lock(1)", "listen l", "declare c cursor with hold for select 1", "select setseed(0.5)")
		pid, found := h.visit(left)
		if found != nothing {
			t.Errorf("found %q, want %q", found, nothing)
		}
		again = again || pid == first
	}
	if !again {
		t.Error("no backend was ever used again")
	}
	// One that has had a temporary schema is nobody's: PREPARE TRANSACTION knows
	// the difference.
	first, _ := h.visit(left, "create temp table t (n int)")
	if pid, found := h.visit(left); pid == first || found != nothing {
		t.Errorf("after a temporary table the next one got %s and found %q", pid, found)
	}
	h.visit(left, "set my.own = 'x'")
	if _, found := h.visit(left); found != nothing {
		t.Errorf("after a setting of its own the next one found %q", found)
	}
	for _, change := range []struct{ alter, want string }{
		{"alter role app set work_mem = '7MB'", "7MB"}, {"alter database app set work_mem = '6MB'", "7MB"}, {"alter role app reset work_mem", "6MB"}, {"alter database app reset work_mem", "4MB"},
	} {
		if _, err := boss.Exec(h.ctx(), change.alter); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, found := h.visit("show work_mem"); found != change.want {
				t.Errorf("%s: found %s", change.alter, found)
			}
		}
	}
}

// TestSparesMakeWayForDatabases: backends that nobody uses are kept for
// minutes, and gone before DROP DATABASE gives up; in either form of request.
func TestSparesMakeWayForDatabases(t *testing.T) {
	for _, mode := range []string{"simple_protocol", "exec"} {
		t.Run(mode, func(t *testing.T) {
			h := open(t)
			boss, err := server.connect(h.ctx(), "postgres", "app")
			if err != nil {
				t.Fatal(err)
			}
			defer boss.Close(context.Background())
			if _, err := boss.Exec(h.ctx(), "create database short owner app"); err != nil {
				t.Fatal(err)
			}
			owner := h.connect("default_query_exec_mode=" + mode)
			if err := h.connect("dbname=short").Close(h.ctx()); err != nil {
				t.Fatal(err)
			}
			eventually(t, "its backend is kept", func() bool { return h.pool.Spares() > 0 })
			h.exec(owner, "alter database short rename to brief")
			if err := h.connect("dbname=brief").Close(h.ctx()); err != nil {
				t.Fatal(err)
			}
			h.exec(owner, "drop database brief")
		})
	}
}
