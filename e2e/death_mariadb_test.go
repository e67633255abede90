package e2e

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

// mortalMariaDB is a session whose engine dies.
type mortalMariaDB struct {
	p    *proxy
	conn *sql.Conn
}

func (p *proxy) mortalMariaDB(t *testing.T) *mortalMariaDB {
	t.Helper()
	db, err := sql.Open("mysql", p.dsn(mariadb))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &mortalMariaDB{p, conn}
}

// does runs a statement, and returns 0, the error's number, or -1 for a
// connection that ended without a word.
func (m *mortalMariaDB) does(text string) int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := m.conn.ExecContext(ctx, text)
	var said *mysql.MySQLError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &said):
		return int(said.Number)
	}
	return -1
}

func (m *mortalMariaDB) expect(t *testing.T, text string, want int) {
	t.Helper()
	if got := m.does(text); got != want {
		t.Errorf("%s: %d, want %d", text, got, want)
	}
}

// value is what a query says.
func (m *mortalMariaDB) value(t *testing.T, text string) (said string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := m.conn.QueryRowContext(ctx, text).Scan(&said); err != nil {
		t.Errorf("%s: %v", text, err)
	}
	return said
}

// untilRead waits until the proxy has asked the session for its state, and has
// been done with that for a while.
func (m *mortalMariaDB) untilRead(t *testing.T) {
	t.Helper()
	if releaseAfter == "0" { // it is read when it gives its backend up
		m.p.wait("nobody is idle", 20*time.Second, func() error {
			if n := m.p.cluster(mariadb).Sessions.Idle; n > 0 {
				return fmt.Errorf("%d are", n)
			}
			return nil
		})
		return
	}
	watch := m.p.mortalMariaDB(t)
	id := m.value(t, "SELECT CONNECTION_ID()")
	last := watch.value(t, "SELECT query_id FROM information_schema.processlist WHERE id = "+id)
	m.p.wait("the session is read", 20*time.Second, func() error {
		if watch.value(t, "SELECT COUNT(*) FROM information_schema.processlist WHERE command = 'Sleep' AND time_ms > 300 AND id = "+id+" AND query_id > "+last) != "1" {
			return errors.New("it is not")
		}
		return nil
	})
	watch.conn.Close()
}

// endMariaDB ends the engine and waits until its last thread has ended: until
// then its sockets are open, and take commands.
func (p *proxy) endMariaDB(how syscall.Signal) {
	p.t.Helper()
	for _, pid := range p.engines() {
		if err := syscall.Kill(pid, how); err != nil {
			p.t.Fatalf("end process %d: %v", pid, err)
		}
		p.wait("the engine ends", 30*time.Second, func() error {
			threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
			if len(threads) > 1 || alive(pid) {
				return fmt.Errorf("process %d lives, with %d threads", pid, len(threads))
			}
			return nil
		})
	}
}

// under has text run while the engine dies, and returns what it is answered
// with.
func (m *mortalMariaDB) under(t *testing.T, text string) int {
	t.Helper()
	answer := make(chan int, 1)
	go func() { answer <- m.does(text) }()
	watch := m.p.mortalMariaDB(t)
	m.p.wait("the statement runs", 20*time.Second, func() error {
		if watch.value(t, "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'User sleep'") != "1" {
			return errors.New("it does not")
		}
		return nil
	})
	m.p.endMariaDB(syscall.SIGKILL)
	return <-answer
}

// aborted expects a transaction that lets nothing but a ROLLBACK in.
func (m *mortalMariaDB) aborted(t *testing.T) {
	t.Helper()
	for _, text := range []string{"SELECT n FROM kept", "COMMIT", "BEGIN", "SET @who = 'other'", "ROLLBACK TO a"} {
		m.expect(t, text, rolledBack)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var said *mysql.MySQLError
	if _, err := m.conn.PrepareContext(ctx, "SELECT ?"); !errors.As(err, &said) || said.Number != rolledBack || string(said.SQLState[:]) != "40001" {
		t.Errorf("prepare: %v", err)
	}
	if err := m.conn.PingContext(ctx); err != nil {
		t.Errorf("ping: %v", err)
	}
	m.expect(t, "ROLLBACK", 0)
}

// What a client is told of an engine that died.
const (
	rolledBack     = 1213
	outcomeUnknown = 1053
)

// victim is a proxy whose engine is to die.
func victim(t *testing.T) *proxy {
	p := quickstart(t, "--engine", "mariadb")
	setup := p.mortalMariaDB(t)
	setup.expect(t, "CREATE TABLE kept (n INT)", 0)
	setup.expect(t, "INSERT INTO kept VALUES (0)", 0)
	setup.expect(t, "CREATE PROCEDURE commits() BEGIN DO SLEEP(30); COMMIT; END", 0)
	setup.conn.Close()
	return p
}

// TestEngineDiesMariaDB is the table of what clients see of an engine's end.
func TestEngineDiesMariaDB(t *testing.T) {
	t.Parallel() // it waits, for the most part
	p := victim(t)
	// set is a session that has been set to something, and so its client finds it.
	set := func(t *testing.T) *mortalMariaDB {
		m := p.mortalMariaDB(t)
		m.expect(t, "SET sort_buffer_size = 65536, @who = 'me'", 0)
		return m
	}
	intact := func(t *testing.T, m *mortalMariaDB) {
		t.Helper()
		if got := m.value(t, "SELECT CONCAT(@@sort_buffer_size, @who, n) FROM kept"); got != "65536me0" {
			t.Errorf("%q", got)
		}
	}
	t.Run("idle", func(t *testing.T) {
		m := set(t)
		m.untilRead(t)
		p.endMariaDB(syscall.SIGKILL)
		intact(t, m)
	})
	t.Run("idle, stopped by another", func(t *testing.T) {
		m := set(t)
		m.untilRead(t)
		p.endMariaDB(syscall.SIGTERM)
		intact(t, m)
	})
	t.Run("prepared statement", func(t *testing.T) {
		m := p.mortalMariaDB(t)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		two, err := m.conn.PrepareContext(ctx, "SELECT ? + 1")
		if err != nil {
			t.Fatal(err)
		}
		m.untilRead(t)
		p.endMariaDB(syscall.SIGKILL)
		var n float64
		if err := two.QueryRowContext(ctx, 1).Scan(&n); err != nil || n != 2 {
			t.Errorf("%v, %v", n, err)
		}
	})
	t.Run("idle in a transaction", func(t *testing.T) {
		m := set(t)
		m.expect(t, "BEGIN", 0)
		m.expect(t, "UPDATE kept SET n = n + 1", 0)
		p.endMariaDB(syscall.SIGKILL)
		m.expect(t, "SELECT 1", rolledBack)
		m.aborted(t)
		intact(t, m)
	})
	t.Run("idle in a transaction, ROLLBACK next", func(t *testing.T) {
		m := set(t)
		m.expect(t, "START TRANSACTION", 0)
		m.expect(t, "UPDATE kept SET n = n + 1", 0)
		p.endMariaDB(syscall.SIGKILL)
		m.expect(t, "ROLLBACK", 0)
		intact(t, m)
	})
	t.Run("idle in a transaction without autocommit", func(t *testing.T) {
		m := set(t)
		m.expect(t, "SET autocommit = 0", 0)
		m.expect(t, "UPDATE kept SET n = n + 1", 0)
		p.endMariaDB(syscall.SIGKILL)
		m.expect(t, "COMMIT", rolledBack)
		m.aborted(t)
		intact(t, m)
	})
	p = victim(t) // one that dies again and again is started later and later
	t.Run("statement in a transaction", func(t *testing.T) {
		m := set(t)
		m.expect(t, "BEGIN", 0)
		if got := m.under(t, "UPDATE kept SET n = n + SLEEP(30)"); got != rolledBack {
			t.Errorf("%d", got)
		}
		m.aborted(t)
		intact(t, m)
	})
	t.Run("prepared statement in a transaction", func(t *testing.T) {
		m := set(t)
		m.expect(t, "BEGIN", 0)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		add, err := m.conn.PrepareContext(ctx, "UPDATE kept SET n = n + ?")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := add.ExecContext(ctx, 1); err != nil {
			t.Fatal(err)
		}
		p.endMariaDB(syscall.SIGKILL)
		var said *mysql.MySQLError
		if _, err := add.ExecContext(ctx, 1); !errors.As(err, &said) || said.Number != rolledBack {
			t.Errorf("%v", err)
		}
		m.aborted(t)
		if _, err := add.ExecContext(ctx, 0); err != nil {
			t.Errorf("after ROLLBACK: %v", err)
		}
		intact(t, m)
	})
	t.Run("transaction that has altered its session", func(t *testing.T) {
		m := set(t)
		m.expect(t, "BEGIN", 0)
		m.expect(t, "SET @who = 'other'", 0)
		p.endMariaDB(syscall.SIGKILL)
		m.expect(t, "SELECT 1", outcomeUnknown)
		m.expect(t, "SELECT 1", -1)
	})
	p = victim(t)
	t.Run("statement by itself", func(t *testing.T) {
		m := set(t)
		if got := m.under(t, "UPDATE kept SET n = n + SLEEP(30)"); got != outcomeUnknown {
			t.Errorf("%d", got)
		}
		m.expect(t, "SELECT 1", -1)
	})
	t.Run("COMMIT under way", func(t *testing.T) {
		m := set(t)
		m.expect(t, "BEGIN", 0)
		m.expect(t, "UPDATE kept SET n = n + 1", 0)
		if got := m.under(t, "CALL commits()"); got != outcomeUnknown {
			t.Errorf("%d", got)
		}
		m.expect(t, "SELECT 1", -1)
	})
	if got := p.mortalMariaDB(t).value(t, "SELECT n FROM kept"); got != "0" {
		t.Errorf("%s rows were changed", got)
	}
}

// TestKilledMariaDB: a session ended by another is no engine's death.
func TestKilledMariaDB(t *testing.T) {
	p := quickstart(t, "--engine", "mariadb")
	killer := p.mortalMariaDB(t)
	const connectionKilled = 1927
	m := p.mortalMariaDB(t)
	if releaseAfter == "0" {
		m.expect(t, "BEGIN", 0) // outside a transaction the thread is another's as soon as it has answered
	}
	killer.expect(t, "KILL "+m.value(t, "SELECT CONNECTION_ID()"), 0)
	if got := m.does("SELECT 1"); got != -1 && got != connectionKilled {
		t.Errorf("idle: %d", got)
	}
	m = p.mortalMariaDB(t)
	id := m.value(t, "SELECT CONNECTION_ID()")
	m.expect(t, "BEGIN", 0)
	answer := make(chan int, 1)
	go func() { answer <- m.does("SELECT SLEEP(30)") }()
	p.wait("the statement runs", 20*time.Second, func() error {
		if killer.value(t, "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'User sleep'") != "1" {
			return errors.New("it does not")
		}
		return nil
	})
	killer.expect(t, "KILL "+id, 0)
	if got := <-answer; got != -1 && got != connectionKilled {
		t.Errorf("at work: %d", got)
	}
}
