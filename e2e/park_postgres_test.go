package e2e

import (
	"context"
	"database/sql"
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
	{"UNLISTEN", "listen a; listen b; unlisten a; unlisten b", "select count(*) from pg_listening_channels()", "0"},
	{"UNLISTEN *", "listen a; listen b; unlisten *", "select count(*) from pg_listening_channels()", "0"},
	{"LISTEN", `listen a; listen "B"; listen c; unlisten c`, "select string_agg(c, ' ' order by c) from pg_listening_channels() c", "B a"},
	{"LISTEN and rolled back", "begin; listen a; rollback", "select count(*) from pg_listening_channels()", "0"},
	{"current schema", "set search_path = other", "select current_schema()", "other"},
	{"unqualified name", "set search_path = other", "select note from here", "in other"},
	{"row committed", "insert into kept (note) select 'never' where false", "select note from kept", "kept"},
}

// TestContractPostgres is the table of what a session carries over a pause,
// through each driver.
func TestContractPostgres(t *testing.T) {
	p := quickstart(t)
	admin := p.connect(postgres)
	do(t, admin, "create role helper", "grant helper to app", "create table kept (note text)", "insert into kept values ('kept')",
		"create schema other", "create table other.here (note text)", "insert into other.here values ('in other')", "grant all on all tables in schema public, other to public", "grant usage on schema other to public")
	for _, d := range drivers {
		t.Run(d.name, func(t *testing.T) {
			sessions := make([]speaker, len(contract))
			for i, c := range contract {
				sessions[i] = d.open(t, p)
				if _, err := sessions[i].run(c.setup); err != nil {
					t.Errorf("%s: %v", c.name, err)
				}
			}
			check := func(when string) {
				t.Helper()
				for i, c := range contract {
					if got, err := sessions[i].run(c.check); err != nil || got != c.want {
						t.Errorf("%s %s: %q, want %q: %v", c.name, when, got, c.want, err)
					}
				}
			}
			check("before")
			for _, when := range []string{"after a pause", "after another"} {
				p.pauseParked(t, len(contract))
				check(when)
			}
		})
	}
}

// pauseParked pauses the PostgreSQL cluster under at least so many sessions.
func (p *proxy) pauseParked(t *testing.T, atLeast int) {
	t.Helper()
	if out, code := p.command("pause", "pg"); code != 0 {
		t.Fatalf("pause: %d %s", code, out)
	}
	if c := p.cluster(postgres); c.State != "paused" || c.Sessions.Parked < atLeast {
		t.Errorf("%+v", c)
	}
}

// TestPreparedByLibpq: what database/sql prepares through another driver.
func TestPreparedByLibpq(t *testing.T) {
	p := quickstart(t)
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
	for range 2 {
		p.pauseParked(t, 1)
		if got := one(t, pq, "show work_mem"); got != "2MB" {
			t.Errorf("work_mem %s", got)
		}
		var n int
		if err := prepared.QueryRow(41).Scan(&n); err != nil || n != 42 {
			t.Errorf("%d, %v", n, err)
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

// TestNotifiedWhileParked: a listener that is parked hears what others notify,
// beginning with the statement that woke the cluster.
func TestNotifiedWhileParked(t *testing.T) {
	p := quickstart(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	listener, err := pgx.Connect(ctx, p.dsn(postgres))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close(context.Background())
	if _, err := listener.Exec(ctx, "listen news"); err != nil {
		t.Fatal(err)
	}
	notifier, err := sql.Open("postgres", p.dsn(postgres))
	if err != nil {
		t.Fatal(err)
	}
	defer notifier.Close()
	do(t, notifier, "select 1")
	for _, word := range []string{"one", "two", "three"} {
		p.pauseParked(t, 2)
		do(t, notifier, "notify news, '"+word+"'", "notify news, 'more'")
		for _, want := range []string{word, "more"} {
			if n, err := listener.WaitForNotification(ctx); err != nil || n.Payload != want {
				t.Fatalf("%+v, want %s: %v", n, want, err)
			}
		}
		if c := p.cluster(postgres); c.Sessions.Parked != 1 {
			t.Errorf("the listener is not parked: %+v", c.Sessions)
		}
	}
}
