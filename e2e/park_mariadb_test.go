package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// mariadbItems are what a session of MariaDB carries over a pause: set up
// before, the same afterwards.
var mariadbItems = []struct{ name, set, read string }{
	{"number", "SET sort_buffer_size = 65536", "SELECT @@sort_buffer_size"},
	{"real number", "SET long_query_time = 1.5", "SELECT @@long_query_time"},
	{"time zone", "SET time_zone = '+03:30'", "SELECT @@time_zone"},
	{"flags", "SET optimizer_switch = 'mrr=on'", "SELECT @@optimizer_switch LIKE '%mrr=on%'"},
	{"sql_mode", "SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT'", "SELECT @@sql_mode"},
	{"empty sql_mode", "SET sql_mode = ''", "SELECT CONCAT('[', @@sql_mode, ']')"},
	{"character set", "SET NAMES latin1 COLLATE latin1_german1_ci", "SELECT CONCAT(@@character_set_client, @@collation_connection)"},
	{"server collation", "SET collation_server = utf8mb4_bin", "SELECT CONCAT(@@character_set_server, @@collation_server)"},
	{"autocommit", "SET autocommit = 0", "SELECT @@autocommit"},
	{"isolation", "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", "SELECT @@tx_isolation"},
	{"read only", "SET SESSION TRANSACTION READ ONLY", "SELECT @@tx_read_only"},
	{"completion", "SET completion_type = CHAIN", "SELECT @@completion_type"},
	{"select limit", "SET sql_select_limit = 7", "SELECT @@sql_select_limit"},
	{"join limit", "SET max_join_size = 1", "SELECT CONCAT(@@max_join_size, @@sql_big_selects)"},
	{"big selects", "SET max_join_size = 1, sql_big_selects = 1", "SELECT CONCAT(@@max_join_size, @@sql_big_selects)"},
	{"time limit", "SET max_statement_time = 0.5", "SELECT @@max_statement_time"},
	{"foreign keys", "SET foreign_key_checks = 0, unique_checks = 0", "SELECT CONCAT(@@foreign_key_checks, @@unique_checks)"},
	{"group_concat", "SET group_concat_max_len = 4", "SELECT GROUP_CONCAT(a) FROM (SELECT 12345678 a) x"},
	{"waits", "SET lock_wait_timeout = 77, innodb_lock_wait_timeout = 3", "SELECT CONCAT(@@lock_wait_timeout, '/', @@innodb_lock_wait_timeout)"},
	{"wait_timeout", "SET wait_timeout = 1234", "SELECT @@wait_timeout"},
	{"language of names", "SET lc_time_names = 'de_DE'", "SELECT DAYNAME('2024-01-01')"},
	{"week format", "SET default_week_format = 3", "SELECT @@default_week_format"},
	{"increments", "SET auto_increment_increment = 5, auto_increment_offset = 2", "SELECT CONCAT(@@auto_increment_increment, @@auto_increment_offset)"},
	{"storage engine", "SET default_storage_engine = Aria", "SELECT @@default_storage_engine"},
	{"database", "USE information_schema", "SELECT DATABASE()"},
	{"integer", "SET @a = -9223372036854775808", "SELECT @a"},
	{"unsigned", "SET @a = 18446744073709551615", "SELECT @a"},
	{"decimal", "SET @a = 12345678901234567890.1230", "SELECT @a"},
	{"double", "SET @a = 1.0e0/3", "SELECT @a = 1.0e0/3"},
	{"latin1", "SET @a = _latin1 x'e9' COLLATE latin1_bin", "SELECT CONCAT(HEX(@a), COLLATION(@a))"},
	{"utf8mb4", "SET @a = _utf8mb4 x'f09f9880' COLLATE utf8mb4_bin", "SELECT CONCAT(HEX(@a), COLLATION(@a))"},
	{"binary", "SET @a = x'00ff27'", "SELECT CONCAT(HEX(@a), COLLATION(@a))"},
	{"empty text", "SET @a = ''", "SELECT CONCAT('[', @a, ']')"},
	{"null", "SET @a = NULL", "SELECT @a IS NULL"},
	{"null text", "SET @a = CONVERT(NULL USING latin1) COLLATE latin1_bin", "SELECT COLLATION(@a)"},
	{"odd name", "SET @`a ``b` = 5", "SELECT @`a ``b`"},
	{"set by select", "SELECT 5, 'x' INTO @a, @b", "SELECT CONCAT(@a, @b)"},
	{"long text", "SET @a = REPEAT('x', 2000000)", "SELECT LENGTH(@a)"},
	{"last insert id", "DO LAST_INSERT_ID(4711)", "SELECT LAST_INSERT_ID()"},
	{"insert id", "SET insert_id = 4712", "SELECT @@insert_id"},
	{"timestamp", "SET timestamp = 1000000000", "SELECT UNIX_TIMESTAMP(NOW())"},
	{"random", "SET rand_seed1 = 5, rand_seed2 = 7", "SELECT RAND()"},
	{"found rows", "SELECT SQL_CALC_FOUND_ROWS 1 FROM information_schema.collations LIMIT 1", "SELECT FOUND_ROWS() > 1"},
	{"no role", "SET ROLE NONE", "SELECT CURRENT_ROLE() IS NULL"},
}

// TestMariaDBSessionsOutliveAPause: each item in a session of its own, by three
// drivers; all sessions of a driver connected while the cluster is paused.
func TestMariaDBSessionsOutliveAPause(t *testing.T) {
	p := quickstart(t, "--engine", "mariadb")
	for _, driver := range mariadbDrivers {
		t.Run(driver.name, func(t *testing.T) {
			sessions := make([]speaker, len(mariadbItems))
			for i, item := range mariadbItems {
				sessions[i] = driver.open(t, p)
				if _, err := sessions[i].run(item.set); err != nil {
					t.Fatalf("%s: %v", item.name, err)
				}
			}
			p.pauseMariaDB(t)
			for i, item := range mariadbItems {
				again, err := sessions[i].run(item.read)
				if err != nil {
					t.Errorf("%s: %v", item.name, err)
					continue
				}
				if want := p.directly(t, driver.open, item.set, item.read); again != want {
					t.Errorf("%s: %q, not %q", item.name, again, want)
				}
			}
		})
	}
}

// directly is what a session reads that was not parked in between.
func (p *proxy) directly(t *testing.T, open func(*testing.T, *proxy) speaker, set, read string) string {
	t.Helper()
	value := ""
	t.Run("directly", func(t *testing.T) {
		s := open(t, p)
		if _, err := s.run(set); err != nil {
			t.Fatal(err)
		}
		var err error
		if value, err = s.run(read); err != nil {
			t.Fatal(err)
		}
	})
	return value
}

func (p *proxy) pauseMariaDB(t *testing.T) {
	t.Helper()
	if out, code := p.command("pause", "my"); code != 0 {
		t.Fatalf("pause: exit code %d\n%s", code, out)
	}
	p.wait("no engine process", 10*time.Second, func() error {
		if pids := p.engines(); len(pids) > 0 {
			return fmt.Errorf("engines %v", pids)
		}
		return nil
	})
}

// TestMariaDBStatementsOutliveAPause: one that was prepared goes on.
func TestMariaDBStatementsOutliveAPause(t *testing.T) {
	p := quickstart(t, "--engine", "mariadb")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	statement, err := p.connect(mariadb).PrepareContext(ctx, "SELECT ? + 1")
	if err != nil {
		t.Fatal(err)
	}
	p.pauseMariaDB(t)
	var n int
	if err := statement.QueryRowContext(ctx, 41).Scan(&n); err != nil || n != 42 {
		t.Errorf("prepared statement: %d, %v", n, err)
	}
}

// TestMariaDBLockInARoutine: nobody's text names the lock, and it is not lost.
func TestMariaDBLockInARoutine(t *testing.T) {
	p := quickstart(t, "--engine", "mariadb")
	conn := p.connect(mariadb)
	do(t, conn, "CREATE FUNCTION locks() RETURNS INT RETURN GET_LOCK('l', 0)", "DO locks()")
	if out, code := p.command("pause", "my", "--timeout", "3s"); code != 1 {
		t.Errorf("pause with a lock: exit code %d\n%s", code, out)
	}
	if out, _ := p.command("sessions", "my"); !strings.Contains(out, "user_lock") {
		t.Errorf("the pin is not shown:\n%s", out)
	}
	if got := one(t, conn, "SELECT IS_USED_LOCK('l') = CONNECTION_ID()"); got != "1" {
		t.Errorf("the lock is held: %q", got)
	}
	do(t, conn, "DO RELEASE_LOCK('l')")
	p.pauseMariaDB(t)
}
