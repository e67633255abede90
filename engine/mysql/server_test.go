package mysql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
	"serverlessproxy/compute/process"
	"serverlessproxy/credential"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

const password = `it's "se\cret"; ü`

var size = acu.Size{Capacity: 2, Memory: 1 << 30, CPU: 0.5, MaxConnections: 190}

// server is a real server that a test runs.
type server struct {
	t       *testing.T
	engine  *Engine
	place   process.Place
	compute *process.Compute
	backend cluster.Backend
	source  *Source
}

// newServer makes a new cluster and starts it; all is gone at the test's end.
func newServer(t *testing.T, config Config) *server {
	t.Helper()
	config.Log = quiet
	uid, gid, err := process.Owner("mysql")
	if err != nil {
		t.Fatal(err)
	}
	directory, err := os.MkdirTemp("", "my") // short: the socket's path has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	if err := os.Chmod(directory, 0o711); err != nil {
		t.Fatal(err)
	}
	s := &server{
		t:      t,
		engine: New(config),
		place:  process.Place{Data: filepath.Join(directory, "data"), Run: filepath.Join(directory, "run"), UID: uid, GID: gid},
	}
	s.compute = process.New(process.Config{Name: "test", Engine: s.engine, Place: s.place, Log: quiet})
	created, err := s.compute.Create(t.Context(), process.Master{User: "app", Database: "my_app", Password: password})
	if err != nil || !created {
		t.Fatalf("create: %v, %v", created, err)
	}
	t.Cleanup(s.stop)
	s.start()
	s.source = s.engine.Source(s.place)
	t.Cleanup(func() { s.source.Close() })
	return s
}

func (s *server) start() {
	s.t.Helper()
	began := time.Now()
	backend, err := s.compute.Start(s.t.Context(), size)
	if err != nil {
		s.t.Fatal(err)
	}
	s.backend = backend
	s.t.Logf("started in %v", time.Since(began).Round(time.Millisecond))
}

func (s *server) stop() {
	began := time.Now()
	if err := s.compute.Stop(context.Background()); err != nil {
		s.t.Error(err)
	}
	s.t.Logf("stopped in %v", time.Since(began).Round(time.Millisecond))
}

// login logs in over the socket as a client does.
func (s *server) login(user, password, database string) (*client.Conn, error) {
	conn, err := client.Connect(s.backend.Address, user, password, database, func(c *client.Conn) error { return c.SetCollation("utf8mb4_general_ci") })
	if err == nil {
		s.t.Cleanup(func() { conn.Close() })
	}
	return conn, err
}

func (s *server) master() *client.Conn {
	s.t.Helper()
	conn, err := s.login("app", password, "my_app")
	if err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// control runs statements as the control account.
func (s *server) control(statements ...string) {
	s.t.Helper()
	login, err := controlLogin(s.backend.Address)
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := dial(context.Background(), "unix", s.backend.Address, login)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.quit()
	for _, statement := range statements {
		if err := c.run(context.Background(), statement); err != nil {
			s.t.Fatalf("%s: %v", statement, err)
		}
	}
}

func (s *server) book(user, database string) *credential.Book {
	s.t.Helper()
	book, err := s.source.Book(s.t.Context(), user, database)
	if err != nil {
		s.t.Fatal(err)
	}
	return book
}

func value(t *testing.T, conn *client.Conn, query string) string {
	t.Helper()
	result, err := conn.Execute(query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	text, err := result.GetString(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Clone(text)
}

func accountOf(book *credential.Book, user, host string) credential.Account {
	for _, a := range book.Accounts {
		if a.User == user && a.Host == host {
			return a
		}
	}
	return credential.Account{}
}

func TestMariaDB(t *testing.T) {
	s := newServer(t, Config{Accept: []*Flavor{MariaDB}, Parameters: map[string]string{"wait_timeout": "1234", "innodb_page_size": "8k"}})
	each := func(name string, test func(*server, *testing.T)) {
		t.Run(name, func(t *testing.T) {
			in := *s
			in.t = t
			test(&in, t)
			s.backend = in.backend
		})
	}
	each("settings", (*server).testSettings)
	each("master", (*server).testMaster)
	each("book", (*server).testBook)
	each("everything", (*server).testEverything)
	each("schemas as the engine has them", (*server).testSchemas)
	each("many at once", (*server).testMany)
	each("settle", (*server).testSettle)
	each("denied", (*server).testDenied)
	each("over TCP", (*server).testRemote)
	each("locked out", (*server).testLockedOut)
	each("adopted", (*server).testAdopted)
	each("killed", (*server).testKilled)
	each("versions", (*server).testExisting)
	each("no parameter of its own", (*server).testBadParameter)
}

func (s *server) testSettings(t *testing.T) {
	conn := s.master()
	for query, want := range map[string]string{
		"SELECT @@max_connections":                "190",
		"SELECT @@skip_networking":                "1",
		"SELECT @@wait_timeout":                   "1234",
		"SELECT @@innodb_page_size":               "8192",
		"SELECT @@innodb_flush_log_at_trx_commit": "1",
		"SELECT @@tmpdir":                         filepath.Join(s.place.Data, "tmp"),
		"SELECT @@character_set_server":           "utf8mb4",
		"SELECT @@sql_mode":                       "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION",
		"SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'test'":                   "0",
		"SELECT PLUGIN_STATUS FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'METADATA_LOCK_INFO'": "ACTIVE",
	} {
		if got := value(t, conn, query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	if pid := s.engine.PID(s.place); pid == 0 || syscall.Kill(pid, 0) != nil {
		t.Errorf("PID: %d", pid)
	}
}

func (s *server) testMaster(t *testing.T) {
	conn := s.master()
	for _, statement := range []string{
		"CREATE TABLE t (a INT)", "CREATE DATABASE other", "CREATE TABLE other.t (a INT)",
		"CREATE USER joe@'%' IDENTIFIED BY 'x'", "GRANT SELECT ON other.* TO joe@'%'",
		"CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1", "CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1",
		"DROP USER joe@'%'", "DROP DATABASE other",
	} {
		if _, err := conn.Execute(statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
	for _, statement := range []string{"SET GLOBAL max_connections = 10", "SHUTDOWN", "SELECT 1 INTO OUTFILE '/tmp/no'", "GRANT SUPER ON *.* TO app@'%'"} {
		var said *mysql.MyError
		if _, err := conn.Execute(statement); !errors.As(err, &said) {
			t.Errorf("%s: %v", statement, err)
		}
	}
	if _, err := s.login("app", "wrong", ""); err == nil {
		t.Error("a wrong password is let in")
	}
	// The pattern of my_app fits no other database.
	if grants := fmt.Sprint(rows(t, conn, "SHOW GRANTS")); !strings.Contains(grants, "`my\\_app`.*") {
		t.Error(grants)
	}
}

func rows(t *testing.T, conn *client.Conn, query string) []string {
	t.Helper()
	result, err := conn.Execute(query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	var all []string
	for i := range result.Values {
		text, err := result.GetString(i, 0)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.Clone(text))
	}
	return all
}

func (s *server) testBook(t *testing.T) {
	s.control(
		"CREATE USER one@'%' IDENTIFIED BY 'x'", "CREATE USER one@localhost IDENTIFIED BY 'y' REQUIRE SSL",
		"CREATE USER two@'10.0.0.0/255.0.0.0' IDENTIFIED BY 'x' ACCOUNT LOCK", "CREATE USER ''@localhost",
		"GRANT SELECT ON my_app.t TO one@'%'",
	)
	t.Cleanup(func() { s.control("DROP USER one@'%', one@localhost, two@'10.0.0.0/255.0.0.0', ''@localhost") })
	book := s.book("one", "my_app")
	var names []string
	for _, a := range book.Accounts {
		names = append(names, a.User+"@"+a.Host)
	}
	if !slices.Equal(names, []string{"one@localhost", "@localhost", "one@%"}) {
		t.Errorf("accounts: %q", names)
	}
	if a := accountOf(book, "one", "localhost"); !a.RequireSSL || a.Superuser || a.Methods[0].Plugin != native {
		t.Errorf("%+v", a)
	}
	if a := accountOf(book, "one", "%"); a.Methods[0].Verifier != hashOfX || !slices.Contains(a.Schemas, `my\_app`) {
		t.Errorf("%+v %s", a, string(a.Methods[0].Verifier))
	}
	if _, ok := book.Databases["my_app"]; !ok {
		t.Errorf("databases: %v", book.Databases)
	}
	if _, ok := s.book("one", "MY_APP").Databases["MY_APP"]; ok {
		t.Error("another case is another database here")
	}
	if _, ok := s.book("one", "nonesuch").Databases["nonesuch"]; ok {
		t.Error("a database that there is not")
	}
	g := book.Greeting
	if !strings.HasPrefix(g.ServerVersion, "5.5.5-10.") || g.Extended == 0 || g.DefaultPlugin != native || g.Charset != 45 || g.Status != 2 || g.SkipNameResolve {
		t.Errorf("greeting: %+v", g)
	}
	if book.ServerVersion != g.ServerVersion {
		t.Errorf("version: %s", book.ServerVersion)
	}
	for _, user := range []string{"x' OR ''='", "\xff\xfe", strings.Repeat("u", 500), "one ", `o\ne`, "🐬", "ünï"} {
		if got := s.book(user, user); len(got.Accounts) != 1 || got.Accounts[0].User != "" {
			t.Errorf("%q: %d accounts", user, len(got.Accounts))
		}
	}
	if got := s.book(controlUser, ""); len(got.Accounts) != 1 {
		t.Errorf("the control account is shown: %v", got.Accounts)
	}
}

func (s *server) testEverything(t *testing.T) {
	book := s.book("", "")
	root := accountOf(book, "root", "localhost")
	if len(root.Methods) != 2 || root.Methods[1].Plugin != "unix_socket" || !root.Superuser || root.Schemas != nil {
		t.Errorf("root: %+v", root)
	}
	if a := accountOf(book, "app", "%"); a.Superuser || a.Schemas != nil || len(a.Methods) != 1 {
		t.Errorf("app: %+v", a)
	}
	if a := accountOf(book, controlUser, controlHost); a.User != "" {
		t.Errorf("the control account is shown: %+v", a)
	}
	for _, name := range []string{"my_app", "mysql", "information_schema"} {
		if _, ok := book.Databases[name]; !ok {
			t.Errorf("%s is missing: %v", name, book.Databases)
		}
	}
}

// The engine itself says who may use which schema; the Book never says no
// where it says yes, and knows the plain cases.
func (s *server) testSchemas(t *testing.T) {
	s.control("CREATE DATABASE a_b", "CREATE DATABASE axb", "CREATE DATABASE other", "CREATE TABLE other.t (a INT, b INT)", "CREATE ROLE r", "GRANT SELECT ON other.* TO r",
		"CREATE PROCEDURE other.p() SELECT 1",
		"CREATE USER pat@'%' IDENTIFIED BY 'x'", `GRANT SELECT ON `+"`a\\_b`"+`.* TO pat@'%'`,
		"CREATE USER wild@'%' IDENTIFIED BY 'x'", "GRANT SELECT ON `a_b`.* TO wild@'%'",
		"CREATE USER tab@'%' IDENTIFIED BY 'x'", "GRANT SELECT ON other.t TO tab@'%'",
		"CREATE USER col@'%' IDENTIFIED BY 'x'", "GRANT SELECT (a) ON other.t TO col@'%'",
		"CREATE USER pro@'%' IDENTIFIED BY 'x'", "GRANT EXECUTE ON PROCEDURE other.p TO pro@'%'",
		"CREATE USER rol@'%' IDENTIFIED BY 'x'", "GRANT r TO rol@'%'", "SET DEFAULT ROLE r FOR rol@'%'",
		"CREATE USER may@'%' IDENTIFIED BY 'x'", "GRANT r TO may@'%'",
		"CREATE USER glo@'%' IDENTIFIED BY 'x'", "GRANT PROCESS ON *.* TO glo@'%'",
		"CREATE USER two@'%' IDENTIFIED BY 'x'", "CREATE USER two@'10.%' IDENTIFIED BY 'x'", "GRANT SELECT ON other.* TO two@'10.%'",
	)
	users := []string{"pat", "wild", "tab", "col", "pro", "rol", "may", "glo", "two"}
	t.Cleanup(func() {
		s.control("DROP DATABASE a_b", "DROP DATABASE axb", "DROP DATABASE other", "DROP ROLE r", "DROP USER two@'10.%'")
		for _, user := range users {
			s.control("DROP USER " + user + "@'%'")
		}
	})
	known := 0
	for _, user := range users {
		for _, database := range []string{"a_b", "axb", "other", "mysql", "information_schema", "nonesuch"} {
			_, err := s.login(user, "x", database)
			var said *mysql.MyError
			denied := errors.As(err, &said) && said.Code == mysql.ER_DBACCESS_DENIED_ERROR
			a := accountOf(s.book(user, database), user, "%")
			bookDenies := a.Schemas != nil && !slices.ContainsFunc(a.Schemas, func(pattern string) bool { return fits(pattern, database) })
			if bookDenies && !denied {
				t.Errorf("%s, %s: the Book says no (%q), the engine %v", user, database, a.Schemas, err)
			}
			if bookDenies {
				known++
			}
		}
	}
	if known < 25 {
		t.Errorf("the Book says no only %d times", known)
	}
}

// fits is LIKE, for patterns with a few wildcards.
func fits(pattern, name string) bool {
	if pattern == "" {
		return name == ""
	}
	switch {
	case pattern[0] == '%':
		return fits(pattern[1:], name) || name != "" && fits(pattern, name[1:])
	case name == "":
		return false
	case pattern[0] == '\\' && len(pattern) > 1:
		return pattern[1] == name[0] && fits(pattern[2:], name[1:])
	}
	return (pattern[0] == '_' || pattern[0] == name[0]) && fits(pattern[1:], name[1:])
}

func (s *server) testMany(t *testing.T) {
	var everybody sync.WaitGroup
	began := time.Now()
	for i := range 300 {
		everybody.Go(func() {
			user := []string{"app", "root", "nobody"}[i%3]
			book, err := s.source.Book(t.Context(), user, "my_app")
			if err != nil {
				t.Error(err)
				return
			}
			if found := slices.ContainsFunc(book.Accounts, func(a credential.Account) bool { return a.User == user }); found != (user != "nobody") {
				t.Errorf("%s: %v", user, found)
			}
		})
	}
	everybody.Wait()
	t.Logf("300 lookups in %v", time.Since(began).Round(time.Millisecond))
	began = time.Now()
	for range 100 {
		s.book("app", "my_app")
	}
	t.Logf("a lookup takes %v", (time.Since(began) / 100).Round(time.Microsecond))
	// Somebody who does not wait any longer hinders nobody.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.source.Book(ctx, "app", ""); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s.book("app", "my_app")
}

func (s *server) testSettle(t *testing.T) {
	conn := s.master()
	if got := value(t, conn, "SELECT @@innodb_buffer_pool_size"); got != fmt.Sprint(startingPool) {
		t.Errorf("started with %s", got)
	}
	if err := s.engine.Settle(t.Context(), s.backend.Address, acu.Size{Memory: 1 << 30, MaxConnections: 281}); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	want := fmt.Sprint(bufferPool(1<<30, machineMemory()))
	for value(t, conn, "SELECT @@innodb_buffer_pool_size") != want {
		if time.Now().After(deadline) {
			t.Fatalf("buffer pool: not %s", want)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if got := value(t, conn, "SELECT @@max_connections"); got != "281" {
		t.Errorf("max_connections: %s", got)
	}
}

// An account that may not read the others is told what it lacks.
func (s *server) testDenied(t *testing.T) {
	s.control("CREATE USER plain@'%' IDENTIFIED BY 'x'")
	t.Cleanup(func() { s.control("DROP USER plain@'%'") })
	source := NewSource(SourceConfig{Network: "unix", Address: s.backend.Address, Log: quiet,
		Login: func() (Login, error) { return Login{User: "plain", Password: "x"}, nil }})
	defer source.Close()
	if _, err := source.Book(t.Context(), "app", ""); !errors.Is(err, ErrNoVerifiers) || errors.Is(err, credential.ErrUnavailable) {
		t.Error(err)
	}
	wrong := NewSource(SourceConfig{Network: "unix", Address: s.backend.Address, Log: quiet,
		Login: func() (Login, error) { return Login{User: "plain", Password: "very-secret"}, nil }})
	defer wrong.Close()
	if _, err := wrong.Book(t.Context(), "app", ""); err == nil || errors.Is(err, credential.ErrUnavailable) || strings.Contains(err.Error(), "very-secret") {
		t.Error(err)
	}
}

// Whatever is done to the control account, the next start restores it; and a
// superuser's own password does not lock the proxy out.
func (s *server) testLockedOut(t *testing.T) {
	s.control("SET PASSWORD FOR root@localhost = PASSWORD('mine')", "DROP USER "+controlUser+"@"+controlHost)
	if err := s.engine.Ready(t.Context(), "unix", s.backend.Address); err == nil {
		t.Fatal("still let in")
	}
	s.stop()
	if _, err := s.source.Book(t.Context(), "app", ""); !errors.Is(err, credential.ErrUnavailable) {
		t.Errorf("stopped: %v", err)
	}
	s.start()
	s.book("app", "my_app") // over a new connection
	if a := accountOf(s.book("root", ""), "root", "localhost"); !strings.HasPrefix(string(a.Methods[0].Verifier), "*") {
		t.Error("root's password is lost")
	}
}

// A server that outlived its proxy is known again, and knows the control
// account that it was started with.
func (s *server) testAdopted(t *testing.T) {
	pid := s.engine.PID(s.place)
	later := process.New(process.Config{Name: "test", Engine: New(Config{Log: quiet}), Place: s.place, Log: quiet})
	if running, err := later.Running(t.Context()); err != nil || !running {
		t.Fatal(running, err)
	}
	if _, err := later.Start(t.Context(), size); err != nil {
		t.Fatal(err)
	}
	if now := s.engine.PID(s.place); now != pid {
		t.Errorf("another process: %d, %d", pid, now)
	}
	source := New(Config{Log: quiet}).Source(s.place)
	defer source.Close()
	if _, err := source.Book(t.Context(), "app", ""); err != nil {
		t.Error(err)
	}
}

func (s *server) testKilled(t *testing.T) {
	conn := s.master()
	if _, err := conn.Execute("INSERT INTO t VALUES (7)"); err != nil {
		t.Fatal(err)
	}
	pid := s.engine.PID(s.place)
	exited := s.compute.Exited()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-exited:
	case <-time.After(10 * time.Second):
		t.Fatal("its end goes unnoticed")
	}
	s.start()
	if got := value(t, s.master(), "SELECT COUNT(*) FROM t"); got != "1" {
		t.Errorf("rows: %s", got)
	}
	s.book("app", "my_app")
}

func (s *server) testExisting(t *testing.T) {
	version, err := s.engine.Existing(s.place)
	if err != nil || !strings.HasPrefix(version, "10.") {
		t.Errorf("%q, %v", version, err)
	}
	other := New(Config{Log: quiet, BinDir: filepath.Join(put(t, map[string]string{"bin/mysqld": fakeMySQL}), "bin")})
	if _, err := other.Existing(s.place); !errors.Is(err, ErrOtherVersion) {
		t.Error(err)
	}
}

func (s *server) testBadParameter(t *testing.T) {
	s.stop()
	engine := New(Config{Accept: []*Flavor{MariaDB}, Log: quiet, Parameters: map[string]string{"no_such_thing": "1"}})
	compute := process.New(process.Config{Name: "test", Engine: engine, Place: s.place, Log: quiet})
	// It has run before: it runs again with the parameters that it had.
	if _, err := compute.Start(t.Context(), size); err != nil {
		t.Error(err)
	}
	if refused := compute.Tuning().Refused; refused == nil || !strings.Contains(refused.Error(), "no_such_thing") {
		t.Errorf("refused: %v", refused)
	}
	if err := compute.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	s.start()
}
