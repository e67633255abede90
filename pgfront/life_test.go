package pgfront_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"serverlessproxy/cluster"
	"serverlessproxy/pgfront"
	"serverlessproxy/pool"
)

// attempt is a pgx connection that is being made.
type attempt struct {
	conn *pgx.Conn
	err  error
	done chan struct{}
	stop context.CancelFunc
}

func (h *house) attempt(more string) *attempt {
	ctx, cancel := context.WithCancel(h.ctx())
	a := &attempt{done: make(chan struct{}), stop: cancel}
	go func() {
		defer close(a.done)
		a.conn, a.err = pgx.Connect(ctx, h.dsn(more))
	}()
	return a
}

// result waits for it.
func (a *attempt) result(t *testing.T) (*pgx.Conn, error) {
	t.Helper()
	select {
	case <-a.done:
	case <-time.After(20 * time.Second):
		t.Fatal("the connection is neither made nor refused")
	}
	if a.conn != nil {
		t.Cleanup(func() { a.conn.Close(context.Background()) })
	}
	return a.conn, a.err
}

func (h *house) phases(p pool.Phase) int { return h.pool.Counts()[p] }

func (h *house) eventuallyIn(p pool.Phase, n int) {
	h.t.Helper()
	eventually(h.t, fmt.Sprintf("%d sessions are %v", n, p), func() bool { return h.phases(p) == n })
}

func TestHeldUntilServed(t *testing.T) {
	h := open(t, asleep)
	var attempts []*attempt
	for i := range 20 {
		more := ""
		if i%2 == 1 {
			more = "sslmode=require"
		}
		attempts = append(attempts, h.attempt(more))
	}
	h.eventuallyIn(pool.Held, 20)
	h.cluster.Serve(engineBackend())
	for _, a := range attempts {
		conn, err := a.result(t)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Ping(h.ctx()); err != nil {
			t.Error(err)
		}
	}
	h.eventuallyIn(pool.Idle, 20)
}

func TestVanishedClientsLeaveAtOnce(t *testing.T) {
	h := open(t, asleep)
	for _, more := range []string{"", "sslmode=require"} {
		a := h.attempt(more)
		h.eventuallyIn(pool.Held, 1)
		a.stop()
		eventually(t, "the seat is free", func() bool { return len(h.pool.Sessions()) == 0 })
		a.result(t)
	}
	if n := h.tally.Aborted.Load(); n != 2 {
		t.Errorf("%d aborted clients counted", n)
	}
}

func TestQueuedClientsVanish(t *testing.T) {
	h := open(t)
	h.pool.Configure(pool.Limits{Ceiling: func(acuCapacity) int { return 1 }, Queue: true, QueueTimeout: 10 * time.Second})
	first := h.connect("")
	gone, next := h.attempt(""), h.attempt("")
	h.eventuallyIn(pool.Queued, 2)
	gone.stop()
	h.eventuallyIn(pool.Queued, 1)
	first.Close(h.ctx())
	if _, err := next.result(t); err != nil {
		t.Error(err)
	}
	h.pool.Configure(pool.Limits{Ceiling: func(acuCapacity) int { return 1 }, Queue: true, QueueTimeout: 1100 * time.Millisecond})
	_, err := h.attempt("").result(t)
	var e *pgconn.PgError
	if !errors.As(err, &e) || e.Code != "53300" || e.Message != "sorry, too many clients already (waited 1s)" || h.refused("queue_timeout") != 1 {
		t.Errorf("%v, %d counted", err, h.refused("queue_timeout"))
	}
}

// An engine that is not there yet, or no more, is waited for.
func TestEngineNotThereYet(t *testing.T) {
	h := open(t, func(h *house, _ *pgfront.Config) {
		h.cluster.Serve(cluster.Backend{Network: "unix", Address: server.socket + ".gone", Generation: 1})
	})
	a := h.attempt("")
	h.eventuallyIn(pool.Held, 1)
	h.cluster.Serve(engineBackend())
	if _, err := a.result(t); err != nil {
		t.Error(err)
	}
}

// refusing is a cluster that cannot be resumed.
type refusing struct{ status cluster.Status }

func (r refusing) Status() *cluster.Status { return &r.status }
func (r refusing) Wake(context.Context, cluster.Trigger) (cluster.Backend, error) {
	return cluster.Backend{}, &cluster.ResumeError{Reason: "the disk is full"}
}

func failing(h *house, _ *pgfront.Config) {
	h.target.Pool = pool.New(pool.Config{Cluster: "test", Waker: refusing{cluster.Status{State: cluster.Failed}}, Limits: h.poolLimits()})
	h.pool = h.target.Pool
}

func TestResumeFails(t *testing.T) {
	h := open(t, failing)
	_, err := pgx.Connect(h.ctx(), h.dsn(""))
	var e *pgconn.PgError
	if !errors.As(err, &e) || e.Code != "57P03" || e.Message != "the database system is starting up" || e.Detail != "the disk is full" || e.Severity != "FATAL" {
		t.Errorf("%v", err)
	}
	if n := h.refused("resume_failed"); n != 1 {
		t.Errorf("%d refusals counted", n)
	}
}

func TestWakeOnQuery(t *testing.T) {
	h := open(t, asleep, withTarget(wakeOnQuery))
	conn, gone := h.connect("application_name=mine"), h.connect("sslmode=require")
	if got := conn.PgConn().ParameterStatus("application_name"); got != "mine" {
		t.Errorf("application_name %q", got)
	}
	h.eventuallyIn(pool.Parked, 2)
	gone.Close(h.ctx()) // says goodbye, first and last
	h.eventuallyIn(pool.Parked, 1)
	if n := h.cluster.Woken(); n != 0 {
		t.Fatalf("woken %d times", n)
	}
	answer := make(chan error, 1)
	go func() {
		var n int
		answer <- conn.QueryRow(h.ctx(), "select 42").Scan(&n)
	}()
	h.eventuallyIn(pool.Held, 1)
	h.cluster.Serve(engineBackend())
	if err := <-answer; err != nil {
		t.Error(err)
	}
	if _, err := conn.Exec(h.ctx(), "listen x; notify x"); err != nil {
		t.Error(err)
	}
	if n, err := conn.WaitForNotification(h.ctx()); err != nil || n.PID != conn.PgConn().PID() {
		t.Errorf("own notification: %+v, %v; the client knows %d", n, err, conn.PgConn().PID())
	}
	done := make(chan error, 1)
	go func() {
		_, err := conn.Exec(h.ctx(), "select pg_sleep(30)")
		done <- err
	}()
	eventually(t, "the query runs", func() bool { return h.active("pg_sleep(30)") == 1 })
	if err := conn.PgConn().CancelRequest(h.ctx()); err != nil {
		t.Error(err)
	}
	if err := <-done; code(err) != "57014" {
		t.Error(err)
	}
}

// active is how many backends of app run a query like that.
func (h *house) active(query string) (n int) {
	h.t.Helper()
	conn, err := server.connect(h.ctx(), "postgres", "postgres")
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(h.ctx(), "select count(*) from pg_stat_activity where state = 'active' and usename = 'app' and query like '%' || $1 || '%'", query).Scan(&n); err != nil {
		h.t.Fatal(err)
	}
	return n
}

func TestCancelOfAHeldRequest(t *testing.T) {
	for _, mode := range []string{"simple_protocol", "exec"} {
		h := open(t, asleep, withTarget(wakeOnQuery))
		conn := h.connect("default_query_exec_mode=" + mode)
		for range 2 {
			done := make(chan error, 1)
			go func() {
				_, err := conn.Exec(h.ctx(), "select 1")
				done <- err
			}()
			h.eventuallyIn(pool.Held, 1)
			if err := conn.PgConn().CancelRequest(h.ctx()); err != nil {
				t.Error(err)
			}
			if err := <-done; code(err) != "57014" {
				t.Error(err)
			}
			h.eventuallyIn(pool.Parked, 1)
		}
		h.cluster.Serve(engineBackend())
		if err := conn.Ping(h.ctx()); err != nil {
			t.Errorf("after it: %v", err)
		}
	}
}

func TestParkedSessionWhoseResumeFails(t *testing.T) {
	h := open(t, failing, withTarget(wakeOnQuery))
	conn := h.connect("")
	for range 2 {
		if _, err := conn.Exec(h.ctx(), "select 1"); code(err) != "57P03" {
			t.Error(err)
		}
	}
	if conn.IsClosed() {
		t.Error("the client was cut off")
	}
	raw := conn.PgConn()
	pipeline := raw.StartPipeline(h.ctx())
	for range 3 {
		pipeline.SendQueryParams("select 1", nil, nil, nil, nil)
		if err := pipeline.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	failed := 0
	for range 12 {
		if _, err := pipeline.GetResults(); code(err) == "57P03" {
			failed++
		}
	}
	pipeline.Close()
	if failed != 3 {
		t.Errorf("%d of 3 pipelined requests were answered", failed)
	}
}

func TestParkIsPrevented(t *testing.T) {
	h := open(t)
	h.connect("")
	busy := h.connect("")
	if _, err := busy.Exec(h.ctx(), "begin"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(h.ctx(), 2*time.Second)
	defer cancel()
	err := h.pool.Park(ctx)
	var holdouts *cluster.Holdouts
	if !errors.As(err, &holdouts) || len(holdouts.Sessions) != 1 {
		t.Fatalf("%v", err)
	}
	reasons := map[string]int{}
	for _, s := range holdouts.Sessions {
		reasons[strings.Join(s.Reasons, ",")]++
	}
	if reasons["transaction"] != 1 {
		t.Errorf("%v", reasons)
	}
	if _, err := busy.Exec(h.ctx(), "commit"); err != nil {
		t.Error(err)
	}
	asleep := open(t, asleep, withTarget(wakeOnQuery))
	asleep.connect("")
	if err := asleep.pool.Park(h.ctx()); err != nil {
		t.Errorf("a session that never had a backend: %v", err)
	}
}

func TestDrain(t *testing.T) {
	h := open(t, withTarget(wakeOnQuery))
	parked := h.connect("")
	idle, busy, stuck := h.connect("sslmode=require"), h.connect(""), h.connect("")
	for _, conn := range []*pgx.Conn{idle, busy, stuck} {
		if err := conn.Ping(h.ctx()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := busy.Exec(h.ctx(), "begin"); err != nil {
		t.Fatal(err)
	}
	slept := make(chan error, 1)
	go func() {
		_, err := stuck.Exec(h.ctx(), "select pg_sleep(60)")
		slept <- err
	}()
	eventually(t, "the query runs", func() bool { return h.active("pg_sleep(60)") == 1 })
	ctx, cancel := context.WithTimeout(h.ctx(), time.Second)
	defer cancel()
	var drained sync.WaitGroup
	drained.Go(func() { h.pool.DrainAll(ctx) })
	h.eventuallyGone(2)
	if _, err := idle.Exec(h.ctx(), "select 1"); code(err) != "57P01" {
		t.Errorf("idle: %v", err)
	}
	if _, err := parked.Exec(h.ctx(), "select 1"); code(err) != "57P01" {
		t.Errorf("parked: %v", err)
	}
	if _, err := busy.Exec(h.ctx(), "commit"); err != nil {
		t.Errorf("a transaction could not be finished: %v", err)
	}
	if err := <-slept; code(err) != "57P01" {
		t.Errorf("stuck: %v", err)
	}
	drained.Wait()
	eventually(t, "the stuck query was cancelled", func() bool { return h.active("pg_sleep(60)") == 0 })
	if _, err := pgx.Connect(h.ctx(), h.dsn("")); code(err) != "57P01" {
		t.Errorf("a new client: %v", err)
	}
}

func (h *house) eventuallyGone(left int) {
	h.t.Helper()
	eventually(h.t, fmt.Sprintf("%d sessions are left", left), func() bool { return len(h.pool.Sessions()) == left })
}

func TestKill(t *testing.T) {
	h := open(t, asleep)
	held := h.attempt("")
	h.eventuallyIn(pool.Held, 1)
	h.pool.Kill(h.pool.Sessions()[0].ID)
	if _, err := held.result(t); code(err) != "57P01" {
		t.Errorf("held: %v", err)
	}
	h.cluster.Serve(engineBackend())
	conn := h.connect("")
	done := make(chan error, 1)
	go func() {
		_, err := conn.Exec(h.ctx(), "select pg_sleep(61)")
		done <- err
	}()
	eventually(t, "the query runs", func() bool { return h.active("pg_sleep(61)") == 1 })
	h.pool.Kill(h.pool.Sessions()[0].ID)
	if err := <-done; code(err) != "57P01" {
		t.Errorf("active: %v", err)
	}
	eventually(t, "its query was cancelled", func() bool { return h.active("pg_sleep(61)") == 0 })
	h.eventuallyGone(0)
}

func TestEngineEndsASession(t *testing.T) {
	h := open(t)
	conn := h.connect("")
	boss, err := server.connect(h.ctx(), "postgres", "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer boss.Close(context.Background())
	if _, err := boss.Exec(h.ctx(), "select pg_terminate_backend($1)", conn.PgConn().PID()); err != nil {
		t.Fatal(err)
	}
	h.eventuallyGone(0)
	if _, err := conn.Exec(h.ctx(), "select 1"); code(err) != "57P01" || !strings.Contains(err.Error(), "administrator command") {
		t.Errorf("%v", err)
	}
}

func TestLost(t *testing.T) {
	h := open(t)
	conn, fresh := h.connect(""), h.connect("")
	h.exec(conn, "set work_mem = '5MB'")
	h.pool.Lost(7)
	if err := fresh.Ping(h.ctx()); err != nil {
		t.Errorf("another generation: %v", err)
	}
	time.Sleep(3 * time.Second) // both states are read: nothing outside shows when
	h.pool.Lost(1)
	h.eventuallyIn(pool.Parked, 2)
	if got := h.value(conn, "show work_mem"); got != "5MB" {
		t.Error(got)
	}
	h.exec(fresh, "begin")
	h.pool.Lost(1)
	if _, err := conn.Exec(h.ctx(), "select 1"); code(err) != "57P02" {
		t.Errorf("what was not read since: %v", err)
	}
	for _, c := range []struct{ text, code string }{{"select 1", "40001"}, {"commit", "25P02"}, {"select 1", "25P02"}} {
		if _, err := fresh.Exec(h.ctx(), c.text); code(err) != c.code {
			t.Errorf("%s in the transaction: %v, want %s", c.text, err, c.code)
		}
	}
	h.exec(fresh, "rollback")
	if got := h.value(fresh, "select 1"); got != "1" {
		t.Error(got)
	}
}

// raw logs in as the user that any may be, and returns the bare connection
// behind its first ReadyForQuery.
func (h *house) raw() (*pgconn.HijackedConn, io.ReadWriteCloser) {
	h.t.Helper()
	conn, err := pgconn.Connect(h.ctx(), h.dsn(""))
	if err != nil {
		h.t.Fatal(err)
	}
	hijacked, err := conn.Hijack()
	if err != nil {
		h.t.Fatal(err)
	}
	hijacked.Conn.SetDeadline(time.Now().Add(20 * time.Second))
	h.t.Cleanup(func() { hijacked.Conn.Close() })
	return hijacked, hijacked.Conn
}

func query(sql string) []byte {
	n := len(sql) + 5
	return append(append([]byte{'Q', 0, 0, byte(n >> 8), byte(n)}, sql...), 0)
}

func (h *house) count(sql string) (n int) {
	conn, err := server.connect(h.ctx(), "app", "app")
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(h.ctx(), sql).Scan(&n); err != nil {
		h.t.Fatal(err)
	}
	return n
}

// What a client sent before it closed is executed, as the engine would.
func TestWhatIsSentIsDone(t *testing.T) {
	h := open(t)
	setup := h.connect("")
	if _, err := setup.Exec(h.ctx(), "drop table if exists done; create table done (n int)"); err != nil {
		t.Fatal(err)
	}
	hijacked, conn := h.raw()
	conn.Write(append(query("insert into done select 1 from pg_sleep(0.2)"), query("insert into done values (2)")...))
	hijacked.Conn.(interface{ CloseWrite() error }).CloseWrite()
	answers, err := io.ReadAll(conn)
	if err != nil || strings.Count(string(answers), "INSERT 0 1") != 2 {
		t.Errorf("a client that half closed got %q, %v", answers, err)
	}
	_, conn = h.raw()
	conn.Write(append(query("insert into done select 3 from pg_sleep(0.2)"), 'X', 0, 0, 0, 4))
	conn.Close()
	_, conn = h.raw()
	conn.Write(query("insert into done select 4 from pg_sleep(0.2)"))
	conn.Close()
	eventually(t, "everything sent is done", func() bool { return h.count("select count(*) from done") == 4 })
	h.eventuallyGone(1)
}

func TestBrokenProtocol(t *testing.T) {
	h := open(t)
	other := h.connect("")
	for _, c := range []struct{ bytes, message string }{
		{"!\x00\x00\x00\x04", "invalid frontend message type 33"},
		{"Q\x00\x00\x00\x03", "invalid message length"},
		{"Q\x7f\xff\xff\xff", "invalid message length"},
		{"p\x00\x00\x00\x05x", "invalid frontend message type 112"},
	} {
		_, conn := h.raw()
		conn.Write(append(query("select 'before'"), c.bytes...))
		answer, _ := io.ReadAll(conn)
		if !strings.Contains(string(answer), "before") || !strings.Contains(string(answer), "C08P01\x00M"+c.message+"\x00") {
			t.Errorf("%q: %q", c.bytes, answer)
		}
	}
	if err := other.Ping(h.ctx()); err != nil {
		t.Error(err)
	}
	h.eventuallyGone(1)
	if n := h.refused("protocol"); n != 4 {
		t.Errorf("%d counted", n)
	}
}

func TestReplicationPassesAndPins(t *testing.T) {
	h := open(t)
	for _, kind := range []string{"database", "true"} {
		out, err := exec.CommandContext(h.ctx(), "psql", "-AtX", "-c", "IDENTIFY_SYSTEM", h.dsn("user=repl replication="+kind)).CombinedOutput()
		if err != nil || strings.Count(string(out), "|") != 3 {
			t.Errorf("%s: %q %v", kind, out, err)
		}
	}
	config, err := pgconn.ParseConfig(h.dsn("user=repl replication=database"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgconn.ConnectConfig(h.ctx(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	eventually(t, "the others have left", func() bool { return len(h.pool.Sessions()) == 1 })
	if pins := h.pool.Sessions()[0].PinnedBy; len(pins) != 1 || pins[0] != "replication" {
		t.Errorf("pinned by %v", pins)
	}
	var holdouts *cluster.Holdouts
	if err := h.pool.Park(h.ctx()); !errors.As(err, &holdouts) || holdouts.Sessions[0].Reasons[0] != "replication" {
		t.Errorf("%v", err)
	}
}

// The Sync that a COPY swallows, with the engine itself: the session stands at
// a safe point afterwards.
func TestExtendedCopyReachesASafePoint(t *testing.T) {
	h := open(t)
	_, conn := h.raw()
	parse := func(sql string) []byte {
		return join(message('P', "\x00"+sql+"\x00\x00\x00"), message('B', "\x00\x00\x00\x00\x00\x00\x00\x00"), message('E', "\x00\x00\x00\x00\x00"), message('S', ""))
	}
	read := func(until string) {
		t.Helper()
		var got []byte
		b := make([]byte, 4096)
		for !strings.Contains(string(got), until) {
			n, err := conn.Read(b)
			if err != nil {
				t.Fatalf("%q, waiting for %q: %v", got, until, err)
			}
			got = append(got, b[:n]...)
		}
	}
	conn.Write(query("create temp table t (n int)"))
	read("Z\x00\x00\x00\x05I")
	for _, data := range []string{"1\n2\n", "1\nbad\n"} {
		conn.Write(parse("copy t from stdin"))
		read("G\x00\x00\x00")
		conn.Write(join(message('d', data), message('c', ""), message('S', "")))
		read("Z\x00\x00\x00\x05I")
		conn.Write(query("select 1"))
		read("Z\x00\x00\x00\x05I")
		var holdouts *cluster.Holdouts
		ctx, cancel := context.WithTimeout(h.ctx(), 5*time.Second)
		if err := h.pool.Park(ctx); !errors.As(err, &holdouts) || holdouts.Sessions[0].Reasons[0] != "temporary_object" {
			t.Errorf("%q: not at a safe point: %v", data, err)
		}
		if ctx.Err() != nil {
			t.Errorf("%q: no safe point in 5 s", data)
		}
		cancel()
	}
}

func message(kind byte, body string) []byte {
	n := len(body) + 4
	return append([]byte{kind, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, body...)
}

func TestManyComeAndGo(t *testing.T) {
	h := open(t)
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for range 4 {
				conn, err := pgx.Connect(h.ctx(), h.dsn([]string{"", "sslmode=require"}[i%2]))
				if err != nil {
					t.Error(err)
					return
				}
				if err := conn.Ping(h.ctx()); err != nil {
					t.Error(err)
				}
				conn.Close(h.ctx())
			}
		})
	}
	clients.Wait()
	h.eventuallyGone(0)
	if n := h.tally.Aborted.Load(); n != 0 {
		t.Errorf("%d aborted clients counted", n)
	}
}
