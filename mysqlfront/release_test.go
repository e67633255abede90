package mysqlfront_test

import (
	"fmt"
	"strconv"
	"testing"

	"golang.org/x/sync/errgroup"

	"serverlessproxy/mysqlfront"
	"serverlessproxy/pool"
	"serverlessproxy/pool/pooltest"
	"serverlessproxy/router"
)

// TestHandlerStays: a session that has opened a HANDLER is not read while
// another waits for the table, which would close it.
func TestHandlerStays(t *testing.T) {
	for name, h := range map[string]*house{"keeps its backend": build(t, nil), "gives it up": buildReleasing(t)} {
		t.Run(name, func(t *testing.T) { handlerStays(t, h) })
	}
}

func handlerStays(t *testing.T, h *house) {
	root := needEngine(t).root
	for _, text := range []string{"CREATE OR REPLACE TABLE app.h (id INT PRIMARY KEY)", "INSERT INTO app.h VALUES (1), (2), (3), (4)"} {
		if _, err := root.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	r := h.login("app", "pw")
	r.expect(r.query("HANDLER h OPEN"), "OK")
	r.expect(r.query("HANDLER h READ FIRST"), "1")
	dropped := make(chan error, 1)
	go func() {
		_, err := root.Exec("DROP TABLE app.h")
		dropped <- err
	}()
	eventually(t, "it waits for the HANDLER", func() bool {
		var n int
		err := root.QueryRow("SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for table metadata lock'").Scan(&n)
		return err == nil && n == 1
	})
	for _, id := range []string{"2", "3", "4"} {
		r.expect(r.query("HANDLER h READ NEXT"), id)
		h.readAll()
	}
	r.expect(r.query("HANDLER h CLOSE"), "OK")
	if err := <-dropped; err != nil {
		t.Error(err)
	}
}

// TestWatched: a session that has the engine note its statements finds its own
// alone, not those that read its state.
func TestWatched(t *testing.T) {
	h := buildReleasing(t)
	r := h.login("app", "pw")
	r.expect(r.query("SET optimizer_trace = 'enabled=on'"), "OK")
	const mine = "SELECT COUNT(*) FROM t WHERE id = 41 OR id = 42"
	r.expect(r.query(mine), "0")
	h.readAll()
	r.expect(r.query("SELECT query FROM information_schema.optimizer_trace"), mine)
	r.expect(r.command(0x1f, ""), "OK")
	eventually(t, "parked", func() bool { return h.pool.Counts()[pool.Parked] == 1 })
}

// buildReleasing makes a house whose sessions give their backends up at every
// safe point.
func buildReleasing(t *testing.T) *house {
	h := build(t, func(_ *mysqlfront.Config, target *router.Target, _ *router.Listener) {
		limits := pooltest.Limits(100)
		limits.ReleaseAfter = pool.AtOnce
		_, waker := pooltest.New("unix", needEngine(t).socket)
		target.Pool = pool.New(pool.Config{Cluster: "test", Waker: waker, Limits: limits})
	})
	h.pool = h.target.Pool
	return h
}

// TestReleaseAtOnce: a session gives its backend up at every safe point, and
// its client cannot tell.
func TestReleaseAtOnce(t *testing.T) {
	h := buildReleasing(t)
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
	for _, q := range []struct{ text, want string }{
		{"SELECT SQL_CALC_FOUND_ROWS id FROM t LIMIT 1", ""}, {"SELECT FOUND_ROWS()", "2"},
		{"SELECT SQL_CALC_FOUND_ROWS id FROM t LIMIT 1", ""}, {"SET max_join_size = 1", "OK"}, {"SELECT FOUND_ROWS()", "2"},
	} {
		eventually(t, "parked", parked)
		r.expect(r.query(q.text), q.want)
	}
	eventually(t, "parked", parked)
	r.expect(r.query("SET sql_big_selects = 1"), "OK")
	r.expect(r.query("DO 1 + 'a'"), "OK")
	r.expect(r.query("SELECT @@warning_count"), "1")
	r.expect(r.query("SELECT 1"), "1") // says that it left no warning, and sweeps none away
	r.expect(r.query("SHOW COUNT(*) WARNINGS"), "1")
	r.expect(r.query("SELECT 1 FROM nowhere"), "1146 42S02")
	r.expect(r.query("SHOW COUNT(*) WARNINGS"), "1")
	r.expect(r.query("SHOW COUNT(*) ERRORS"), "1")
	r.expect(r.query("SELECT COUNT(*) FROM t"), "2")
	eventually(t, "parked", parked)
	r.expect(r.query("CREATE TEMPORARY TABLE tt (a INT)"), "OK")
	r.expect(r.query("INSERT INTO tt VALUES (7)"), "OK")
	r.expect(r.query("SELECT a FROM tt"), "7")
	r.expect(r.command(0x1f, ""), "OK")
	eventually(t, "parked", parked)
}

// TestReleaseWhileWrapped: behind TLS and compression a request may be read in
// the very moment in which its session is taken out of the relay.
func TestReleaseWhileWrapped(t *testing.T) {
	const perClient = 1500
	for _, options := range []string{"tls=skip-verify", "compress=true"} {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			h := build(t, func(_ *mysqlfront.Config, target *router.Target, _ *router.Listener) {
				limits := pooltest.Limits(100)
				limits.ReleaseAfter = pool.AtOnce
				_, waker := pooltest.New("unix", needEngine(t).socket)
				target.Pool = pool.New(pool.Config{Cluster: "test", Waker: waker, Limits: limits})
			})
			db := h.open("app:pw", "app", options+"&readTimeout=20s")
			var clients errgroup.Group
			for range 4 {
				clients.Go(func() error {
					for i := range perClient / 4 {
						var v int
						if err := db.QueryRow("SELECT " + strconv.Itoa(i)).Scan(&v); err != nil || v != i {
							return fmt.Errorf("query %d: %d, %w", i, v, err)
						}
					}
					return nil
				})
			}
			if err := clients.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// readAll has every session's state read, where that may be. The first time a
// session may be giving its backend up instead.
func (h *house) readAll() {
	h.t.Helper()
	for range 2 {
		h.front.AskForReadings()
		eventually(h.t, "everybody was looked at", func() bool { return !h.front.AnyReading() })
	}
}
