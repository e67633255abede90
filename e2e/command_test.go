package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestOperatorCommands walks through what an operator does on a day.
func TestOperatorCommands(t *testing.T) {
	p := quickstart(t)
	eachEngine(t, func(t *testing.T, e engine) {
		if _, code := p.command("resume", e.cluster); code != 0 {
			t.Fatalf("resume: exit %d", code)
		}
		conn := p.connect(e)
		var sessions []struct{ ID, User, Database, Phase, Protocol string }
		p.wait("the session rests", 10*time.Second, func() error {
			p.mustCommand(&sessions, "sessions", e.cluster)
			if len(sessions) != 1 || sessions[0].User != "app" || sessions[0].Database != "app" || sessions[0].Phase != atRest() {
				return fmt.Errorf("sessions: %+v", sessions)
			}
			return nil
		})
		if _, code := p.command("kill", sessions[0].ID); code != 0 {
			t.Errorf("kill: exit %d", code)
		}
		p.wait("the killed session is gone", 10*time.Second, func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			if err := conn.PingContext(ctx); err == nil {
				return errors.New("it still answers")
			}
			return nil
		})
		if _, code := p.command("kill", "s-0"); code != 1 {
			t.Errorf("kill of nobody: exit %d, want 1", code)
		}
		p.wait("no session", 10*time.Second, func() error {
			if n := p.cluster(e).Sessions.Total; n > 0 {
				return fmt.Errorf("%d sessions", n)
			}
			return nil
		})
		if _, code := p.command("pause", e.cluster); code != 0 {
			t.Errorf("pause: exit %d", code)
		}
		if c := p.cluster(e); c.State != "paused" || c.Capacity != 0 {
			t.Errorf("after a pause: %+v", c)
		}
		var events []struct{ ID, Message string }
		p.mustCommand(&events, "events", e.cluster)
		if len(events) == 0 {
			t.Error("no events")
		}
		out, code := p.command("status")
		if code != 0 || !strings.Contains(out, e.cluster) || !strings.Contains(out, "paused") {
			t.Errorf("status: exit %d\n%s", code, out)
		}
	})
	for _, c := range []struct {
		want int
		args []string
	}{
		{2, []string{"pause"}},
		{2, []string{"nonsense"}},
		{2, []string{"status", "--nonsense"}},
		{1, []string{"pause", "nobody"}},
		{0, []string{"version"}},
		{0, []string{"config", "example"}},
	} {
		if out, code := p.command(c.args...); code != c.want {
			t.Errorf("%v: exit %d, want %d: %s", c.args, code, c.want, out)
		}
	}
}

// TestAdminNeedsItsToken over TCP for what changes state.
func TestAdminNeedsItsToken(t *testing.T) {
	p := quickstart(t, "--engine", "postgres")
	token, err := os.ReadFile(filepath.Join(p.dir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		token string
		want  int
	}{{"", http.StatusUnauthorized}, {"wrong", http.StatusUnauthorized}, {strings.TrimSpace(string(token)), http.StatusOK}} {
		request, err := http.NewRequest(http.MethodPost, p.admin+"/v1/clusters/pg/resume", nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.token != "" {
			request.Header.Set("Authorization", "Bearer "+c.token)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		var body struct {
			Error struct{ Code, Message string }
		}
		_ = json.NewDecoder(response.Body).Decode(&body)
		response.Body.Close()
		if response.StatusCode != c.want {
			t.Errorf("with token %q: %s", c.token, response.Status)
		}
		if c.want != http.StatusOK && (body.Error.Code == "" || body.Error.Message == "") {
			t.Errorf("with token %q the error is %+v", c.token, body)
		}
	}
}

// TestConfigurationMistakes are found before anything starts, all at once.
func TestConfigurationMistakes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "wrong.yaml")
	text := `state_dir: ` + dir + `/state
admin: {adress: "127.0.0.1:0"}
listeners:
  - {protocol: oracle, address: "127.0.0.1:0"}
clusters:
  - name: shop
    engine: postgres
    endpoint: shop.cluster-c1x2.db.example
    master: {user: app, database: app, password_file: absent.password}
    scaling: {min_capacity: 3, max_capacity: 2, seconds_before_timeout: 5}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"serve", "check"} {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		cmd := exec.CommandContext(ctx, binary, command, "--config", file)
		out, err := cmd.CombinedOutput()
		cancel()
		if code := cmd.ProcessState.ExitCode(); code != 2 {
			t.Errorf("%s: exit %d (%v)\n%s", command, code, err, out)
		}
		for _, want := range []string{"wrong.yaml:2", "adress", "oracle", "absent.password", "min_capacity", "seconds_before_timeout"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s does not say %q:\n%s", command, want, out)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "state")); err == nil {
		t.Error("something was started")
	}
}

// TestCheckPasses on what quickstart made.
func TestCheckPasses(t *testing.T) {
	p := quickstart(t)
	p.stop()
	out, code := p.command("check", "--config", filepath.Join(p.dir, "serverlessproxy.yaml"), "-o", "json")
	if code != 0 {
		t.Fatalf("exit %d:\n%s", code, out)
	}
	var checks []struct {
		Name, Detail, Remedy string
		OK                   bool
	}
	if err := json.Unmarshal([]byte(out), &checks); err != nil || len(checks) < 5 {
		t.Fatalf("%v: %s", err, out)
	}
	p.start()
}

// TestTakenPort: quickstart moves to the next free one and says so.
func TestTakenPort(t *testing.T) {
	p := quickstart(t, "--engine", "postgres")
	taken := p.url(postgres).Host
	q := &proxy{t: t, dir: filepath.Join(t.TempDir(), "d")}
	if err := os.Chmod(filepath.Dir(q.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	q.args = []string{"quickstart", "--dir", q.dir, "--engine", "postgres", "--postgres-address", taken, "--admin-address", "127.0.0.1:0"}
	t.Cleanup(func() { q.stop(); q.endEngines() })
	q.start()
	if q.url(postgres).Host == taken {
		t.Errorf("both have %s", taken)
	}
	if !strings.Contains(q.said(), taken) {
		t.Errorf("it does not say that %s is taken:\n%s", taken, q.said())
	}
}
