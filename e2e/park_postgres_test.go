package e2e

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/lib/pq"
)

// carried is one row of the contract: what is done, and what a query says
// before and after the session's backend was another.
type carried struct {
	name, setup, check, want string
}

// setting is a row about SET.
func setting(name, value, want string) carried {
	return carried{"setting " + name, "set " + name + " = " + value, "show " + name, want}
}

var contract = []carried{
	setting("work_mem", "'7MB'", "7MB"),
	setting("search_path", `"$user", public, "O'dd"`, `"$user", public, "O'dd"`),
	setting("statement_timeout", "'61s'", "61s"),
	setting("lock_timeout", "'62s'", "62s"),
	setting("idle_in_transaction_session_timeout", "'63s'", "63s"),
	setting("idle_session_timeout", "'1h'", "1h"),
	setting("datestyle", "'SQL, DMY'", "SQL, DMY"),
	setting("intervalstyle", "iso_8601", "iso_8601"),
	setting("timezone", "'Asia/Tokyo'", "Asia/Tokyo"),
	setting("client_encoding", "latin1", "LATIN1"),
	setting("standard_conforming_strings", "off", "off"),
	setting("escape_string_warning", "off", "off"),
	setting("bytea_output", "escape", "escape"),
	setting("extra_float_digits", "-3", "-3"),
	setting("default_transaction_isolation", "serializable", "serializable"),
	setting("default_transaction_read_only", "on", "on"),
	setting("default_transaction_deferrable", "on", "on"),
	setting("enable_seqscan", "off", "off"),
	setting("random_page_cost", "1.25", "1.25"),
	setting("jit", "off", "off"),
	setting("plan_cache_mode", "force_generic_plan", "force_generic_plan"),
	setting("maintenance_work_mem", "'33MB'", "33MB"),
	setting("temp_buffers", "'9MB'", "9MB"),
	setting("effective_cache_size", "'1GB'", "1GB"),
	setting("synchronous_commit", "off", "off"),
	setting("client_min_messages", "error", "error"),
	setting("row_security", "off", "off"),
	setting("check_function_bodies", "off", "off"),
	setting("quote_all_identifiers", "on", "on"),
	setting("transform_null_equals", "on", "on"),
	setting("array_nulls", "off", "off"),
	setting("constraint_exclusion", "on", "on"),
	setting("xmloption", "document", "document"),
	setting("xmlbinary", "hex", "hex"),
	setting("default_text_search_config", "'pg_catalog.german'", "pg_catalog.german"),
	setting("application_name", "'my app'", "my app"),
	setting("gin_pending_list_limit", "'8MB'", "8MB"),
	setting("vacuum_cost_delay", "7", "7ms"),
	{"custom setting", "set my_app.user_id = '42'", "show my_app.user_id", "42"},
	{"custom setting in upper case", "SET My_App.Tenant = 'x'", "show my_app.tenant", "x"},
	{"custom setting by set_config", "select set_config('my_app.more', 'y', false)", "show my_app.more", "y"},
	{"custom setting with an odd value", `set my_app.odd = e'it''s \\ "odd"'`, "show my_app.odd", `it's \ "odd"`},
	{"set in a transaction", "begin; set work_mem = '5MB'; commit", "show work_mem", "5MB"},
	{"set and rolled back", "begin; set work_mem = '5MB'; rollback", "show work_mem", "4MB"},
	{"set local", "begin; set local work_mem = '5MB'; commit", "show work_mem", "4MB"},
	{"reset", "set work_mem = '5MB'; reset work_mem", "show work_mem", "4MB"},
	{"role", "set role helper", "select current_user", "helper"},
	{"role none", "set role helper; reset role", "select current_user", "app"},
	{"session characteristics", "set session characteristics as transaction read only", "show transaction_read_only", "on"},
	{"PREPARE", "prepare q (int) as select $1 + 1", "execute q (41)", "42"},
	{"PREPARE of a table", "prepare w as select count(*) from kept", "execute w", "1"},
	{"DEALLOCATE", "prepare q as select 1", "select count(*) from pg_prepared_statements", "1"},
	{"current schema", "set search_path = other", "select current_schema()", "other"},
	{"unqualified name", "set search_path = other", "select note from here", "in other"},
	{"row committed", "insert into kept (note) select 'never' where false", "select note from kept", "kept"},
}

// TestContractPostgres is the table of what a session carries over a pause.
func TestContractPostgres(t *testing.T) {
	p := quickstart(t)
	admin := p.connect(postgres)
	do(t, admin, "create role helper", "grant helper to app", "create table kept (note text)", "insert into kept values ('kept')",
		"create schema other", "create table other.here (note text)", "insert into other.here values ('in other')", "grant all on all tables in schema public, other to public", "grant usage on schema other to public")
	rows := contract
	conns := make([]*pgx.Conn, len(rows))
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	for i, c := range rows {
		var err error
		if conns[i], err = pgx.Connect(ctx, p.dsn(postgres)+"&default_query_exec_mode=simple_protocol"); err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close(context.Background())
		if _, err := conns[i].PgConn().Exec(ctx, c.setup).ReadAll(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	psql := p.script(t, "psql", "-XAtq")
	psql.ask(t, "set work_mem = '3MB'; prepare x as select 'from psql';\nselect 'ready';", "ready")
	pq, err := sql.Open("postgres", p.dsn(postgres))
	if err != nil {
		t.Fatal(err)
	}
	defer pq.Close()
	pq.SetMaxOpenConns(1)
	do(t, pq, "set work_mem = '2MB'")
	prepared, err := pq.Prepare("select $1::int + 1")
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		for i, c := range rows {
			results, err := conns[i].PgConn().Exec(ctx, c.check).ReadAll()
			if err != nil || len(results) != 1 || len(results[0].Rows) != 1 {
				t.Errorf("%s %s: %v", c.name, when, err)
				continue
			}
			if got := string(results[0].Rows[0][0]); got != c.want {
				t.Errorf("%s %s: %q, want %q", c.name, when, got, c.want)
			}
		}
	}
	check("before")
	for _, when := range []string{"after a pause", "after another"} {
		if out, code := p.command("pause", "pg"); code != 0 {
			t.Fatalf("pause: %d %s", code, out)
		}
		if c := p.cluster(postgres); c.State != "paused" || c.Sessions.Parked < len(rows)+2 {
			t.Errorf("%+v", c)
		}
		check(when)
		psql.ask(t, "show work_mem; execute x;", "3MB", "from psql")
		if got := one(t, pq, "show work_mem"); got != "2MB" {
			t.Errorf("lib/pq %s: %s", when, got)
		}
		var n int
		if err := prepared.QueryRow(41).Scan(&n); err != nil || n != 42 {
			t.Errorf("lib/pq %s: %d, %v", when, n, err)
		}
	}
}

// TestPinnedPostgres: what cannot be carried keeps the cluster awake, by name.
func TestPinnedPostgres(t *testing.T) {
	p := quickstart(t)
	for reason, setup := range map[string]string{
		"transaction": "begin", "temporary_object": "create temp table t (n int)", "advisory_lock": "select pg_advisory_lock(1)",
		"cursor": "begin; declare c cursor with hold for select 1; commit", "prepared_text": "prepare a as select 1; select 2",
	} {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		conn, err := pgx.Connect(ctx, p.dsn(postgres))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.PgConn().Exec(ctx, setup).ReadAll(); err != nil {
			t.Error(err)
		}
		if _, code := p.command("pause", "pg", "--timeout", "3s"); code == 0 {
			t.Errorf("%s: paused", reason)
		}
		conn.Close(ctx)
		cancel()
	}
}

// script is a client program that is spoken to.
type script struct {
	in  io.Writer
	out *bufio.Reader
}

func (p *proxy) script(t *testing.T, args ...string) *script {
	t.Helper()
	u := p.url(postgres)
	secret, _ := u.User.Password()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "PGHOST="+u.Hostname(), "PGPORT="+u.Port(), "PGUSER=app", "PGPASSWORD="+secret, "PGDATABASE=app", "PGSSLMODE=prefer")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	return &script{in, bufio.NewReader(out)}
}

func (s *script) ask(t *testing.T, statement string, want ...string) {
	t.Helper()
	fmt.Fprintln(s.in, statement)
	for _, w := range want {
		if got, err := s.out.ReadString('\n'); err != nil || strings.TrimSpace(got) != w {
			t.Errorf("%s: %q, %v; want %q", statement, got, err, w)
		}
	}
}
