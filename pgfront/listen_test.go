package pgfront_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"serverlessproxy/pool"
)

// pauseAndResume parks everybody and opens on what a cluster takes for another
// engine.
func (h *house) pauseAndResume() {
	h.t.Helper()
	b := engineBackend()
	b.Generation = h.cluster.Status().Backend.Generation + 1
	h.cluster.Sleep()
	if err := h.pool.Park(h.ctx()); err != nil {
		h.t.Fatalf("%v: %+v", err, h.pool.Sessions())
	}
	if err := h.pool.Waking(h.ctx(), b); err != nil {
		h.t.Fatal(err)
	}
	h.cluster.Serve(b)
}

// hears waits for a notification.
func (h *house) hears(conn *pgx.Conn) string {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.ctx(), 5*time.Second)
	defer cancel()
	n, err := conn.WaitForNotification(ctx)
	if err != nil {
		h.t.Errorf("no notification: %v", err)
		return ""
	}
	return n.Channel + "=" + n.Payload
}

const listened = "select coalesce(string_agg(c, ' ' order by c), '') from pg_listening_channels() c"

func TestListenOutlivesThePause(t *testing.T) {
	h := open(t)
	listener, notifier := h.connect(""), h.connect("")
	h.exec(listener, `listen news; listen "O""dd 'one'"`, pgx.QueryExecModeSimpleProtocol)
	for i := range 3 {
		h.pauseAndResume()
		word := strconv.Itoa(i)
		h.exec(notifier, "select pg_notify('news', '"+word+"'), pg_notify('O\"dd ''one''', '"+word+"')") // the first statement there is
		if got := h.hears(listener) + " " + h.hears(listener); got != "news="+word+` O"dd 'one'=`+word {
			t.Errorf("parked, it heard %s", got)
		}
		if got := h.value(listener, listened); got != `O"dd 'one' news` {
			t.Errorf("it listens to %s", got)
		}
		h.exec(notifier, "notify news, 'awake'")
		if got := h.hears(listener); got != "news=awake" {
			t.Errorf("restored, it heard %s", got)
		}
		h.exec(listener, "notify news, 'mine'")
		ctx, cancel := context.WithTimeout(h.ctx(), 5*time.Second)
		if n, err := listener.WaitForNotification(ctx); err != nil || n.PID != listener.PgConn().PID() {
			t.Errorf("its own: %+v, %v", n, err)
		}
		cancel()
	}
	h.exec(listener, "discard all", pgx.QueryExecModeSimpleProtocol)
	h.pauseAndResume()
	var left string
	if err := listener.QueryRow(h.ctx(), listened, pgx.QueryExecModeSimpleProtocol).Scan(&left); err != nil {
		t.Error(err)
	}
	if left != "" {
		t.Errorf("after DISCARD ALL it listens to %s", left)
	}
}

func TestListenInTwoDatabases(t *testing.T) {
	h := open(t)
	here, there := h.connect("user=boss"), h.connect("user=boss dbname=postgres")
	for _, conn := range []*pgx.Conn{here, there} {
		h.exec(conn, "listen news")
	}
	h.pauseAndResume()
	for _, dbname := range []string{"app", "postgres"} {
		h.exec(h.connect("user=boss dbname="+dbname), "notify news, '"+dbname+"'")
	}
	if got := h.hears(here) + " " + h.hears(there); got != "news=app news=postgres" {
		t.Error(got)
	}
}

// Whatever is notified while a session is parked and restored again and again
// arrives once, in order.
func TestNotifiedExactlyOnce(t *testing.T) {
	h := open(t)
	const count = 3000
	var heard []string
	config, err := pgx.ParseConfig(h.dsn(""))
	if err != nil {
		t.Fatal(err)
	}
	config.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) { heard = append(heard, n.Payload) }
	listener, err := pgx.ConnectConfig(h.ctx(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close(context.Background())
	h.exec(listener, "listen numbers")
	writer, err := server.connect(h.ctx(), "app", "app")
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close(context.Background())
	ctx, cancel := context.WithCancel(h.ctx())
	wrote, parked := make(chan error, 1), make(chan struct{})
	go func() {
		defer cancel()
		for i := range count {
			if _, err := writer.Exec(h.ctx(), "notify numbers, '"+strconv.Itoa(i)+"'"); err != nil {
				wrote <- err
				return
			}
			time.Sleep(time.Millisecond) // or it is over before anybody is parked
		}
		wrote <- nil
	}()
	go func() {
		defer close(parked)
		for ctx.Err() == nil {
			_ = h.pool.Park(ctx) // a session that is at work is not parked this time
			time.Sleep(time.Millisecond)
		}
	}()
	for ctx.Err() == nil {
		if got := h.value(listener, listened); got != "numbers" {
			t.Fatalf("it listens to %q", got)
		}
		waiting, enough := context.WithTimeout(ctx, 15*time.Millisecond)
		for waiting.Err() == nil {
			_ = listener.PgConn().WaitForNotification(waiting)
		}
		enough()
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	<-parked
	for limit := time.Now().Add(5 * time.Second); len(heard) < count && time.Now().Before(limit); {
		waiting, enough := context.WithTimeout(h.ctx(), 100*time.Millisecond)
		_ = listener.PgConn().WaitForNotification(waiting)
		enough()
	}
	for i, got := range heard {
		if got != strconv.Itoa(i) {
			t.Fatalf("number %d is %s; of %d heard %d; around it %v", i, got, count, len(heard), heard[max(0, i-3):min(len(heard), i+4)])
		}
	}
	var restores int64
	h.tally.Restores(func(_, result string, n int64) {
		if result == "ok" {
			restores += n
		}
	})
	t.Logf("heard %d of %d over %d restores", len(heard), count, restores)
	if len(heard) != count || restores < 10 {
		t.Errorf("heard %d of %d over %d restores", len(heard), count, restores)
	}
}

// A hub that is gone while others work may have missed something: nobody goes
// on as if it had not.
func TestHubIsLost(t *testing.T) {
	h := open(t)
	listener := h.connect("")
	h.exec(listener, "listen news")
	if err := h.pool.Park(h.ctx()); err != nil {
		t.Fatal(err)
	}
	h.eventuallyIn(pool.Parked, 1)
	other := h.connect("user=boss")
	if got := h.value(other, "select count(pg_terminate_backend(pid))::text from pg_stat_activity where application_name = 'serverlessproxy: LISTEN'"); got != "1" {
		t.Fatalf("%s hubs", got)
	}
	ctx, cancel := context.WithTimeout(h.ctx(), 5*time.Second)
	defer cancel()
	_, err := listener.WaitForNotification(ctx)
	var told *pgconn.PgError
	if !errors.As(err, &told) || told.Code != "57P02" || !strings.Contains(told.Message, "notifications") {
		t.Errorf("%v", err)
	}
}

// While everybody is parked nobody can notify: a hub that ends with its engine
// loses nothing.
func TestHubSleepsWithTheEngine(t *testing.T) {
	h := open(t)
	listener := h.connect("")
	h.exec(listener, "listen news")
	h.cluster.Sleep()
	if err := h.pool.Park(h.ctx()); err != nil {
		t.Fatal(err)
	}
	if ended := h.count("select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'serverlessproxy: LISTEN' and usename = 'app'"); ended != 1 {
		t.Fatalf("%d hubs", ended)
	}
	b := engineBackend()
	b.Generation = 2
	if err := h.pool.Waking(h.ctx(), b); err != nil {
		t.Fatal(err)
	}
	h.cluster.Serve(b)
	h.exec(h.connect(""), "notify news, 'early'")
	if got := h.hears(listener); got != "news=early" {
		t.Error(got)
	}
}

// Each hears its own channels.
func TestParkedListeners(t *testing.T) {
	h := open(t)
	const listeners = 20
	var all []*pgx.Conn
	for i := range listeners {
		conn := h.connect("")
		h.exec(conn, fmt.Sprintf("listen c%d", i%2))
		all = append(all, conn)
	}
	h.pauseAndResume()
	notifier := h.connect("")
	h.exec(notifier, "notify c0, 'even'")
	h.exec(notifier, "notify c1, 'odd'")
	var heard []string
	for _, conn := range all {
		heard = append(heard, h.hears(conn))
	}
	slices.Sort(heard)
	if heard[0] != "c0=even" || heard[listeners/2-1] != "c0=even" || heard[listeners/2] != "c1=odd" || heard[listeners-1] != "c1=odd" {
		t.Error(heard)
	}
}
