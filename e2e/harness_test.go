package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
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
}

var (
	postgres = engine{name: "postgres", cluster: "pg", driver: "pgx", sleep: "select pg_sleep(%d)",
		toolBusy: "sorry, too many clients already", toolAuth: "password authentication failed"}
	mariadb = engine{name: "mariadb", cluster: "my", driver: "mysql", sleep: "select sleep(%d)",
		toolBusy: "Too many connections", toolAuth: "Access denied"}
	engines = []engine{postgres, mariadb}
)

// proxy is a running serverlessproxy, with the engines that it runs.
type proxy struct {
	t      *testing.T
	dir    string
	args   []string
	cmd    *exec.Cmd
	ended  chan struct{} // closed when the process has been waited for
	urls   map[string]*url.URL
	admin  string
	secure bool // its clients speak TLS

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
	p.args = append([]string{"quickstart", "--dir", p.dir, "--postgres-address", "127.0.0.1:0", "--mysql-address", "127.0.0.1:0", "--admin-address", "127.0.0.1:0"}, steady(flags)...)
	if len(flags) == 0 {
		copyMade(t, p.dir)
	}
	if releaseAfter != "" {
		p.makeReleasing()
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

// steady are flags of clusters whose capacity does not follow the load of the
// test, unless they say what it may be.
func steady(flags []string) []string {
	if slices.ContainsFunc(flags, func(f string) bool { return strings.HasSuffix(f, "-capacity") }) {
		return flags
	}
	return append(slices.Clone(flags), "--max-capacity", "2")
}

// made is a quickstart directory as its first run leaves it, copied by all
// tests that want no other: making the clusters takes longer than most tests.
var made = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(filepath.Dir(binary), "made")
	cmd := exec.Command(binary, steady([]string{"quickstart", "--dir", dir, "--postgres-address", "127.0.0.1:0", "--mysql-address", "127.0.0.1:0", "--admin-address", "127.0.0.1:0"})...)
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
	if p.args[0] == "serve" {
		wanted = 0 // it prints none: who wrote the configuration knows them
	}
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

func filter(list []string, keep func(string) bool) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return !keep(s) })
}
