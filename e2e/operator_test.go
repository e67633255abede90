package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

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

// edit changes the configuration file of a quickstart and starts it again.
func (p *proxy) edit(change func(string) string) {
	p.t.Helper()
	p.stop()
	p.rewrite(change)
	p.start()
}

// reload changes the configuration file and has it read again.
func (p *proxy) reload(change func(string) string) {
	p.t.Helper()
	before := strings.Count(p.said(), "configuration reloaded")
	p.rewrite(change)
	p.signal(syscall.SIGHUP)
	p.wait("the configuration is reloaded", 30*time.Second, func() error {
		if strings.Count(p.said(), "configuration reloaded") == before {
			return errors.New("not yet")
		}
		return nil
	})
}

func (p *proxy) rewrite(change func(string) string) {
	p.t.Helper()
	file := filepath.Join(p.dir, "serverlessproxy.yaml")
	old, err := os.ReadFile(file)
	if err != nil {
		p.t.Fatal(err)
	}
	changed := change(string(old))
	if changed == string(old) {
		p.t.Fatal("the configuration has not changed")
	}
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// amendClusters adds a line of keys to every cluster of a configuration.
func (p *proxy) amendClusters(config, line string) string {
	config, line = unite(config, line)
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
