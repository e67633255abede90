package mysqlfront_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"serverlessproxy/cluster"
	"serverlessproxy/mysqlfront"
	"serverlessproxy/pool"
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

// TestReadingOfAParkedSession: a session that has lost its backend since its
// state was to be read goes on.
func TestReadingOfAParkedSession(t *testing.T) {
	h := build(t, nil)
	_, ask := h.one("app:pw", "")
	ask("SET @mine = 7")
	if err := h.parkAll(); err != nil {
		t.Fatal(err)
	}
	h.front.AskForReadings()
	if got := ask("SELECT @mine"); got != "7" {
		t.Errorf("got %q", got)
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

// manyVariables are assignments of n more.
func manyVariables(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, ", @v%d = 't%d'", i, i)
	}
	return text.String()
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
	"oracle mode":        {"SET @a = '', @b = x'', sql_mode = 'ORACLE,EMPTY_STRING_IS_NULL,SIMULTANEOUS_ASSIGNMENT', collation_server = utf8mb4_bin", "SELECT CONCAT(HEX(@a), '/', HEX(@b), @@sql_mode)"},
	"odd modes":          {"SET sql_mode = 'PAD_CHAR_TO_FULL_LENGTH,IGNORE_SPACE,HIGH_NOT_PRECEDENCE,TIME_ROUND_FRACTIONAL,NO_UNSIGNED_SUBTRACTION,REAL_AS_FLOAT', @a = 'x'", "SELECT CONCAT(@a, @@sql_mode)"},
	"tracking":           {"SET session_track_schema = OFF, session_track_system_variables = '', session_track_state_change = ON", "SELECT CONCAT(@@session_track_schema, '/', @@session_track_system_variables, @@session_track_state_change)"},
	"track all":          {"SET session_track_system_variables = '*', session_track_transaction_info = 'CHARACTERISTICS'", "SELECT CONCAT(@@session_track_system_variables, @@session_track_transaction_info)"},
	"little memory":      {"SET @a = 'x', max_session_mem_used = 1000000", "SELECT @@max_session_mem_used"},
	"small things":       {"SET sql_safe_updates = 1, sql_auto_is_null = 1, sql_warnings = 1, sql_notes = 0, sql_buffer_result = 1, sql_quote_show_create = 0, max_error_count = 0, max_sort_length = 8", "SELECT CONCAT(@@sql_safe_updates, @@sql_auto_is_null, @@sql_warnings, @@sql_notes, @@sql_buffer_result, @@sql_quote_show_create, @@max_error_count, @@max_sort_length)"},
	"as of":              {"SET system_versioning_asof = '2020-01-01 00:00:00'", "SELECT @@system_versioning_asof"},
	"trace":              {"SET optimizer_trace = 'enabled=on', optimizer_trace_max_mem_size = 4096", "SELECT CONCAT(@@optimizer_trace, @@optimizer_trace_max_mem_size)"},
	"profiling":          {"SET profiling = 1, profiling_history_size = 3", "SELECT CONCAT(@@profiling, @@profiling_history_size)"},
	"master connection":  {"SET default_master_connection = 'x'", "SELECT @@default_master_connection"},
	"regex":              {"SET default_regex_flags = 'DOTALL,EXTENDED'", "SELECT @@default_regex_flags"},
	"old mode":           {"SET old_mode = ''", "SELECT CONCAT('[', @@old_mode, ']')"},
	"database's charset": {"SET character_set_database = koi8r", "SELECT CONCAT(@@character_set_database, @@collation_database)"},
	"file names":         {"SET character_set_filesystem = latin1", "SELECT @@character_set_filesystem"},
	"temporary engine":   {"SET default_tmp_storage_engine = MyISAM", "SELECT @@default_tmp_storage_engine"},
	"set statement":      {"SET STATEMENT max_statement_time = 5, sql_mode = 'ANSI' FOR SELECT 1", "SELECT CONCAT(@@max_statement_time, @@sql_mode)"},
	"sjis":               {"SET NAMES sjis", "SELECT CONCAT(@@character_set_client, @@collation_connection)"},
	"swe7":               {"SET NAMES swe7", "SELECT @@character_set_connection"},
	"connection utf16":   {"SET @a = 'x', character_set_connection = utf16, @b = 'y', @c = 5.5, max_join_size = 9", "SELECT HEX(CONCAT('a', @a, @b, @c, @@collation_connection, @@sql_big_selects))"},
	"charset by SET":     {"SET CHARACTER SET latin2", "SELECT CONCAT(@@character_set_client, @@character_set_connection, @@character_set_results)"},
	"double sum":         {"SET @a = 0.1e0 + 0.2e0", "SELECT @a = 0.1e0 + 0.2e0"},
	"large double":       {"SET @a = 1.7976931348623157e308", "SELECT @a = 1.7976931348623157e308"},
	"small double":       {"SET @a = 5e-324", "SELECT @a = 5e-324"},
	"long decimal":       {"SET @a = 123456789012345678901234567.12345678901234567890123456789012345678", "SELECT @a"},
	"negative decimal":   {"SET @a = -0.00", "SELECT @a"},
	"true":               {"SET @a = TRUE", "SELECT @a"},
	"date":               {"SET @a = DATE'2024-02-29', @b = TIME'838:59:59.5', @c = TIMESTAMP'2024-02-29 01:02:03.000001'", "SELECT CONCAT_WS(' ', @a, @b, @c)"},
	"utf16 text":         {"SET @a = _utf16 x'00e9d83dde00'", "SELECT CONCAT(HEX(@a), COLLATION(@a))"},
	"utf32 text":         {"SET @a = _utf32 x'0001f600'", "SELECT CONCAT(HEX(@a), COLLATION(@a))"},
	"sjis text":          {"SET @a = _sjis x'955c'", "SELECT CONCAT(HEX(@a), COLLATION(@a))"},
	"wrong text":         {"SET @a = CONVERT(x'ff' USING latin1)", "SELECT CONCAT(HEX(@a), COLLATION(@a))"},
	"bits":               {"SET @a = b'1010', @b = POINT(1, 2)", "SELECT CONCAT(HEX(@a), '/', ST_AsText(@b))"},
	"null decimal":       {"SET @a = CAST(NULL AS DECIMAL(5,2)), @b = CAST(NULL AS DOUBLE), @c = CAST(NULL AS UNSIGNED)", "SELECT CONCAT_WS(',', COERCIBILITY(@a), @a IS NULL, @b IS NULL, @c IS NULL)"},
	"null binary":        {"SET @a = CAST(NULL AS BINARY)", "SELECT CONCAT(COLLATION(@a), @a IS NULL)"},
	"7 MiB":              {"SET @a = REPEAT('x', 7 << 20)", "SELECT LENGTH(@a)"},
	"many variables":     {"SET @a = 1" + strings.Repeat(", @x = 'y'", 3) + manyVariables(700), "SELECT CONCAT(@v0, @v345, @v699)"},
	"keyword name":       {"SET @`select` = 'v', @`a.b` = 'w', @`x'y\"z\\` = 'q'", "SELECT CONCAT(@`select`, @`a.b`, @`x'y\"z\\`)"},
	"last of all":        {"SELECT LAST_INSERT_ID(18446744073709551615)", "SELECT LAST_INSERT_ID()"},
	"row count":          {"DO 1", "SELECT ROW_COUNT()"},
	"rows changed":       {"BEGIN NOT ATOMIC DECLARE x INT; FOR i IN 1..3 DO SELECT 1 LIMIT 1 INTO x; END FOR; SELECT SQL_CALC_FOUND_ROWS seq FROM seq_1_to_77 LIMIT 1 INTO x; END", "SELECT CONCAT(ROW_COUNT(), ' ', FOUND_ROWS(), ' ', @@warning_count)"},
	"a row, none found":  {"BEGIN NOT ATOMIC DECLARE x INT; DECLARE CONTINUE HANDLER FOR NOT FOUND BEGIN END; SELECT 1 LIMIT 1 INTO x; SELECT 1 LIMIT 0 INTO x; END", "SELECT CONCAT(ROW_COUNT(), ' ', FOUND_ROWS(), ' ', @@warning_count)"},
	"completion":         {"SET completion_type = 2", "SELECT @@completion_type"},
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
	"in a function":          {"SELECT tempf()", "temporary_object"},
	"temporary like":         {"CREATE TEMPORARY TABLE tt LIKE t", "temporary_object"},
	"temporary select":       {"CREATE OR REPLACE TEMPORARY TABLE tt SELECT 1 a", "temporary_object"},
	"temporary sequence":     {"CREATE TEMPORARY SEQUENCE ss", "temporary_object"},
	"temporary by execute":   {"EXECUTE IMMEDIATE 'CREATE TEMPORARY TABLE tt (a INT)'", "temporary_object"},
	"prepared in a block":    {"BEGIN NOT ATOMIC PREPARE s FROM 'SELECT 1'; END", "prepared_text"},
	"savepoint":              {"SET autocommit = 0; SELECT COUNT(*) FROM t", "transaction"},
	"snapshot":               {"START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", "transaction"},
	"xa prepared":            {"XA START 'x'; XA END 'x'", "transaction"},
	"name not ASCII":         {"SET @`\xc3\xa9` = 1", "unreadable"},
	"value of 33 MiB":        {"SET @a = REPEAT('x', 33 << 20)", "unreadable"},
	"lock by function":       {"SELECT 1 + (SELECT GET_LOCK(CONCAT('a', 'b'), 1))", "user_lock"},
	"transaction to be read": {"SELECT 1; SET TRANSACTION READ ONLY", "transaction"},
}

// TestPinned: what cannot be carried keeps the session on its backend, with
// all that it has, and says why.
func TestPinned(t *testing.T) {
	h := build(t, nil)
	if _, err := needEngine(t).root.Exec("CREATE OR REPLACE FUNCTION app.tempf() RETURNS INT BEGIN CREATE OR REPLACE TEMPORARY TABLE tt (a INT); RETURN 1; END"); err != nil {
		t.Fatal(err)
	}
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
