package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// An operator's own scripts, as they would stand in docs/compute-command.md.
// DIR and PORT are replaced; as runs a program as the engine's user.
const (
	pgCommon = `#!/bin/sh
set -eu
as() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }
ctl() { as "$(ls -d /usr/lib/postgresql/*/bin/pg_ctl | sort -V | tail -n 1)" -D DIR/db "$@"; }
`
	pgStart = pgCommon + `echo start >> DIR/runs
if [ -e DIR/broken ]; then echo "the disk of this cluster is full"; exit 7; fi
echo "${SERVERLESSPROXY_MAX_CONNECTIONS:-20}" > DIR/connections
ctl -w -t 30 -l DIR/db/log.txt -o "-p PORT -h 127.0.0.1 -k DIR/db -N ${SERVERLESSPROXY_MAX_CONNECTIONS:-20}" start
`
	pgStop   = pgCommon + "ctl -m fast -w stop\n"
	pgStatus = pgCommon + "ctl status\n"
	// A larger max_connections needs a restart.
	pgResize = pgCommon + `echo "$1" >> DIR/resized
if [ -e DIR/broken ]; then echo "this host is full"; exit 1; fi
[ "$SERVERLESSPROXY_MAX_CONNECTIONS" -le "$(cat DIR/connections)" ] || exit 3
`

	myStart = `#!/bin/sh
set -eu
echo start >> DIR/runs
if [ -e DIR/broken ]; then echo "the disk of this cluster is full"; exit 7; fi
user=""
if [ "$(id -u)" = 0 ]; then user=--user=mysql; fi
mariadbd --no-defaults $user --datadir=DIR/db --port=PORT --bind-address=127.0.0.1 --socket=DIR/db/s --pid-file=DIR/db/pid \
	--max-connections="${SERVERLESSPROXY_MAX_CONNECTIONS:-20}" &
for i in $(seq 300); do
	if mariadb-admin --no-defaults -S DIR/db/s -u root ping >/dev/null 2>&1; then exit 0; fi
	sleep 0.1
done
echo "it does not answer"
exit 1
`
	myStop = `#!/bin/sh
set -eu
pid=$(cat DIR/db/pid)
kill "$pid"
while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
`
	// This host has no room for 8 ACU beside what runs.
	myResize = `#!/bin/sh
set -eu
echo "$1" >> DIR/resized
if [ -e DIR/broken ]; then echo "this host is full"; exit 1; fi
[ "$SERVERLESSPROXY_CAPACITY" -lt 8 ] || exit 3
mariadb --no-defaults -S DIR/db/s -u root -e "set global max_connections = $SERVERLESSPROXY_MAX_CONNECTIONS"
`
)

// commanded is a cluster whose engine scripts run.
type commanded struct {
	dir, address string
}

// commandedProxy is a proxy before two such clusters. Their users are app and
// the service account proxy.
func commandedProxy(t *testing.T) (*proxy, map[string]commanded) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sp")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, dir: dir, args: []string{"serve", "--config", filepath.Join(dir, "serverlessproxy.yaml")}, ended: make(chan struct{})}
	close(p.ended)
	t.Cleanup(func() {
		if p.cmd != nil {
			p.stop()
		}
		p.endEngines()
		if t.Failed() {
			t.Logf("the proxy said:\n%s", p.said())
		}
		os.RemoveAll(dir)
	})
	clusters := map[string]commanded{
		"pg": {filepath.Join(dir, "pg"), freeAddress(t)},
		"my": {filepath.Join(dir, "my"), freeAddress(t)},
	}
	p.makePostgres(clusters["pg"])
	p.makeMariaDB(clusters["my"])
	doors := map[string]string{"postgres": freeAddress(t), "mysql": freeAddress(t), "admin": freeAddress(t)}
	p.admin = "http://" + doors["admin"]
	config := fmt.Sprintf(`state_dir: %s
admin: {address: %q}
listeners:
  - {protocol: postgres, address: %q, cluster: pg}
  - {protocol: mysql, address: %q, cluster: my}
clusters:
  - name: pg
    engine: postgres
    encryption: external
    resume_timeout: 40s
    compute: {driver: command, address: %q, user: proxy, password_file: secret, start: [./pg/start], stop: [./pg/stop], resize: [./pg/resize], status: [./pg/status]}
  - name: my
    engine: mariadb
    encryption: external
    resume_timeout: 40s
    compute: {driver: command, address: %q, user: proxy, password_file: secret, start: [./my/start], stop: [./my/stop], resize: [./my/resize]}
`, dir, doors["admin"], doors["postgres"], doors["mysql"], clusters["pg"].address, clusters["my"].address)
	p.put("serverlessproxy.yaml", config, 0o600)
	p.put("secret", "proxy-password\n", 0o600)
	p.serve(doors)
	return p, clusters
}

// serve starts the proxy; its addresses are known before.
func (p *proxy) serve(doors map[string]string) {
	p.t.Helper()
	p.start()
	for _, scheme := range []string{"postgres", "mysql"} {
		p.urls[scheme] = &url.URL{Scheme: scheme, User: url.UserPassword("app", "app-password"), Host: doors[scheme], Path: "/app"}
	}
	p.urls["http"] = &url.URL{Scheme: "http", Host: doors["admin"], Path: "/"}
}

func (p *proxy) put(name, content string, mode os.FileMode) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(content), mode); err != nil {
		p.t.Fatal(err)
	}
}

// script writes one of a cluster's scripts.
func (p *proxy) script(c commanded, name, text string) {
	p.t.Helper()
	_, port, _ := net.SplitHostPort(c.address)
	p.put(filepath.Join(filepath.Base(c.dir), name), strings.NewReplacer("DIR", c.dir, "PORT", port).Replace(text), 0o755)
}

func (p *proxy) mustRun(args ...string) {
	p.t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		p.t.Fatalf("%v: %v: %s", args, err, out)
	}
}

// launch runs a script without waiting for what it leaves in the background.
func (p *proxy) launch(path string) {
	p.t.Helper()
	if err := exec.Command(path).Run(); err != nil {
		p.t.Fatalf("%s: %v", path, err)
	}
}

// makeFolder makes a cluster's folder, and db in it for the engine's user.
func (p *proxy) makeFolder(c commanded, user string) {
	p.t.Helper()
	p.mustRun("install", "-d", "-m", "0755", c.dir)
	if os.Geteuid() == 0 {
		p.mustRun("install", "-d", "-m", "0700", "-o", user, filepath.Join(c.dir, "db"))
		return
	}
	p.mustRun("install", "-d", "-m", "0700", filepath.Join(c.dir, "db"))
}

func (p *proxy) makePostgres(c commanded) {
	p.t.Helper()
	p.makeFolder(c, "postgres")
	p.script(c, "start", pgStart)
	p.script(c, "stop", pgStop)
	p.script(c, "status", pgStatus)
	p.script(c, "resize", pgResize)
	p.script(c, "init", pgCommon+"ctl init -s -o '-U postgres --auth-local=trust --auth-host=scram-sha-256 --no-sync'\n")
	p.mustRun(filepath.Join(c.dir, "init"))
	p.launch(filepath.Join(c.dir, "start"))
	_, port, _ := net.SplitHostPort(c.address)
	p.mustRun("psql", "-X", "-h", filepath.Join(c.dir, "db"), "-p", port, "-U", "postgres", "-c", "create role proxy superuser login password 'proxy-password'",
		"-c", "create role app login password 'app-password'", "-c", "create database app owner app", "postgres")
	p.launch(filepath.Join(c.dir, "stop"))
}

func (p *proxy) makeMariaDB(c commanded) {
	p.t.Helper()
	p.makeFolder(c, "mysql")
	p.script(c, "start", myStart)
	p.script(c, "stop", myStop)
	p.script(c, "resize", myResize)
	user := "--skip-name-resolve"
	if os.Geteuid() == 0 {
		user = "--user=mysql"
	}
	p.mustRun("mariadb-install-db", "--no-defaults", user, "--datadir="+filepath.Join(c.dir, "db"), "--auth-root-authentication-method=normal", "--skip-test-db")
	p.launch(filepath.Join(c.dir, "start"))
	p.mustRun("mariadb", "--no-defaults", "-S", filepath.Join(c.dir, "db/s"), "-u", "root", "-e", `create database app;
create user app@'%' identified by 'app-password'; grant all on app.* to app@'%';
create user proxy@'%' identified by 'proxy-password'; grant select on mysql.* to proxy@'%'; grant show databases on *.* to proxy@'%';
drop user if exists ''@localhost; drop user if exists ''@`+"`"+hostName()+"`")
	p.launch(filepath.Join(c.dir, "stop"))
}

func hostName() string {
	name, _ := os.Hostname()
	return name
}

// freeAddress is one that nobody listens at.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// starts is how often a cluster's start script has run.
func (c commanded) starts() int {
	text, _ := os.ReadFile(filepath.Join(c.dir, "runs"))
	return strings.Count(string(text), "start")
}

func (c commanded) answers() bool {
	conn, err := net.Dial("tcp", c.address)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// kill ends the engine as a crash does.
func (c commanded) kill(t *testing.T) {
	t.Helper()
	for _, name := range []string{"db/postmaster.pid", "db/pid"} {
		var pid int
		text, _ := os.ReadFile(filepath.Join(c.dir, name))
		if n, _ := fmt.Sscan(string(text), &pid); n == 1 {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("there is no engine to kill")
}

// TestComputeCommand: engines that scripts run have all that those of the
// proxy's own have.
func TestComputeCommand(t *testing.T) {
	t.Parallel() // it waits, for the most part
	p, clusters := commandedProxy(t)
	doors := map[string]string{"postgres": p.urls["postgres"].Host, "mysql": p.urls["mysql"].Host, "admin": p.urls["http"].Host}
	ctx := context.Background()
	for _, e := range engines {
		c := clusters[e.cluster]
		keep, kept := "set work_mem = '7MB'", "show work_mem"
		if e == mariadb {
			keep, kept = "set @kept = '7MB'", "select @kept"
		}
		t.Run(e.name+"/parks, pauses, resumes", func(t *testing.T) {
			conn := p.connect(e)
			defer conn.Close()
			if _, err := conn.ExecContext(ctx, keep); err != nil {
				t.Fatal(err)
			}
			if out, code := p.command("pause", e.cluster); code != 0 {
				t.Fatalf("pause: exit %d: %s", code, out)
			}
			if c.answers() {
				t.Error("the engine still runs")
			}
			if got := one(t, conn, kept); got != "7MB" {
				t.Errorf("after a pause: %q", got)
			}
		})
		t.Run(e.name+"/takes another size", func(t *testing.T) {
			conn := p.connect(e)
			defer conn.Close()
			if _, err := conn.ExecContext(ctx, keep); err != nil {
				t.Fatal(err)
			}
			for _, change := range resizes[e.name] {
				p.resizes(t, c, e, change)
				if got := one(t, conn, kept); got != "7MB" {
					t.Errorf("after the change to %d ACU: %q", change.to, got)
				}
			}
		})
		t.Run(e.name+"/a resize that fails", func(t *testing.T) {
			before := p.cluster(e)
			p.put(filepath.Join(e.cluster, "broken"), "", 0o600)
			defer os.Remove(filepath.Join(c.dir, "broken"))
			if out, code := p.command("scale", e.cluster, "--capacity", "16"); code != 1 {
				t.Errorf("exit %d: %s", code, out)
			}
			if now := p.cluster(e); now.Capacity != before.Capacity || now.State != "available" {
				t.Errorf("it is %+v, was %+v", now, before)
			}
			if last := p.lastReason(e); !strings.Contains(last, "this host is full") {
				t.Errorf("the event says %q", last)
			}
		})
		t.Run(e.name+"/an engine that dies", func(t *testing.T) {
			conn := p.connect(e)
			defer conn.Close()
			c.kill(t)
			p.wait("a new session is served", 40*time.Second, func() error {
				fresh, err := p.tryConnect(e, nil)
				if err != nil {
					return err
				}
				defer fresh.Close()
				return fresh.PingContext(ctx)
			})
		})
		t.Run(e.name+"/a start that fails", func(t *testing.T) {
			if out, code := p.command("pause", e.cluster); code != 0 {
				t.Fatalf("pause: exit %d: %s", code, out)
			}
			broken := filepath.Join(c.dir, "broken")
			p.put(filepath.Join(e.cluster, "broken"), "", 0o600)
			_, err := p.tryConnect(e, nil)
			said := fmt.Sprint(err)
			var refused *pgconn.PgError
			if errors.As(err, &refused) {
				said += refused.Detail
			}
			if !strings.Contains(said, "the disk of this cluster is full") || !strings.Contains(said, "exit status 7") {
				t.Errorf("the held client was told: %s", said)
			}
			if err := os.Remove(broken); err != nil {
				t.Fatal(err)
			}
			p.connect(e).Close()
		})
	}
	t.Run("a killed proxy", func(t *testing.T) {
		before := map[string]int{"pg": clusters["pg"].starts(), "my": clusters["my"].starts()}
		p.kill()
		for name, c := range clusters {
			if !c.answers() {
				t.Errorf("%s died with the proxy", name)
			}
		}
		p.serve(doors)
		for _, e := range engines {
			if got := one(t, p.open(e), "select 5"); got != "5" {
				t.Errorf("%s: %q", e.name, got)
			}
			if n := clusters[e.cluster].starts(); n != before[e.cluster] {
				t.Errorf("%s was started %d times by the next proxy, not adopted", e.name, n-before[e.cluster])
			}
		}
	})
}

// resizing is a change of size, by a restart or without.
type resizing struct {
	to       int
	restarts bool
}

var resizes = map[string][]resizing{
	postgres.name: {{4, true}, {2, false}},
	mariadb.name:  {{4, false}, {8, true}, {2, false}},
}

// resizes scales, and sees that the resize command was asked, whether the
// engine was restarted, and that it has the size.
func (p *proxy) resizes(t *testing.T, c commanded, e engine, change resizing) {
	t.Helper()
	starts := c.starts()
	if out, code := p.command("scale", e.cluster, "--capacity", strconv.Itoa(change.to)); code != 0 {
		t.Fatalf("scale to %d: exit %d: %s", change.to, code, out)
	}
	if err := p.atCapacity(e, change.to); err != nil {
		t.Error(err)
	}
	if restarted := c.starts() != starts; restarted != change.restarts {
		t.Errorf("to %d ACU: restarted %v, want %v", change.to, restarted, change.restarts)
	}
	asked, _ := os.ReadFile(filepath.Join(c.dir, "resized"))
	if lines := strings.Fields(string(asked)); len(lines) == 0 || lines[len(lines)-1] != strconv.Itoa(change.to) {
		t.Errorf("to %d ACU: the resize command was asked for %v", change.to, lines)
	}
	has, err := strconv.Atoi(one(t, p.open(e), map[string]string{postgres.name: "show max_connections", mariadb.name: "select @@global.max_connections"}[e.name]))
	if ceiling := p.cluster(e).Ceiling; err != nil || has <= ceiling {
		t.Errorf("at %d ACU the engine admits %d connections (%v), the endpoint %d", change.to, has, err, ceiling)
	}
}

// lastReason is why the last event came.
func (p *proxy) lastReason(e engine) string {
	p.t.Helper()
	var events []struct{ Reason string }
	p.mustCommand(&events, "events", e.cluster)
	if len(events) == 0 {
		return ""
	}
	return events[len(events)-1].Reason
}
