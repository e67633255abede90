package e2e

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// eachEngine runs a contract once for each engine, side by side.
func eachEngine(t *testing.T, contract func(t *testing.T, e engine)) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) { contract(t, e) })
	}
}

// TestToolsWorkUnchanged is the first thing that anybody does: the shells and
// the load tools, through the endpoints.
func TestToolsWorkUnchanged(t *testing.T) {
	p := quickstart(t)
	if got := strings.TrimSpace(p.mustTool(postgres, p.shell(postgres, "select 1 + 1")...)); got != "2" {
		t.Errorf("psql printed %q", got)
	}
	if got := strings.TrimSpace(p.mustTool(mariadb, p.shell(mariadb, "select 1 + 1")...)); got != "2" {
		t.Errorf("mariadb printed %q", got)
	}
	p.mustTool(postgres, "pgbench", "-i", "-q", "-s", "1")
	for _, mode := range []string{"simple", "extended", "prepared"} {
		out := p.mustTool(postgres, "pgbench", "-M", mode, "-c", "8", "-j", "2", "-T", "2")
		if !strings.Contains(out, "number of failed transactions: 0") {
			t.Errorf("pgbench -M %s:\n%s", mode, out)
		}
	}
	p.mustTool(postgres, "pgbench", "-S", "-C", "-c", "4", "-t", "20")
	p.mustTool(mariadb, p.sysbench("prepare")...)
	for _, ps := range []string{"auto", "disable"} {
		out := p.mustTool(mariadb, p.sysbench("--threads=8", "--time=2", "--db-ps-mode="+ps, "run")...)
		if !strings.Contains(out, "reconnects:                          0") {
			t.Errorf("sysbench --db-ps-mode=%s:\n%s", ps, out)
		}
	}
}

// TestSleepsAndWakesOnce: nobody there, no engine; then a crowd at once, and
// one resume for all of it.
func TestSleepsAndWakesOnce(t *testing.T) {
	p := quickstart(t, "--seconds-until-auto-pause", "3")
	crowd := map[string]int{"postgres": 200, "mysql": 100}
	for _, e := range engines {
		p.mustTool(e, p.shell(e, "select 1")...)
	}
	p.wait("no engine process", 10*time.Second, func() error {
		if pids := p.engines(); len(pids) > 0 {
			return fmt.Errorf("engines %v", pids)
		}
		return nil
	})
	// On a slow machine the crowd comes over more than three seconds.
	p.reload(func(config string) string {
		return strings.ReplaceAll(config, "seconds_until_auto_pause: 3\n", "seconds_until_auto_pause: 120\n")
	})
	resumed := p.metric("serverlessproxy_resumes_total")
	told := map[string]int{}
	for _, e := range engines {
		told[e.cluster] = p.countEvents(e, "RDS-EVENT-0148")
	}
	begin := time.Now()
	var first atomic.Int64
	var all sync.WaitGroup
	for _, e := range engines {
		shell := p.shell(e, "select 42")
		for range crowd[p.url(e).Scheme] {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
				defer cancel()
				out, err := p.tool(ctx, e, shell...)
				if err != nil || strings.TrimSpace(out) != "42" {
					t.Errorf("%s: %v: %s", shell[0], err, out)
				}
				first.CompareAndSwap(0, int64(time.Since(begin)))
			})
		}
	}
	all.Wait()
	t.Logf("300 clients at once: first answer after %v, the last after %v", time.Duration(first.Load()).Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
	if n := p.metric("serverlessproxy_resumes_total") - resumed; n != 2 {
		t.Errorf("%v resumes of the two clusters, want one each", n)
	}
	for _, e := range engines {
		if n := p.countEvents(e, "RDS-EVENT-0148") - told[e.cluster]; n != 1 {
			t.Errorf("%s: %d events of a completed resume, want 1", e.cluster, n)
		}
	}
}

// countEvents is how many events of an id a cluster has had.
func (p *proxy) countEvents(e engine, id string) (n int) {
	p.t.Helper()
	var events []struct{ ID string }
	p.mustCommand(&events, "events", e.cluster)
	for _, e := range events {
		if e.ID == id {
			n++
		}
	}
	return n
}

// TestNeverWakes: whoever does not authenticate does not wake a cluster.
func TestNeverWakes(t *testing.T) {
	p := quickstart(t)
	for _, e := range engines {
		if _, code := p.command("pause", e.cluster); code != 0 {
			t.Fatalf("pause %s: exit %d", e.cluster, code)
		}
		p.waitState(e, "paused", 20*time.Second)
	}
	resumed := p.metric("serverlessproxy_resumes_total")
	var strangers sync.WaitGroup
	var scraped atomic.Int64
	stop := make(chan struct{})
	strangers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			for _, path := range []string{"/metrics", "/healthz", "/readyz", "/v1/clusters", "/"} {
				if response, err := http.Get(p.admin + path); err == nil {
					response.Body.Close()
					scraped.Add(1)
				}
			}
		}
	})
	var attempts sync.WaitGroup
	limit := make(chan struct{}, 50)
	bounded := func(f func()) {
		limit <- struct{}{}
		attempts.Go(func() { defer func() { <-limit }(); f() })
	}
	for i := range 250 {
		for _, e := range engines {
			bounded(func() {
				conn, err := net.Dial("tcp", p.url(e).Host)
				if err == nil {
					if i%2 == 0 {
						_, _ = conn.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
					}
					conn.Close()
				}
			})
			who := url.UserPassword("app", fmt.Sprintf("wrong-%d", i))
			if i%5 == 0 {
				who = url.UserPassword(fmt.Sprintf("stranger%d", i), "x")
			}
			bounded(func() {
				conn, err := p.tryConnect(e, who)
				if err == nil {
					conn.Close()
					t.Errorf("%s let %s in with a wrong password", e.name, who.Username())
				} else if !strings.Contains(err.Error(), e.toolAuth) {
					t.Errorf("%s refused a wrong password with: %v", e.name, err)
				}
			})
		}
	}
	attempts.Wait()
	close(stop)
	strangers.Wait()
	if scraped.Load() == 0 {
		t.Error("nothing was scraped")
	}
	if n := p.metric("serverlessproxy_resumes_total") - resumed; n != 0 {
		t.Errorf("strangers woke a cluster: %v resumes", n)
	}
	if n := p.metric("serverlessproxy_login_failures_total"); n < 500 {
		t.Errorf("%v login failures are counted, want 500", n)
	}
	if pids := p.engines(); len(pids) > 0 {
		t.Errorf("engines run: %v", pids)
	}
}

// TestUnknownDatabaseDoesNotWake: refused from what is known, in the engine's
// words.
func TestUnknownDatabaseDoesNotWake(t *testing.T) {
	p := quickstart(t)
	want := map[string]string{"postgres": `database "nowhere" does not exist`, "mariadb": "Unknown database 'nowhere'"}
	eachEngine(t, func(t *testing.T, e engine) {
		p.command("pause", e.cluster)
		p.waitState(e, "paused", 20*time.Second)
		dsn := p.dsn(e)
		at := strings.LastIndex(dsn, "/app")
		dsn = dsn[:at] + "/nowhere" + dsn[at+len("/app"):]
		db, err := sql.Open(e.driver, dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := db.PingContext(ctx); err == nil || !strings.Contains(err.Error(), want[e.name]) {
			t.Errorf("got %v, want %q", err, want[e.name])
		}
		if got := p.cluster(e).State; got != "paused" {
			t.Errorf("the cluster is %s", got)
		}
	})
}

// TestStoppedAndStartedAgain: Ctrl-C ends everything cleanly, and the data is
// there the next time.
func TestStoppedAndStartedAgain(t *testing.T) {
	p := quickstart(t)
	for _, e := range engines {
		db := p.open(e)
		do(t, db, "create table kept (n int)", "insert into kept values (7)")
		db.Close()
	}
	p.stop()
	if pids := p.engines(); len(pids) > 0 {
		t.Fatalf("left running: %v", pids)
	}
	p.start()
	for _, e := range engines {
		if got := p.cluster(e).State; got != "paused" {
			t.Errorf("after a clean stop %s is %s, want paused until needed", e.cluster, got)
		}
		if got := one(t, p.open(e), "select n from kept"); got != "7" {
			t.Errorf("%s: got %q", e.name, got)
		}
	}
}

// TestLostDataAreNotReplaced: no empty cluster is made where one was.
func TestLostDataAreNotReplaced(t *testing.T) {
	p := quickstart(t)
	p.stop()
	for _, e := range engines {
		data := filepath.Join(p.dir, "clusters", e.cluster, "data", "db")
		if err := os.Rename(data, data+".lost"); err != nil {
			t.Fatal(err)
		}
	}
	p.start()
	eachEngine(t, func(t *testing.T, e engine) {
		conn, err := p.tryConnect(e, nil)
		if err == nil {
			conn.Close()
			t.Fatal("a client was let in to nothing")
		}
		if got := p.cluster(e); got.State != "failed" || !strings.Contains(got.LastError, "no data directory") {
			t.Errorf("the cluster is %s: %s; the client is told %v", got.State, got.LastError, err)
		}
		if _, err := os.Stat(filepath.Join(p.dir, "clusters", e.cluster, "data", "db")); err == nil {
			t.Error("a data directory was made")
		}
	})
}

// ceilingConfig gives clusters a ceiling of their own of three.
const ceilingConfig = "connections: {overflow: %s, queue_timeout: 20s, reserved: 2, ceilings: {1: 3, 2: 3, 4: 3, 8: 3, 16: 3}}"

// TestCeiling: so many and no more, with the engine's own words; the reserved
// slots are for superusers; with a queue the next one waits its turn.
func TestCeiling(t *testing.T) {
	for _, overflow := range []string{"reject", "queue"} {
		t.Run(overflow, func(t *testing.T) {
			p := quickstart(t)
			p.edit(func(config string) string {
				return p.amendClusters(config, fmt.Sprintf(ceilingConfig, overflow))
			})
			for _, e := range engines {
				p.mustTool(e, p.shell(e, "select 1")...)
			}
			p.superuser()
			eachEngine(t, func(t *testing.T, e engine) {
				p.wait("every seat is free", 10*time.Second, func() error {
					if n := p.cluster(e).Sessions.Total; n > 0 {
						return fmt.Errorf("%d sessions", n)
					}
					return nil
				})
				var in []*sql.Conn
				for range 3 {
					in = append(in, p.connect(e))
				}
				if overflow == "reject" {
					if _, err := p.tryConnect(e, nil); err == nil || !strings.Contains(err.Error(), e.toolBusy) {
						t.Errorf("beyond the ceiling: %v, want %q", err, e.toolBusy)
					}
					if n := p.metric("serverlessproxy_connections_refused_total", `reason="ceiling"`, `cluster="`+e.cluster+`"`); n < 1 {
						t.Errorf("%v refusals are counted", n)
					}
				}
				super, err := p.tryConnect(e, url.UserPassword("boss", "boss-password"))
				if err != nil {
					t.Errorf("a superuser does not get in: %v", err)
				} else {
					leave(t, super)
				}
				if overflow == "queue" {
					entered := make(chan error, 1)
					go func() { _, err := p.tryConnect(e, nil); entered <- err }()
					p.wait("one waits", 10*time.Second, func() error {
						if n := p.cluster(e).Sessions.Queued; n != 1 {
							return fmt.Errorf("%d queued", n)
						}
						return nil
					})
					leave(t, in[0])
					if err := <-entered; err != nil {
						t.Errorf("the queued client: %v", err)
					}
				}
			})
		})
	}
}

// leave closes a connection for good, past database/sql's pool.
func leave(t *testing.T, c *sql.Conn) {
	t.Helper()
	_ = c.Raw(func(any) error { return errors.Join(driverBadConn) })
	c.Close()
}

// TestCrashLosesNoCommittedRow: the proxy killed, then the engine killed,
// under load; after a new start every committed row is there.
func TestCrashLosesNoCommittedRow(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		p := quickstart(t, "--engine", e.name)
		db := p.open(e)
		do(t, db, "create table rows_in (n int primary key)")
		db.Close()
		var committed atomic.Int64
		ctx, cancel := context.WithCancel(context.Background())
		var writer sync.WaitGroup
		writer.Go(func() {
			conn, err := p.tryConnect(e, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			for n := int64(1); ctx.Err() == nil; n++ {
				if _, err := conn.ExecContext(ctx, fmt.Sprintf("insert into rows_in values (%d)", n)); err != nil {
					return
				}
				committed.Store(n)
			}
		})
		p.wait("some rows", 30*time.Second, func() error {
			if committed.Load() < 200 {
				return errors.New("few rows")
			}
			return nil
		})
		p.kill()
		for _, pid := range p.engines() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		cancel()
		writer.Wait()
		p.start()
		db = p.open(e)
		last, err := strconv.ParseInt(one(t, db, "select max(n) from rows_in"), 10, 64)
		if err != nil || last < committed.Load() {
			t.Errorf("rows up to %d are there (%v), %d were committed", last, err, committed.Load())
		}
		if got := one(t, db, "select count(*) from rows_in"); got != strconv.FormatInt(last, 10) {
			t.Errorf("%s rows are there, the last is %d", got, last)
		}
	})
}

// TestAdoptsTheEngineOfAKilledProxy: the engine goes on, and the next proxy
// finds it instead of starting a second one.
func TestAdoptsTheEngineOfAKilledProxy(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		p := quickstart(t, "--engine", e.name)
		p.mustTool(e, p.shell(e, "select 1")...)
		before := p.engines()
		p.kill()
		p.start()
		p.waitState(e, "available", 20*time.Second)
		if got := strings.TrimSpace(p.mustTool(e, p.shell(e, "select 5")...)); got != "5" {
			t.Errorf("got %q", got)
		}
		after := p.engines()
		if len(before) == 0 || len(after) == 0 || before[0] != after[0] {
			t.Errorf("engines before %v, after %v", before, after)
		}
	})
}

// TestEngineCrashIsRepaired: the engine dies under the proxy; new clients are
// served without anybody's help.
func TestEngineCrashIsRepaired(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		p := quickstart(t, "--engine", e.name)
		p.mustTool(e, p.shell(e, "select 1")...)
		for _, pid := range p.engines() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if got := strings.TrimSpace(p.mustTool(e, p.shell(e, "select 6")...)); got != "6" {
			t.Errorf("got %q", got)
		}
	})
}

// TestDrains: SIGTERM lets what runs finish, and tells the others goodbye.
func TestDrains(t *testing.T) {
	p := quickstart(t)
	var running sync.WaitGroup
	for _, e := range engines {
		conn := p.connect(e)
		running.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			if _, err := conn.ExecContext(ctx, fmt.Sprintf(e.sleep, 2)); err != nil {
				t.Errorf("%s: what ran was cut: %v", e.name, err)
			}
		})
		p.wait("it runs", 10*time.Second, func() error {
			if n := p.cluster(e).Sessions.Active; n != 1 {
				return fmt.Errorf("%d active", n)
			}
			return nil
		})
	}
	p.signal(syscall.SIGTERM)
	running.Wait()
	<-p.ended
	if pids := p.engines(); len(pids) > 0 {
		t.Errorf("left running: %v", pids)
	}
}

// TestPromtoolIsContent with every metric and its help.
func TestPromtoolIsContent(t *testing.T) {
	p := quickstart(t)
	response, err := http.Get(p.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	check := exec.Command("promtool", "check", "metrics")
	check.Stdin = response.Body
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// TestStateDirectoryIsPrivate: what only the proxy and the engine may read.
func TestStateDirectoryIsPrivate(t *testing.T) {
	p := quickstart(t)
	for path, want := range map[string]string{
		"admin.sock": "0600", "admin.token": "0600",
		"clusters/pg/data": "0700", "clusters/pg/run": "0700", "clusters/my/data": "0700", "clusters/my/run": "0700",
	} {
		if got := mode(t, filepath.Join(p.dir, path)); got != want {
			t.Errorf("%s has mode %s, want %s", path, got, want)
		}
	}
}
