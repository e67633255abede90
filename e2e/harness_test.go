package e2e

import (
	"bufio"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
)

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "serverlessproxy")
	build := exec.Command("go", "build", "-o", binary, "../cmd/serverlessproxy")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "cannot build the proxy:", err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// engine is one row of the contracts that hold for both protocols.
type engine struct {
	name     string // of --engine
	cluster  string
	driver   string // of database/sql
	sleep    string // a statement that takes %d seconds
	toolBusy string // the error text beyond the ceiling
	toolAuth string // the error text of a wrong password
	process  string // the server's program name
}

var (
	postgres = engine{name: "postgres", cluster: "pg", driver: "pgx", sleep: "select pg_sleep(%d)",
		toolBusy: "sorry, too many clients already", toolAuth: "password authentication failed", process: "postgres"}
	mariadb = engine{name: "mariadb", cluster: "my", driver: "mysql", sleep: "select sleep(%d)",
		toolBusy: "Too many connections", toolAuth: "Access denied", process: "mariadbd"}
	engines = []engine{postgres, mariadb}
)

// proxy is a running serverlessproxy, with the engines that it runs.
type proxy struct {
	t     *testing.T
	dir   string
	args  []string
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has been waited for
	urls  map[string]*url.URL
	admin string

	mu     sync.Mutex // protects output
	output []string
}

// quickstart starts the proxy in a new directory, with these flags, and stops
// it with the test.
func quickstart(t *testing.T, flags ...string) *proxy {
	t.Helper()
	dir, err := os.MkdirTemp("", "sp")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, dir: filepath.Join(dir, "d")}
	p.args = append([]string{"quickstart", "--dir", p.dir, "--postgres-address", "127.0.0.1:0", "--mysql-address", "127.0.0.1:0", "--admin-address", "127.0.0.1:0"}, flags...)
	if len(flags) == 0 {
		copyMade(t, p.dir)
	}
	t.Cleanup(func() {
		p.stop()
		p.endEngines()
		if t.Failed() {
			t.Logf("the proxy said:\n%s", p.said())
		}
		os.RemoveAll(dir)
	})
	p.start()
	return p
}

// made is a quickstart directory as its first run leaves it, copied by all
// tests that want no other: making the clusters takes longer than most tests.
var made = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(filepath.Dir(binary), "made")
	cmd := exec.Command(binary, "quickstart", "--dir", dir, "--postgres-address", "127.0.0.1:0", "--mysql-address", "127.0.0.1:0", "--admin-address", "127.0.0.1:0")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		return "", err
	}
	ready := false
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "http://") {
			ready = true
			_ = cmd.Process.Signal(syscall.SIGINT)
		}
	}
	if err := cmd.Wait(); err != nil || !ready {
		return "", fmt.Errorf("quickstart: %v\n%s", err, errs.String())
	}
	return dir, nil
})

func copyMade(t *testing.T, to string) {
	t.Helper()
	from, err := made()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copy %s: %v: %s", from, err, out)
	}
	// What belongs to the run that made it, not to the clusters.
	for _, name := range []string{"admin.sock", "lock"} {
		_ = os.Remove(filepath.Join(to, name))
	}
}

// start runs the proxy again with the same directory.
func (p *proxy) start() {
	p.t.Helper()
	p.cmd = exec.Command(binary, p.args...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.urls, p.ended = map[string]*url.URL{}, make(chan struct{})
	lines := make(chan string, 1000)
	var reading sync.WaitGroup
	for _, from := range []io.Reader{stdout, stderr} {
		reading.Go(func() {
			scanner := bufio.NewScanner(from)
			for scanner.Scan() {
				p.mu.Lock()
				p.output = append(p.output, scanner.Text())
				p.mu.Unlock()
				select {
				case lines <- scanner.Text():
				default:
				}
			}
		})
	}
	cmd, ended := p.cmd, p.ended
	go func() {
		reading.Wait()
		_ = cmd.Wait()
		close(ended)
	}()
	wanted := 3
	if slices.Contains(p.args, "--engine") {
		wanted = 1 + len(filter(p.args, func(a string) bool { return a == "--engine" }))
	}
	limit := time.After(60 * time.Second)
	for len(p.urls) < wanted {
		select {
		case line := <-lines:
			p.learn(line)
		case <-ended:
			p.t.Fatalf("the proxy ended at its start:\n%s", p.said())
		case <-limit:
			p.t.Fatalf("the proxy did not print its addresses:\n%s", p.said())
		}
	}
	p.wait("ready", 30*time.Second, func() error {
		response, err := http.Get(p.admin + "/readyz")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		return nil
	})
}

// learn takes an address out of a line of the proxy's.
func (p *proxy) learn(line string) {
	for _, word := range strings.Fields(line) {
		u, err := url.Parse(word)
		if err != nil {
			continue
		}
		switch u.Scheme {
		case "postgres", "mysql":
			p.urls[u.Scheme] = u
		case "http":
			p.urls["http"] = u
			p.admin = strings.TrimSuffix(u.String(), "/")
		}
	}
}

func (p *proxy) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.output, "\n")
}

// stop ends the proxy as Ctrl-C does.
func (p *proxy) stop() {
	p.signal(syscall.SIGINT)
	select {
	case <-p.ended:
	case <-time.After(60 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
		p.t.Errorf("the proxy did not stop within 60 s:\n%s", p.said())
	}
}

func (p *proxy) signal(s os.Signal) { _ = p.cmd.Process.Signal(s) }

// kill ends the proxy as a crash does; its engines outlive it.
func (p *proxy) kill() {
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// endEngines ends what a killed proxy left behind.
func (p *proxy) endEngines() {
	for _, pid := range p.engines() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// engines are the server processes that run on this proxy's directory: by
// their command line, which names it.
func (p *proxy) engines() []int {
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(text), p.dir) {
			continue
		}
		program, _, _ := strings.Cut(string(text), "\x00")
		if slices.Contains([]string{"postgres", "mariadbd", "mysqld"}, filepath.Base(program)) {
			pid, _ := strconv.Atoi(strings.Split(file, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

// wait waits until try holds.
func (p *proxy) wait(what string, limit time.Duration, try func() error) {
	p.t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("not within %v: %s: %v", limit, what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (p *proxy) url(e engine) *url.URL {
	if e.driver == "pgx" {
		return p.urls["postgres"]
	}
	return p.urls["mysql"]
}

// dsn is what database/sql's driver takes.
func (p *proxy) dsn(e engine) string { return p.dsnFor(e, nil) }

func (p *proxy) dsnFor(e engine, who *url.Userinfo) string {
	u := *p.url(e)
	if who != nil {
		u.User = who
	}
	if e.driver == "pgx" {
		return u.String() + "?sslmode=disable"
	}
	c := mysql.NewConfig()
	c.User = u.User.Username()
	c.Passwd, _ = u.User.Password()
	c.Net, c.Addr, c.DBName = "tcp", u.Host, strings.TrimPrefix(u.Path, "/")
	c.Logger = log.New(io.Discard, "", 0)
	return c.FormatDSN()
}

// open is a pool of the driver's with at most one connection.
func (p *proxy) open(e engine) *sql.DB { return p.openAs(e, nil) }

func (p *proxy) openAs(e engine, who *url.Userinfo) *sql.DB {
	p.t.Helper()
	db, err := sql.Open(e.driver, p.dsnFor(e, who))
	if err != nil {
		p.t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	p.t.Cleanup(func() { db.Close() })
	return db
}

// connect is one connection that answers.
func (p *proxy) connect(e engine) *sql.Conn {
	p.t.Helper()
	conn, err := p.tryConnect(e, nil)
	if err != nil {
		p.t.Fatalf("connect to %s: %v", e.name, err)
	}
	return conn
}

func (p *proxy) tryConnect(e engine, who *url.Userinfo) (*sql.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	return p.openAs(e, who).Conn(ctx)
}

// one is the single value that a query gives.
func one(t *testing.T, c interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}, query string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	var v sql.NullString
	if err := c.QueryRowContext(ctx, query).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v.String
}

func do(t *testing.T, c interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}, statements ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	for _, statement := range statements {
		if _, err := c.ExecContext(ctx, statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// tool runs a client program of the engine's against the endpoint.
func (p *proxy) tool(ctx context.Context, e engine, args ...string) (string, error) {
	u := p.url(e)
	secret, _ := u.User.Password()
	host, port, _ := net.SplitHostPort(u.Host)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "PGHOST="+host, "PGPORT="+port, "PGUSER="+u.User.Username(), "PGPASSWORD="+secret, "PGDATABASE=app", "PGSSLMODE=prefer",
		"PGCONNECT_TIMEOUT=60", "MYSQL_HOST="+host, "MYSQL_TCP_PORT="+port, "MYSQL_PWD="+secret)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (p *proxy) mustTool(e engine, args ...string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	out, err := p.tool(ctx, e, args...)
	if err != nil {
		p.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return out
}

// shell is the engine's own command-line client with one statement.
func (p *proxy) shell(e engine, statement string) []string {
	if e.driver == "pgx" {
		return []string{"psql", "-XAtqc", statement}
	}
	host, port, _ := net.SplitHostPort(p.url(e).Host)
	return []string{"mariadb", "--no-defaults", "-N", "-h", host, "-P", port, "-u", "app", "app", "-e", statement}
}

func (p *proxy) sysbench(args ...string) []string {
	u := p.urls["mysql"]
	host, port, _ := net.SplitHostPort(u.Host)
	secret, _ := u.User.Password()
	return append([]string{"sysbench", "oltp_read_write", "--db-driver=mysql", "--mysql-host=" + host, "--mysql-port=" + port, "--mysql-user=app",
		"--mysql-password=" + secret, "--mysql-db=app", "--tables=4", "--table-size=10000"}, args...)
}

// command runs one of the proxy's own commands against this proxy.
func (p *proxy) command(args ...string) (stdout string, code int) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), "SERVERLESSPROXY_ADMIN=unix://"+filepath.Join(p.dir, "admin.sock"))
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatalf("%v: %v", args, err)
	}
	if errs.Len() > 0 {
		p.t.Logf("%v: stderr: %s", args, errs.String())
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// mustCommand runs one that succeeds and decodes its JSON.
func (p *proxy) mustCommand(into any, args ...string) {
	p.t.Helper()
	out, code := p.command(append(args, "-o", "json")...)
	if code != 0 {
		p.t.Fatalf("%v: exit %d: %s", args, code, out)
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		p.t.Fatalf("%v: %v in %s", args, err, out)
	}
}

type clusterView struct {
	Name, State, Engine string
	EngineVersion       string `json:"engine_version"`
	Capacity, Ceiling   int
	Sessions            struct{ Total, Active, Idle, Held, Queued, Parked, Pinned int }
	LastError           string `json:"last_error"`
}

func (p *proxy) cluster(e engine) clusterView {
	p.t.Helper()
	var c clusterView
	response, err := http.Get(p.admin + "/v1/clusters/" + e.cluster)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&c); err != nil {
		p.t.Fatal(err)
	}
	return c
}

func (p *proxy) waitState(e engine, state string, limit time.Duration) {
	p.t.Helper()
	p.wait(e.cluster+" is "+state, limit, func() error {
		if c := p.cluster(e); c.State != state {
			return fmt.Errorf("it is %s, sessions %+v, last error %q", c.State, c.Sessions, c.LastError)
		}
		return nil
	})
}

// metric sums the series of a metric whose labels contain all of these.
func (p *proxy) metric(name string, labels ...string) float64 {
	p.t.Helper()
	response, err := http.Get(p.admin + "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	var sum float64
	scanner := bufio.NewScanner(response.Body)
	for scanner.Scan() {
		series, value, _ := strings.Cut(scanner.Text(), " ")
		if series != name && !strings.HasPrefix(series, name+"{") {
			continue
		}
		if slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(series, l) }) {
			continue
		}
		v, _ := strconv.ParseFloat(value, 64)
		sum += v
	}
	return sum
}

func filter(list []string, keep func(string) bool) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return !keep(s) })
}

var driverBadConn = driver.ErrBadConn

// edit changes the configuration file of a quickstart and starts it again.
func (p *proxy) edit(change func(string) string) {
	p.t.Helper()
	file := filepath.Join(p.dir, "serverlessproxy.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		p.t.Fatal(err)
	}
	p.stop()
	if err := os.WriteFile(file, []byte(change(string(text))), 0o600); err != nil {
		p.t.Fatal(err)
	}
	p.start()
}

// amendClusters adds a line of keys to every cluster of a configuration.
func (p *proxy) amendClusters(config, line string) string {
	var b strings.Builder
	for l := range strings.Lines(config) {
		b.WriteString(l)
		if trimmed := strings.TrimSpace(l); strings.HasPrefix(trimmed, "- name:") {
			b.WriteString(strings.Repeat(" ", strings.Index(l, "-")+2) + line + "\n")
		}
	}
	return b.String()
}

// superuser gives each engine a superuser "boss" who may come in at the
// endpoint, over the engine's own socket as its operator would.
func (p *proxy) superuser() {
	p.t.Helper()
	for _, command := range [][]string{
		{"psql", "-X", "-h", filepath.Join(p.dir, "clusters/pg/run"), "-U", "postgres", "-c", "create role boss superuser login password 'boss-password'", "app"},
		{"mariadb", "--no-defaults", "-S", p.mariadbSocket(), "-u", "root", "-e", "grant all on *.* to boss@'%' identified by 'boss-password'"},
	} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			p.t.Fatalf("%v: %v: %s", command, err, out)
		}
	}
}

func (p *proxy) mariadbSocket() string {
	found, _ := filepath.Glob(filepath.Join(p.dir, "clusters/my/run/*.sock"))
	if len(found) == 0 {
		return ""
	}
	return found[0]
}

func mode(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Error(err)
		return ""
	}
	return fmt.Sprintf("%04o", info.Mode().Perm())
}

func pingMySQL(ctx context.Context, c *mysql.Config) error {
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	return db.PingContext(ctx)
}
