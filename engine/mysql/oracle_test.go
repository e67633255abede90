//go:build mysqld

package mysql

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Oracle's MySQL is not to be had everywhere: with the tag mysqld, and the
// folder of its server in SERVERLESSPROXY_TEST_MYSQL_DIR, it goes through the
// same as MariaDB, as far as it has the same.
func TestMySQL(t *testing.T) {
	binDir := os.Getenv("SERVERLESSPROXY_TEST_MYSQL_DIR")
	if binDir == "" {
		t.Fatal("set SERVERLESSPROXY_TEST_MYSQL_DIR to the folder that has mysqld")
	}
	s := newServer(t, Config{Accept: []*Flavor{MySQL}, BinDir: binDir})
	each := func(name string, test func(*server, *testing.T)) {
		t.Run(name, func(t *testing.T) {
			in := *s
			in.t = t
			test(&in, t)
			s.backend = in.backend
		})
	}
	each("settings", (*server).testMySQLSettings)
	each("master", (*server).testMySQLMaster)
	each("book", (*server).testMySQLBook)
	each("many at once", (*server).testMany)
	each("settle", (*server).testSettle)
	each("denied", (*server).testDenied)
	each("locked out", (*server).testMySQLLockedOut)
	each("killed", (*server).testKilled)
	each("versions", func(s *server, t *testing.T) {
		if version, err := s.engine.Existing(s.place); err != nil || version == "" {
			t.Errorf("%q, %v", version, err)
		}
	})
}

func (s *server) testMySQLSettings(t *testing.T) {
	conn := s.master()
	for query, want := range map[string]string{
		"SELECT @@max_connections":                "190",
		"SELECT @@skip_networking":                "1",
		"SELECT @@innodb_flush_log_at_trx_commit": "1",
		"SELECT @@tmpdir":                         filepath.Join(s.place.Data, "tmp"),
		"SELECT @@character_set_server":           "utf8mb4",
		"SELECT @@log_bin":                        "0",
	} {
		if got := value(t, conn, query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

func (s *server) testMySQLMaster(t *testing.T) {
	conn := s.master()
	for _, statement := range []string{
		"CREATE TABLE t (a INT)", "CREATE DATABASE other", "CREATE USER joe@'%' IDENTIFIED BY 'x'", "GRANT SELECT ON other.* TO joe@'%'",
		"CREATE ROLE r", "GRANT r TO joe@'%'", "CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1", "DROP USER joe@'%'", "DROP ROLE r", "DROP DATABASE other",
	} {
		if _, err := conn.Execute(statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
	for _, statement := range []string{
		"SET GLOBAL max_connections = 10", "SHUTDOWN", "GRANT SUPER ON *.* TO app@'%'",
		"ALTER USER root@localhost IDENTIFIED BY 'x'", "DROP USER " + controlUser + "@" + controlHost,
	} {
		if _, err := conn.Execute(statement); err == nil {
			t.Errorf("%s: done", statement)
		}
	}
	if _, err := s.login("root", "", ""); err != nil {
		t.Errorf("root on the socket, as the operating system's root: %v", err)
	}
}

func (s *server) testMySQLBook(t *testing.T) {
	s.control(
		"CREATE USER one@'%' IDENTIFIED BY 'x'", "CREATE USER one@localhost IDENTIFIED BY 'y' REQUIRE SSL", "ALTER USER one@'%' IDENTIFIED BY 'z' RETAIN CURRENT PASSWORD",
		"CREATE USER two@'%' IDENTIFIED BY 'x' ACCOUNT LOCK", "CREATE USER adm@'%' IDENTIFIED BY 'x'", "GRANT CONNECTION_ADMIN ON *.* TO adm@'%'",
		"CREATE ROLE r", "GRANT SELECT ON my_app.* TO r", "CREATE USER rol@'%' IDENTIFIED BY 'x' DEFAULT ROLE r",
		"CREATE TABLE my_app.one (a INT)", "GRANT SELECT ON my_app.one TO one@'%'",
	)
	t.Cleanup(func() { s.control("DROP USER one@'%', one@localhost, two@'%', adm@'%', rol@'%'", "DROP ROLE r") })
	book := s.book("one", "my_app")
	if len(book.Accounts) != 2 || !book.Accounts[0].RequireSSL {
		t.Errorf("%+v", book.Accounts)
	}
	one := accountOf(book, "one", "%")
	if len(one.Methods) != 2 || !strings.HasPrefix(string(one.Methods[0].Verifier), "$A$00") || one.Methods[0] == one.Methods[1] || !slices.Contains(one.Schemas, `my\_app`) {
		t.Errorf("%+v", one)
	}
	if _, ok := book.Databases["my_app"]; !ok {
		t.Errorf("databases: %v", book.Databases)
	}
	if g := book.Greeting; g.Extended != 0 || g.DefaultPlugin != "caching_sha2_password" || g.Charset != 255 {
		t.Errorf("%+v", g)
	}
	all := s.book("", "")
	if a := accountOf(all, "adm", "%"); !a.Superuser {
		t.Errorf("%+v", a)
	}
	if a := accountOf(all, "rol", "%"); a.User == "" || a.Schemas != nil {
		t.Errorf("%+v", a)
	}
	if a := accountOf(all, "two", "%"); !a.Locked {
		t.Errorf("%+v", a)
	}
	if a := accountOf(all, "root", "localhost"); len(a.Methods) != 1 || a.Methods[0].Plugin != "auth_socket" || !a.Superuser {
		t.Errorf("%+v", a)
	}
	if a := accountOf(all, controlUser, controlHost); a.User != "" {
		t.Errorf("the control account is shown: %+v", a)
	}
}

func (s *server) testMySQLLockedOut(t *testing.T) {
	s.control("DROP USER " + controlUser + "@" + controlHost)
	if err := s.engine.Ready(t.Context(), "unix", s.backend.Address); err == nil {
		t.Fatal("still let in")
	}
	s.stop()
	s.start()
	s.book("app", "my_app")
}
