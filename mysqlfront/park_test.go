package mysqlfront_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"serverlessproxy/cluster"
	"serverlessproxy/mysqlfront"
	"serverlessproxy/pool"
	"serverlessproxy/pool/pooltest"
	"serverlessproxy/router"
)

// TestParkCalledOff: a park that is called off while the engine answers leaves
// nothing behind that the client would take for the answer to its own query.
func TestParkCalledOff(t *testing.T) {
	h := build(t, nil)
	_, ask := h.one("app:pw", "")
	for i := range 200 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*50*time.Microsecond)
		_ = h.pool.Park(ctx)
		cancel()
		if want, got := strconv.Itoa(i), ask("SELECT "+strconv.Itoa(i)); got != want {
			t.Fatalf("after %d tries the client reads %q, want %q", i, got, want)
		}
	}
}

// parkAll has every session give its backend up.
func (h *house) parkAll() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return h.pool.Park(ctx)
}

// one is a connection of one user, and a func that asks it.
func (h *house) one(login, options string) (*sql.Conn, func(string) string) {
	h.t.Helper()
	conn, err := h.open(login, "app", options).Conn(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	return conn, func(query string) string {
		h.t.Helper()
		var v sql.NullString
		if err := conn.QueryRowContext(context.Background(), query).Scan(&v); err != nil {
			return err.Error()
		}
		if !v.Valid {
			return "NULL"
		}
		return v.String
	}
}

// carriedItems are set up, and must read the same on the next backend.
var carriedItems = map[string]struct{ set, read string }{
	"number":             {"SET sort_buffer_size = 65536", "SELECT @@sort_buffer_size"},
	"real number":        {"SET long_query_time = 1.5", "SELECT @@long_query_time"},
	"text":               {"SET time_zone = '+03:30'", "SELECT @@time_zone"},
	"flags":              {"SET optimizer_switch = 'mrr=on'", "SELECT @@optimizer_switch"},
	"sql_mode":           {"SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT'", "SELECT @@sql_mode"},
	"empty sql_mode":     {"SET sql_mode = ''", "SELECT @@sql_mode"},
	"names":              {"SET NAMES latin1 COLLATE latin1_german1_ci", "SELECT CONCAT(@@character_set_client, @@collation_connection)"},
	"gbk":                {"SET NAMES gbk", "SELECT @@character_set_client"},
	"no results charset": {"SET character_set_results = NULL", "SELECT @@character_set_results"},
	"results as utf16":   {"SET character_set_results = utf16", "SELECT HEX(@@character_set_results)"},
	"no autocommit":      {"SET autocommit = 0", "SELECT @@autocommit"},
	"isolation":          {"SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", "SELECT @@tx_isolation"},
	"read only":          {"SET SESSION TRANSACTION READ ONLY", "SELECT @@tx_read_only"},
	"once only":          {"SET TRANSACTION READ ONLY", "INSERT INTO t VALUES (99, 'x')"},
	"no rows":            {"SET sql_select_limit = 0", "SELECT 1"},
	"select limit":       {"SET sql_select_limit = 7", "SELECT @@sql_select_limit"},
	"join limit":         {"SET max_join_size = 1", "SELECT CONCAT(@@max_join_size, @@sql_big_selects)"},
	"big selects":        {"SET max_join_size = 1, sql_big_selects = 1", "SELECT CONCAT(@@max_join_size, @@sql_big_selects)"},
	"time limit":         {"SET max_statement_time = 0.5", "SELECT @@max_statement_time"},
	"foreign keys":       {"SET foreign_key_checks = 0, unique_checks = 0", "SELECT CONCAT(@@foreign_key_checks, @@unique_checks)"},
	"group_concat":       {"SET group_concat_max_len = 4", "SELECT GROUP_CONCAT(a) FROM (SELECT 12345678 a) x"},
	"waits":              {"SET wait_timeout = 1234, lock_wait_timeout = 77, innodb_lock_wait_timeout = 3", "SELECT CONCAT(@@wait_timeout, @@lock_wait_timeout, @@innodb_lock_wait_timeout)"},
	"language":           {"SET lc_time_names = 'de_DE', lc_messages = 'de_DE'", "SELECT CONCAT(@@lc_time_names, DAYNAME('2024-01-01'))"},
	"database":           {"USE information_schema", "SELECT DATABASE()"},
	"integer":            {"SET @a = -9223372036854775808", "SELECT @a"},
	"unsigned":           {"SET @a = 18446744073709551615", "SELECT @a"},
	"decimal":            {"SET @a = 12345678901234567890.1230", "SELECT @a"},
	"double":             {"SET @a = 1.0e0/3", "SELECT @a = 1.0e0/3"},
	"latin1":             {"SET @a = _latin1 x'e9' COLLATE latin1_bin", "SELECT CONCAT(HEX(@a), COLLATION(@a))"},
	"utf8mb4":            {"SET @a = _utf8mb4 x'f09f9880' COLLATE utf8mb4_bin", "SELECT CONCAT(HEX(@a), COLLATION(@a))"},
	"binary":             {"SET @a = x'00ff27'", "SELECT CONCAT(HEX(@a), COLLATION(@a))"},
	"quotes":             {`SET @a = 'a''"\\b'`, "SELECT HEX(@a)"},
	"empty text":         {"SET @a = ''", "SELECT CONCAT('[', @a, ']')"},
	"null":               {"SET @a = NULL", "SELECT @a"},
	"null number":        {"SET @a = CAST(NULL AS SIGNED)", "SELECT COLLATION(@a)"},
	"null text":          {"SET @a = CONVERT(NULL USING latin1) COLLATE latin1_bin", "SELECT COLLATION(@a)"},
	"odd name":           {"SET @`a ``b` = 5", "SELECT @`a ``b`"},
	"select into":        {"SELECT 5, 'x' INTO @a, @b", "SELECT CONCAT(@a, @b)"},
	"long text":          {"SET @a = REPEAT('x', 2000000)", "SELECT LENGTH(@a)"},
	"last insert id":     {"DO LAST_INSERT_ID(4711)", "SELECT LAST_INSERT_ID()"},
	"insert id":          {"SET insert_id = 4712", "SELECT @@insert_id"},
	"timestamp":          {"SET timestamp = 1000000000", "SELECT UNIX_TIMESTAMP(NOW())"},
	"random":             {"SET rand_seed1 = 5, rand_seed2 = 7", "SELECT RAND()"},
	"found rows":         {"SELECT SQL_CALC_FOUND_ROWS 1 FROM seq_1_to_4321 LIMIT 1", "SELECT FOUND_ROWS()"},
	"role":               {"SET ROLE reader", "SELECT CURRENT_ROLE()"},
	"warnings":           {"SET sql_notes = 0, sql_warnings = 1", "SELECT @@sql_warnings"},
}

// TestCarried: what a session has is the same after its backend is another's.
func TestCarried(t *testing.T) {
	h := build(t, nil)
	needEngine(t).root.Exec("CREATE ROLE IF NOT EXISTS reader; GRANT reader TO app@'%'")
	for name, item := range carriedItems {
		t.Run(name, func(t *testing.T) {
			defer h.cluster.Serve(h.cluster.Status().Backend)
			sleep := func() error { h.cluster.Sleep(); err := h.parkAll(); h.serve(); return err }
			again, anew := h.reads(t, item.set, item.read, h.parkAll), h.reads(t, item.set, item.read, sleep)
			direct := h.reads(t, item.set, item.read, func() error { return nil })
			if again != direct || anew != direct {
				t.Errorf("read %q and %q, not %q", again, anew, direct)
			}
		})
	}
}

// reads sets something up, has something happen, and reads it, twice.
func (h *house) reads(t *testing.T, set, read string, happen func() error) string {
	t.Helper()
	db := h.open("app:pw", "app", "")
	defer db.Close()
	conn, err := db.Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(context.Background(), set); err != nil {
		t.Fatal(err)
	}
	if err := happen(); err != nil {
		t.Error(err)
	}
	var v sql.NullString
	if err := conn.QueryRowContext(context.Background(), read).Scan(&v); err != nil {
		return err.Error()
	}
	return v.String
}

// pinningItems keep a session where it is.
var pinningItems = map[string]struct{ set, reason string }{
	"transaction":            {"BEGIN", "transaction"},
	"temporary table":        {"CREATE TEMPORARY TABLE tt (a INT)", "temporary_object"},
	"dropped temporary":      {"CREATE TEMPORARY TABLE tt (a INT); DROP TEMPORARY TABLE tt", "temporary_object"},
	"lock tables":            {"LOCK TABLES t READ", "lock_tables"},
	"user lock":              {"SELECT GET_LOCK('a', 1)", "user_lock"},
	"handler":                {"HANDLER t OPEN", "handler"},
	"xa":                     {"XA START 'x'", "transaction"},
	"prepared in text":       {"PREPARE s FROM 'SELECT 1'", "prepared_text"},
	"in a block":             {"BEGIN NOT ATOMIC CREATE TEMPORARY TABLE tt (a INT); END", "temporary_object"},
	"transaction to be read": {"SELECT 1; SET TRANSACTION READ ONLY", "transaction"},
}

// TestPinned: what cannot be carried keeps the session on its backend, with
// all that it has, and says why.
func TestPinned(t *testing.T) {
	h := build(t, nil)
	for name, item := range pinningItems {
		t.Run(name, func(t *testing.T) {
			db := h.open("app:pw", "app", "multiStatements=true")
			defer db.Close()
			conn, err := db.Conn(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.ExecContext(context.Background(), item.set); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			defer cancel()
			var holdouts *cluster.Holdouts
			if err := h.pool.Park(ctx); !errors.As(err, &holdouts) || !slices.Contains(holdouts.Sessions[0].Reasons, item.reason) {
				t.Errorf("park: %v, want it to be pinned by %s", err, item.reason)
			}
			if _, err := conn.ExecContext(context.Background(), "SELECT 1 FROM DUAL"); err != nil {
				t.Error(err)
			}
			conn.ExecContext(context.Background(), "ROLLBACK")
			conn.Close()
			db.Close()
			eventually(t, "gone", func() bool { return len(h.pool.Sessions()) == 0 })
		})
	}
}

// TestUnpinned: what is over pins no more.
func TestUnpinned(t *testing.T) {
	h := build(t, nil)
	r := h.login("app", "pw")
	r.expect(r.query("LOCK TABLES t READ"), "OK")
	r.expect(r.query("UNLOCK TABLES"), "OK")
	if err := h.parkAll(); err != nil {
		t.Error(err, h.pool.Pins())
	}
	r.expect(r.query("SELECT GET_LOCK('a', 1)"), "1")
	if err := h.parkAll(); err == nil {
		t.Error("a session with a lock was parked")
	}
	r.expect(r.query("SELECT RELEASE_LOCK('a')"), "1")
	if err := h.parkAll(); err != nil {
		t.Error(err, h.pool.Pins())
	}
	r.expect(r.query("CREATE TEMPORARY TABLE tt (a INT)"), "OK")
	if err := h.parkAll(); err == nil {
		t.Error("a session with a temporary table was parked")
	}
	r.expect(r.command(0x1f, ""), "OK") // COM_RESET_CONNECTION
	if err := h.parkAll(); err != nil {
		t.Error(err, h.pool.Pins())
	}
	r.expect(r.query("SELECT 5"), "5")
}

// TestParkedStatements: prepared statements go on under the ids that the
// client has, with types that it does not send again.
func TestParkedStatements(t *testing.T) {
	h := build(t, nil)
	conn, ask := h.one("app:pw", "")
	ctx := context.Background()
	ask("SET sql_mode = 'ANSI_QUOTES'")
	var all []*sql.Stmt
	for _, text := range []string{`SELECT CONCAT(?, 'a')`, `SELECT ? + 1`, `SELECT "v" FROM t WHERE id = ?`} {
		stmt, err := conn.PrepareContext(ctx, text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, stmt)
	}
	for range 3 {
		if err := h.parkAll(); err != nil {
			t.Fatal(err)
		}
		all[1], all[0] = all[0], all[1]
		for i := len(all) - 1; i >= 0; i-- {
			var v sql.NullString
			if err := all[i].QueryRowContext(ctx, 5).Scan(&v); err != nil && !errors.Is(err, sql.ErrNoRows) {
				t.Errorf("statement %d: %v", i, err)
			} else if i < 2 && v.String != "5a" && v.String != "6" {
				t.Errorf("statement %d: %q", i, v.String)
			}
		}
	}
	ask("SET sql_mode = ''")
	if err := h.parkAll(); err != nil {
		t.Fatal(err) // known from an earlier reading
	}
	if _, err := all[2].ExecContext(ctx, 1); err != nil {
		t.Error(err)
	}
	if got := ask("SELECT @@sql_mode"); got != "" {
		t.Errorf("sql_mode is %q", got)
	}
}

// TestParkedWaits: a parked session is answered what needs no engine.
func TestParkedWaits(t *testing.T) {
	h := build(t, func(_ *mysqlfront.Config, target *router.Target, _ *router.Listener) {
		target.KeepaliveQueries = []string{"SELECT 1", "/* ping */ SELECT 1", "-- ping"}
	})
	r := h.login("app", "pw")
	r.expect(r.query("SET @a = 5, autocommit = 0"), "OK")
	comment := r.query("-- ping")
	if err := h.parkAll(); err != nil {
		t.Fatal(err)
	}
	r.expect(r.command(14, ""), "OK") // COM_PING
	r.expect(r.query("SELECT 1"), "1")
	r.expect(r.query("/* ping */ SELECT 1"), "1")
	r.expect(r.query("-- ping"), comment)
	if n := h.pool.Counts()[pool.Parked]; n != 1 || h.tally.Queries.Load() != 2 {
		t.Errorf("%d parked, %d queries", n, h.tally.Queries.Load())
	}
	r.expect(r.query("SELECT CONCAT(@a, @@autocommit)"), "5OFF")
}

// TestReleaseAtOnce: a session gives its backend up at every safe point, and
// its client cannot tell.
func TestReleaseAtOnce(t *testing.T) {
	h := build(t, func(_ *mysqlfront.Config, target *router.Target, _ *router.Listener) {
		limits := pooltest.Limits(100)
		limits.ReleaseAfter = pool.AtOnce
		_, waker := pooltest.New("unix", needEngine(t).socket)
		target.Pool = pool.New(pool.Config{Cluster: "test", Waker: waker, Limits: limits})
	})
	h.pool = h.target.Pool
	r := h.login("app", "pw")
	parked := func() bool { return h.pool.Counts()[pool.Parked] == 1 }
	eventually(t, "parked", parked)
	r.expect(r.query("SET @a = 0"), "OK")
	for i := range 20 {
		r.expect(r.query("SET @a = @a + 1"), "OK")
		r.expect(r.query("SELECT @a"), strconv.Itoa(i+1))
	}
	eventually(t, "parked", parked)
	r.expect(r.query("DELETE FROM t"), "OK")
	r.expect(r.query("INSERT INTO t VALUES (1, 'a'), (2, 'b')"), "OK")
	r.expect(r.query("SELECT ROW_COUNT()"), "2")
	eventually(t, "parked", parked)
	r.expect(r.query("SELECT SQL_CALC_FOUND_ROWS id FROM t LIMIT 1"), "")
	eventually(t, "parked", parked)
	r.expect(r.query("SELECT FOUND_ROWS()"), "2")
	eventually(t, "parked", parked)
	r.expect(r.query("DO 1 + 'a'"), "OK")
	r.expect(r.query("SELECT @@warning_count"), "1")
	r.expect(r.query("CREATE TEMPORARY TABLE tt (a INT)"), "OK")
	r.expect(r.query("INSERT INTO tt VALUES (7)"), "OK")
	r.expect(r.query("SELECT a FROM tt"), "7")
	r.expect(r.command(0x1f, ""), "OK")
	eventually(t, "parked", parked)
}

// TestLockInARoutine: the engine's plugin tells of a lock that no text of the
// session names.
func TestLockInARoutine(t *testing.T) {
	e := needEngine(t)
	for _, statement := range []string{
		"INSTALL SONAME 'metadata_lock_info'",
		"CREATE OR REPLACE FUNCTION app.locks(name TEXT) RETURNS INT RETURN GET_LOCK(name, 0)",
		"CREATE OR REPLACE FUNCTION app.unlocks(name TEXT) RETURNS INT RETURN RELEASE_LOCK(name)",
	} {
		if _, err := e.root.Exec(statement); err != nil {
			t.Fatal(statement, err)
		}
	}
	defer e.root.Exec("UNINSTALL SONAME 'metadata_lock_info'")
	h := build(t, nil)
	r := h.login("app", "pw")
	r.expect(r.query("SELECT locks('r')"), "1")
	if err := h.parkAll(); err == nil {
		t.Error("a session with a lock was parked")
	}
	r.expect(r.query("SELECT unlocks('r')"), "1")
	r.expect(r.query("SELECT GET_LOCK(CONCAT('x', 'y'), 1) + RELEASE_LOCK('xy')"), "2")
	if err := h.parkAll(); err != nil {
		t.Error(err, h.pool.Pins())
	}
}
