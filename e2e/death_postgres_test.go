package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// mortal is a session whose engine dies.
type mortal struct {
	t    *testing.T
	ctx  context.Context
	conn *pgconn.PgConn
}

func (p *proxy) mortal(t *testing.T) *mortal {
	t.Helper()
	return p.mortalAt(t, p.dsn(postgres))
}

func (p *proxy) mortalAt(t *testing.T, dsn string) *mortal {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	conn, err := pgconn.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return &mortal{t, ctx, conn}
}

// says runs a string, and returns the last value, or the error's code.
func (m *mortal) says(text string) string {
	results, err := m.conn.Exec(m.ctx, text).ReadAll()
	if err != nil {
		return codeOf(err)
	}
	if last := results[len(results)-1]; len(last.Rows) > 0 {
		return string(last.Rows[0][0])
	}
	return "done"
}

// codeOf is an error's SQLSTATE; "lost" if the connection ended without one.
func codeOf(err error) string {
	var said *pgconn.PgError
	if errors.As(err, &said) {
		return said.Code
	}
	return "lost"
}

func (m *mortal) expect(text, want string) {
	m.t.Helper()
	if got := m.says(text); got != want {
		m.t.Errorf("%s: %q, want %q", text, got, want)
	}
}

// killEngines ends the engine as the kernel does that has no memory left.
func (p *proxy) killEngines() {
	p.t.Helper()
	p.die(p.engines(), syscall.SIGKILL)
}

// killBackend kills the process of one session: PostgreSQL ends all then, and
// starts again by itself.
func (p *proxy) killBackend(m *mortal) {
	p.t.Helper()
	var pid int
	if _, err := fmt.Sscan(m.says("select pg_backend_pid()"), &pid); err != nil {
		p.t.Fatal(err)
	}
	p.die([]int{pid}, syscall.SIGKILL)
}

// die ends processes by a signal and waits until they and every session of the
// old server are gone: until then one of them may still do as it is told, or
// the kernel hold back the word of its end.
func (p *proxy) die(pids []int, signal syscall.Signal) {
	p.t.Helper()
	old := slices.Concat(pids, p.backends())
	for _, pid := range pids {
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			p.t.Fatalf("kill %d: %v", pid, err)
		}
	}
	p.wait("the processes of the old server end", 30*time.Second, func() error {
		for _, pid := range old {
			if alive(pid) {
				return fmt.Errorf("process %d lives", pid)
			}
		}
		return nil
	})
}

// alive is false for one that is gone, and for a zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}

// backends are the processes of the engine's sessions.
func (p *proxy) backends() []int {
	p.t.Helper()
	var pids []int
	for _, engine := range p.engines() {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", engine))
		for child := range strings.FieldsSeq(string(text)) {
			title, _ := os.ReadFile("/proc/" + child + "/cmdline")
			if pid, err := strconv.Atoi(child); err == nil && strings.Contains(string(title), " app app ") {
				pids = append(pids, pid)
			}
		}
	}
	if len(pids) == 0 {
		p.t.Fatal("no session's process is found")
	}
	return pids
}

// under has text run while the engine dies, and returns the code that it is
// answered with.
func (p *proxy) under(m *mortal, text string, die func()) string {
	m.t.Helper()
	answer := make(chan string, 1)
	go func() { answer <- m.says(text) }()
	busy := p.mortal(m.t)
	p.wait("the statement runs", 20*time.Second, func() error {
		if busy.says("select count(*) from pg_stat_activity where state = 'active' and query like '%pg_sleep%' and pid <> pg_backend_pid()") != "1" {
			return errors.New("it does not")
		}
		return nil
	})
	_ = busy.conn.Close(m.ctx)
	die()
	return <-answer
}

// TestEngineDiesPostgres is the table of what clients see of an engine's end:
// of the whole, and of one process, after which PostgreSQL restarts itself.
func TestEngineDiesPostgres(t *testing.T) {
	t.Parallel() // it waits, for the most part
	p := quickstart(t, "--engine", "postgres")
	setup := p.mortal(t)
	setup.expect("create table kept (n int); insert into kept values (0)", "done")
	for _, end := range []struct {
		name string
		die  func()
	}{
		{"engine killed", p.killEngines},
		{"process killed", func() { p.killBackend(p.mortal(t)) }},
	} {
		if end.name == "process killed" && !full(t, "one process killed, after which PostgreSQL ends all others") {
			continue
		}
		t.Run(end.name, func(t *testing.T) {
			t.Run("idle", func(t *testing.T) {
				m := p.settled(t, "set work_mem = '7MB'; set my_app.who = 'me'")
				end.die()
				m.expect("show work_mem", "7MB")
				m.expect("show my_app.who", "me")
			})
			t.Run("prepared statement", func(t *testing.T) {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				conn, err := pgx.Connect(ctx, p.dsn(postgres))
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close(ctx)
				if _, err := conn.Prepare(ctx, "two", "select $1::int + 1"); err != nil {
					t.Fatal(err)
				}
				p.untilRead(t)
				end.die()
				var n int
				if err := conn.QueryRow(ctx, "two", 1).Scan(&n); err != nil || n != 2 {
					t.Errorf("%d, %v", n, err)
				}
			})
			t.Run("idle in a transaction", func(t *testing.T) {
				m := p.settled(t, "set work_mem = '7MB'")
				m.expect("begin", "done")
				m.expect("set work_mem = '9MB'", "done")
				m.expect("update kept set n = n + 1", "done")
				end.die()
				m.expect("select 1", "40001")
				m.failed()
				m.expect("show work_mem", "7MB")
				m.expect("select n from kept", "0")
			})
			t.Run("idle in a transaction, ROLLBACK next", func(t *testing.T) {
				m := p.settled(t, "set work_mem = '7MB'")
				m.expect("begin; update kept set n = n + 1", "done")
				end.die()
				m.expect("rollback", "done")
				m.expect("show work_mem", "7MB")
			})
			t.Run("statement in a transaction", func(t *testing.T) {
				m := p.settled(t, "set work_mem = '7MB'")
				m.expect("begin", "done")
				if got := p.under(m, "update kept set n = n + 1 where pg_sleep(30) is not null", end.die); got != "40001" {
					t.Errorf("%q", got)
				}
				m.failed()
				m.expect("show work_mem", "7MB")
				m.expect("select n from kept", "0")
			})
			t.Run("statement by itself", func(t *testing.T) {
				m := p.settled(t, "select 1")
				if got := p.under(m, "update kept set n = n where pg_sleep(30) is not null", end.die); got != "08007" {
					t.Errorf("%q", got)
				}
				m.expect("select 1", "lost")
			})
			t.Run("COMMIT under way", func(t *testing.T) {
				m := p.settled(t, "select 1")
				m.expect("begin", "done")
				if got := p.under(m, "select pg_sleep(30); commit", end.die); got != "08007" {
					t.Errorf("%q", got)
				}
			})
			t.Run("transaction at once behind a SET", func(t *testing.T) {
				m := p.mortal(t)
				m.expect("set work_mem = '5MB'", "done")
				m.expect("begin", "done")
				m.expect("update kept set n = n + 1", "done")
				end.die()
				m.expect("select 1", "40001")
				m.failed()
				m.expect("show work_mem", "5MB")
			})
			t.Run("prepared in the transaction", func(t *testing.T) {
				m := p.mortal(t)
				m.expect("begin", "done")
				if _, err := m.conn.Prepare(m.ctx, "add", "update kept set n = n + $1", nil); err != nil {
					t.Fatal(err)
				}
				one := [][]byte{[]byte("1")}
				if r := m.conn.ExecPrepared(m.ctx, "add", one, nil, nil).Read(); r.Err != nil {
					t.Fatal(r.Err)
				}
				end.die()
				if r := m.conn.ExecPrepared(m.ctx, "add", one, nil, nil).Read(); codeOf(r.Err) != "40001" {
					t.Errorf("%v", r.Err)
				}
				m.failed()
				m.expect("begin", "done")
				if r := m.conn.ExecPrepared(m.ctx, "add", one, nil, nil).Read(); r.Err != nil {
					t.Errorf("after the ROLLBACK: %v", r.Err)
				}
				m.expect("rollback", "done")
			})
			t.Run("transaction from a state that is not known", func(t *testing.T) {
				m := p.mortal(t)
				m.expect("begin", "done")
				m.expect("prepare p as select 1", "done")
				end.die()
				if got := m.says("select 1"); got != "57P02" && got != "lost" {
					t.Errorf("%q", got)
				}
			})
		})
	}
}

// failed expects a transaction that lets nothing but a ROLLBACK in.
func (m *mortal) failed() {
	m.t.Helper()
	for _, text := range []string{"select 1", "commit", "discard all", "rollback to a"} {
		m.expect(text, "25P02")
	}
	if status := m.conn.TxStatus(); status != 'E' {
		m.t.Errorf("status %c", status)
	}
	result := m.conn.ExecParams(m.ctx, "select 1", nil, nil, nil, nil).Read()
	if codeOf(result.Err) != "25P02" {
		m.t.Errorf("in a batch: %v", result.Err)
	}
	result = m.conn.ExecParams(m.ctx, "rollback", nil, nil, nil, nil).Read()
	if result.Err != nil || !strings.HasPrefix(result.CommandTag.String(), "ROLLBACK") || m.conn.TxStatus() != 'I' {
		m.t.Errorf("ROLLBACK: %v, %q, status %c", result.Err, result.CommandTag, m.conn.TxStatus())
	}
}

// settled is a session that has done this and whose state has been read since.
func (p *proxy) settled(t *testing.T, text string) *mortal {
	m := p.mortal(t)
	if got := m.says(text); got == "lost" || len(got) == 5 && got != "done" {
		t.Fatalf("%s: %s", text, got)
	}
	p.untilRead(t)
	return m
}

// untilRead waits until the proxy has read every session's state: the last
// statement of each is ours then, has been answered, and is not followed by one
// about the shapes of its statements, which the engine does not list. Backends
// that were reset are nobody's.
func (p *proxy) untilRead(t *testing.T) {
	t.Helper()
	watch := p.mortal(t)
	defer watch.conn.Close(context.Background())
	p.wait("sessions are read", 20*time.Second, func() error {
		if got := watch.says("select count(*) from pg_stat_activity where usename = 'app' and pid <> pg_backend_pid() and query not like '%setseed%' and (query not like '%pg_my_temp_schema%' and query not like '%rolsuper%' or state <> 'idle' or state_change > clock_timestamp() - interval '500ms')"); got != "0" {
			return errors.New(got + " are not")
		}
		return nil
	})
}

// TestTerminatedBackendIsToldPostgres: one session ended by another is no
// engine's death.
func TestTerminatedBackendIsToldPostgres(t *testing.T) {
	p := quickstart(t, "--engine", "postgres")
	m := p.mortal(t)
	if releaseAfter == "0" {
		m.expect("begin", "done") // outside a transaction the process is another's as soon as it has answered
	}
	pid := m.says("select pg_backend_pid()")
	p.mortal(t).expect("select pg_terminate_backend("+pid+")", "t")
	if got := m.says("select 1"); got != "57P01" && got != "lost" {
		t.Errorf("%q", got)
	}
}
