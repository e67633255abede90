package postgres

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"serverlessproxy/credential"
)

func TestParametersReachTheServer(t *testing.T) {
	odd := map[string]string{
		"log_line_prefix":  `it's \ %m `,
		"app.lines":        "two\nlines",
		"search_path":      `"$user", public`,
		"random_page_cost": "1.25",
	}
	s := serve(t, odd)
	conn := s.as(t, master.User, master.Database)
	for name, want := range odd {
		if got := ask(t, conn, "select current_setting('"+name+"')"); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for sql, want := range map[string]string{
		"show work_mem":        "4MB",
		"show shared_buffers":  "128MB",
		"show max_connections": "40",
		"show cluster_name":    "T?st",
		"select (select count(*) from pg_hba_file_rules)::text": "2",
		"select coalesce((select string_agg(name || ' ' || sourcefile || ' ' || error, ', ') from pg_file_settings where error is not null), 'none')": "none",
		"select setting from pg_settings where name = 'superuser_reserved_connections'":                                                               "3",
		"select (select sourcefile like '%postgresql.conf' from pg_settings where name = 'DateStyle')::text":                                          "true",
	} {
		if got := ask(t, s.as(t, superuser, home), sql); got != want {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
	}
	run(t, s.as(t, superuser, home), "alter system set max_connections = 20", "alter system set listen_addresses = '127.0.0.1'")
	s.stop(t)
	s.start(t)
	if got := ask(t, s.as(t, superuser, home), "select current_setting('max_connections') || current_setting('listen_addresses')"); got != "40" {
		t.Errorf("ALTER SYSTEM has overridden what the proxy depends on: %s", got)
	}
	if n := ask(t, conn0(t, s), "select count(*)::text from pg_roles where rolname = '"+strings.ReplaceAll(master.User, "'", "''")+"'"); n != "1" {
		t.Errorf("%s masters", n)
	}
	log, err := os.ReadFile(s.place.Data + "/log/engine.log")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(log), string(master.Password)) {
		t.Error("the password is in the log")
	}
}

func conn0(t *testing.T, s *server) *pgx.Conn { return s.as(t, superuser, home) }

func TestSource(t *testing.T) {
	s := serve(t, nil)
	admin := s.as(t, superuser, home)
	run(t, admin,
		"set password_encryption = 'scram-sha-256'", "create role plain login password 'p'",
		"set password_encryption = 'md5'", "create role old login password 'p'", "set password_encryption = 'scram-sha-256'",
		"create role nologin",
		"create role nobody login",
		"create role boss superuser login replication",
		"create role expired login password 'p' valid until '2001-02-03 04:05:06.789+00'",
		"create role forever login valid until 'infinity'",
		"create role never login valid until '-infinity'",
		"create role top", "create role middle in role top", "create role member login in role middle",
		"create role walled noinherit in role top", "create role outside login in role walled", "create role alone login noinherit in role top",
		"create role dropped", "create database closed",
		"revoke connect on database closed from public", "grant connect on database closed to top, dropped",
		"create database nobodys", "revoke all on database nobodys from public, postgres",
		"create database off allow_connections false",
	)
	source := NewSource(s.dial, nil)
	defer source.Close()

	t.Run("roles", func(t *testing.T) {
		past := time.Date(2001, 2, 3, 4, 5, 6, 789e6, time.UTC)
		epoch := time.Unix(0, 0).UTC()
		for _, want := range []credential.Role{
			{Name: "plain", CanLogin: true, Verifier: "SCRAM-SHA-256$4096:"},
			{Name: "old", CanLogin: true, Verifier: "md5"},
			{Name: "nologin"},
			{Name: "nobody", CanLogin: true},
			{Name: "boss", CanLogin: true, Superuser: true, Replication: true},
			{Name: "expired", CanLogin: true, Verifier: "SCRAM-SHA-256$4096:", ValidUntil: &past},
			{Name: "forever", CanLogin: true},
			{Name: "never", CanLogin: true, ValidUntil: &epoch},
			{Name: "member", CanLogin: true, MemberOf: []string{"middle", "top"}},
			{Name: "outside", CanLogin: true, MemberOf: []string{"walled"}},
			{Name: "alone", CanLogin: true},
			{Name: master.User, CanLogin: true, Verifier: "SCRAM-SHA-256$4096:"},
		} {
			book, err := source.Book(limited(t), want.Name, master.Database)
			if err != nil {
				t.Fatal(err)
			}
			got, ok := book.Role(want.Name)
			if !ok || len(book.Roles) != 1 || len(book.Databases) != 1 {
				t.Fatalf("%s: %d roles, %d databases", want.Name, len(book.Roles), len(book.Databases))
			}
			if want.Name == master.User {
				got.MemberOf = nil // pg_monitor and what it brings
			}
			if !strings.HasPrefix(string(got.Verifier), string(want.Verifier)) || want.Verifier == "" && got.Verifier != "" {
				t.Errorf("%s: verifier %q", want.Name, string(got.Verifier))
			}
			if strings.Join(got.MemberOf, " ") != strings.Join(want.MemberOf, " ") {
				t.Errorf("%s: member of %v, want %v", want.Name, got.MemberOf, want.MemberOf)
			}
			if (got.ValidUntil == nil) != (want.ValidUntil == nil) || got.ValidUntil != nil && !got.ValidUntil.Equal(*want.ValidUntil) {
				t.Errorf("%s: valid until %v, want %v", want.Name, got.ValidUntil, want.ValidUntil)
			}
			if got.CanLogin != want.CanLogin || got.Superuser != want.Superuser || got.Replication != want.Replication {
				t.Errorf("%s: %+v", want.Name, got)
			}
		}
	})

	// Whoever the server lets in the Book admits, and nobody else.
	t.Run("admission is the server's own", func(t *testing.T) {
		all, err := source.Book(limited(t), "", "")
		if err != nil {
			t.Fatal(err)
		}
		path := t.TempDir() + "/book.json"
		if err := credential.Save(path, all); err != nil {
			t.Fatal(err)
		}
		saved, err := credential.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, user := range []string{"plain", "nologin", "nobody", "boss", "member", "outside", "alone", "postgres", master.User, "missing"} {
			for _, database := range []string{master.Database, "closed", "nobodys", "off", "missing"} {
				one, err := source.Book(limited(t), user, database)
				if err != nil {
					t.Fatal(err)
				}
				d := s.dial
				d.User, d.Database = user, database
				conn, refused := d.control(limited(t))
				if refused == nil {
					_ = conn.Close(context.Background())
				}
				for name, book := range map[string]*credential.Book{"one": one, "all": all, "saved": saved} {
					if admitted := book.Admit(user, database); (admitted == nil) != (refused == nil) {
						t.Errorf("%s in %s: the book of %s says %v, the server %v", user, database, name, admitted, refused)
					}
				}
			}
		}
		if len(all.Roles) < 15 || len(all.Databases) < 7 {
			t.Errorf("%d roles, %d databases", len(all.Roles), len(all.Databases))
		}
	})

	t.Run("the server's own words", func(t *testing.T) {
		book, err := source.Book(limited(t), "plain", "closed")
		if err != nil {
			t.Fatal(err)
		}
		if want := ask(t, admin, "show server_version"); book.ServerVersion != want || book.Parameters["server_version"] != want {
			t.Errorf("version %q, want %q", book.ServerVersion, want)
		}
		for name, want := range map[string]string{"client_encoding": "UTF8", "application_name": "", "integer_datetimes": "on", "standard_conforming_strings": "on"} {
			if got, ok := book.Parameters[name]; !ok || got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		run(t, admin, "alter database postgres set datestyle = 'SQL, DMY'")
		all, err := source.Book(limited(t), "", "")
		if err != nil || all.Parameters["DateStyle"] != "SQL, DMY" {
			t.Errorf("DateStyle %q, %v", all.Parameters["DateStyle"], err)
		}
		if book.Parameters["DateStyle"] == "SQL, DMY" {
			t.Error("a Book that was given away has changed")
		}
	})

	t.Run("one connection for all", func(t *testing.T) {
		var all sync.WaitGroup
		const which = "select coalesce(string_agg(pid::text, ' '), 'none') from pg_stat_activity where application_name = '" + application + "'"
		before := ask(t, admin, which)
		for i := range 50 {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				defer cancel()
				if i%3 == 0 { // a client that leaves, now or soon
					time.AfterFunc(time.Duration(i)*100*time.Microsecond, cancel)
				}
				book, err := source.Book(ctx, "plain", "closed")
				if err == nil && len(book.Roles) != 1 || err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("%v, %v", book, err)
				}
			})
		}
		all.Wait()
		if after := ask(t, admin, which); after != before {
			t.Errorf("control connections %s, before them %s", after, before)
		}
	})

	t.Run("a client that leaves ends nothing", func(t *testing.T) {
		run(t, admin, "begin", "lock table pg_catalog.pg_authid")
		ctx, leave := context.WithCancel(context.Background())
		defer leave()
		answer := make(chan error, 1)
		go func() {
			_, err := source.Book(ctx, "plain", "closed")
			answer <- err
		}()
		eventually(t, "a question under way", func() bool {
			return ask(t, admin, "select count(*)::text from pg_locks where not granted") == "1"
		})
		leave()
		run(t, admin, "rollback")
		if err := <-answer; err != nil {
			t.Error(err)
		}
	})

	t.Run("users' objects are out of its way", func(t *testing.T) {
		run(t, admin, "grant create on schema public to public")
		run(t, s.as(t, "plain", home),
			"create function public.aclexplode(aclitem[], out grantor oid, out grantee oid, out privilege_type text, out is_grantable bool) returns setof record language sql as $$select 0::oid, 0::oid, 'CONNECT', true$$",
			"create function public.acldefault(\"char\", oid) returns aclitem[] language sql as $$select null::aclitem[]$$")
		run(t, admin, "alter role postgres set search_path = public, pg_catalog")
		again := NewSource(s.dial, nil)
		defer again.Close()
		book, err := again.Book(limited(t), "plain", "closed")
		if err != nil || book.Admit("plain", "closed") == nil {
			t.Errorf("a user's function was called: %v", err)
		}
	})

	t.Run("after a lost connection", func(t *testing.T) {
		cut(t, admin)
		if _, err := source.Book(limited(t), "plain", "closed"); err != nil {
			t.Error(err)
		}
	})

	t.Run("databases may be dropped under it", func(t *testing.T) {
		run(t, admin, "drop database closed")
		there := s.as(t, superuser, refuge)
		cut(t, admin)
		_ = admin.Close(limited(t))
		run(t, there, "drop database postgres with (force)")
		if book, err := source.Book(limited(t), "plain", home); err != nil || len(book.Databases) != 0 {
			t.Error(err)
		}
		if err := New(Config{Log: quiet}).Ready(limited(t), s.dial.Network, s.dial.Address); err != nil {
			t.Errorf("ready: %v", err)
		}
	})

	t.Run("over a restart", func(t *testing.T) {
		s.stop(t)
		if _, err := source.Book(limited(t), "plain", "closed"); !errors.Is(err, credential.ErrUnavailable) {
			t.Errorf("of a server that does not run: %v", err)
		}
		s.start(t)
		if _, err := source.Book(limited(t), "plain", "closed"); err != nil {
			t.Error(err)
		}
	})

	t.Run("closed", func(t *testing.T) {
		source.Close()
		if _, err := source.Book(limited(t), "plain", "closed"); !errors.Is(err, errClosed) {
			t.Error(err)
		}
	})
}

// A server that others run: over TCP, with a password, whose verifiers may be
// hidden.
func TestHostedServer(t *testing.T) {
	s := serve(t, nil)
	run(t, s.as(t, superuser, home), "set password_encryption = 'scram-sha-256'", "create role plain login password 'p'", "create role unknown login password 'q'", "create role service login password 'serves'")
	d := s.hosted(t)
	letsIn(t, d, master.User, master.Database, string(master.Password)) // by the verifier that Provision made

	hidden := NewSource(d, nil)
	defer hidden.Close()
	if err := hidden.Check(limited(t)); !errors.Is(err, ErrNoVerifiers) || !strings.Contains(err.Error(), "GRANT SELECT ON pg_authid") {
		t.Errorf("%v", err)
	}
	if errors.Is(hidden.Check(limited(t)), credential.ErrUnavailable) {
		t.Error("a server that refuses has answered")
	}

	made := NewSource(d, map[string]credential.Secret{"plain": "p"})
	defer made.Close()
	for range 2 {
		book, err := made.Book(limited(t), "plain", master.Database)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(book.Roles["plain"].Verifier), "SCRAM-SHA-256$") || !book.Roles["plain"].CanLogin {
			t.Errorf("%+v", book.Roles["plain"])
		}
	}
	if book, err := made.Book(limited(t), "unknown", master.Database); err != nil || book.Roles["unknown"].Verifier != "" {
		t.Errorf("%v, %v", book, err)
	}

	wrong := d
	wrong.Password = "wrong"
	refused := NewSource(wrong, nil)
	defer refused.Close()
	err := refused.Check(limited(t))
	if err == nil || errors.Is(err, credential.ErrUnavailable) || strings.Contains(err.Error(), "wrong") {
		t.Errorf("%v", err)
	}

	nowhere := d
	nowhere.Address = "127.0.0.1:" + strconv.Itoa(freePort(t))
	gone := NewSource(nowhere, nil)
	defer gone.Close()
	if err := gone.Check(limited(t)); !errors.Is(err, credential.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}

// letsIn logs in as users do, with PostgreSQL's own client.
func letsIn(t *testing.T, d Dial, user, database, password string) {
	t.Helper()
	host, port, _ := net.SplitHostPort(d.Address)
	psql := exec.Command("psql", "-X", "-w", "-h", host, "-p", port, "-U", user, "-d", database, "-Atc", "select 'in'")
	psql.Env = []string{"PGPASSWORD=" + password, "LC_ALL=C.UTF-8", "PATH=/usr/bin:/bin"}
	if out, err := psql.CombinedOutput(); err != nil || string(out) != "in\n" {
		t.Errorf("%v: %s", err, out)
	}
}

// cut ends the control connection.
func cut(t *testing.T, admin *pgx.Conn) {
	t.Helper()
	run(t, admin, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = '"+application+"'")
	eventually(t, "the end of the control connection", func() bool {
		return ask(t, admin, "select count(*)::text from pg_stat_activity where application_name = '"+application+"'") == "0"
	})
}
