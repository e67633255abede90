package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const dashboards = "../dashboards"

// dashboard is what Grafana's schema asks of one, as far as this one uses it.
type dashboard struct {
	UID, Title    string
	SchemaVersion int
	Templating    struct {
		List []struct{ Name, Type string }
	}
	Panels []struct {
		ID          int
		Type, Title string
		Datasource  *struct{ Type, UID string }
		GridPos     struct{ X, Y, W, H int }
		FieldConfig *struct {
			Defaults  json.RawMessage
			Overrides []json.RawMessage
		}
		Targets []struct {
			RefID string
			Expr  string
		}
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dashboards, "serverlessproxy.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDashboardIsOne: what Grafana would stumble over when it is imported.
func TestDashboardIsOne(t *testing.T) {
	d := readDashboard(t)
	if d.UID == "" || d.Title == "" || d.SchemaVersion < 36 || len(d.Panels) < 10 {
		t.Fatalf("%q, %q, schema %d, %d panels", d.UID, d.Title, d.SchemaVersion, len(d.Panels))
	}
	var variables []string
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name)
	}
	if !slices.Equal(variables, []string{"datasource", "cluster"}) {
		t.Errorf("variables %v", variables)
	}
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if p.ID == 0 || ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d %q: no number of its own, or no title", p.ID, p.Title)
		}
		ids[p.ID] = true
		if p.GridPos.W < 1 || p.GridPos.H < 1 || p.GridPos.X < 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%s lies outside of the grid: %+v", p.Title, p.GridPos)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Fatalf("%s lies over %s", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if !slices.Contains([]string{"timeseries", "stat", "state-timeline"}, p.Type) || p.Datasource == nil || p.Datasource.UID != "${datasource}" || p.FieldConfig == nil || p.FieldConfig.Overrides == nil || len(p.Targets) == 0 {
			t.Errorf("%s: %+v", p.Title, p)
		}
		refs := map[string]bool{}
		for _, target := range p.Targets {
			if target.RefID == "" || refs[target.RefID] || target.Expr == "" {
				t.Errorf("%s: target %+v", p.Title, target)
			}
			refs[target.RefID] = true
		}
	}
}

// TestAlertRules: they are rules, and fire when they should and not before.
func TestAlertRules(t *testing.T) {
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		cmd := exec.Command("promtool", args...)
		cmd.Dir = dashboards
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// prometheus is a Prometheus that scrapes a proxy each second.
type prometheus struct{ url string }

func (p *proxy) prometheus() prometheus {
	p.t.Helper()
	dir, address := p.t.TempDir(), freeAddress(p.t)
	alerts, err := filepath.Abs(filepath.Join(dashboards, "alerts.yml"))
	if err != nil {
		p.t.Fatal(err)
	}
	config := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q]\nscrape_configs:\n  - job_name: serverlessproxy\n    static_configs: [{targets: [%q]}]\n",
		alerts, strings.TrimPrefix(p.admin, "http://"))
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command("prometheus", "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("start Prometheus: %v; apt-get install prometheus, or run `make test`, which does it", err)
	}
	p.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if p.t.Failed() {
			p.t.Logf("Prometheus said:\n%s", said.String())
		}
	})
	return prometheus{"http://" + address}
}

// ask is the number of series that a query gives.
func (p prometheus) ask(query string) (int, error) {
	response, err := http.Get(p.url + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return 0, err
	}
	if answer.Status != "success" {
		return 0, fmt.Errorf("%s", answer.Error)
	}
	return len(answer.Data.Result), nil
}

// ours are the names of our metrics in an expression.
var ours = regexp.MustCompile(`serverlessproxy_[a-z_]+`)

// TestDashboardQueries: each panel shows something of a proxy at work, and
// each alert asks for metrics that there are.
func TestDashboardQueries(t *testing.T) {
	p := quickstart(t)
	monitor := p.prometheus()
	p.wait("Prometheus has scraped", 30*time.Second, func() error {
		n, err := monitor.ask(`serverlessproxy_cluster_info`)
		if err == nil && n < 2 {
			err = fmt.Errorf("%d clusters", n)
		}
		return err
	})
	// Something happens between two scrapes.
	for _, e := range engines {
		conn := p.connect(e)
		defer conn.Close()
		if _, code := p.command("pause", e.cluster); code != 0 {
			t.Fatalf("pause %s: exit %d", e.cluster, code)
		}
		if got := one(t, conn, "select 2"); got != "2" {
			t.Errorf("answered %q", got)
		}
	}
	variables := strings.NewReplacer("$cluster", ".*", "$__rate_interval", "1m", "$__range", "10m")
	for _, panel := range readDashboard(t).Panels {
		for _, target := range panel.Targets {
			p.wait(panel.Title+": "+target.Expr, 30*time.Second, func() error {
				n, err := monitor.ask(variables.Replace(target.Expr))
				if err == nil && n == 0 {
					err = fmt.Errorf("it shows nothing")
				}
				return err
			})
		}
	}
	text, err := os.ReadFile(filepath.Join(dashboards, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range regexp.MustCompile(`(?m)^ +expr: .*$`).FindAllString(string(text), -1) {
		for _, name := range ours.FindAllString(line, -1) {
			if n, err := monitor.ask(name); err != nil || n == 0 {
				t.Errorf("an alert asks for %s: %d series, %v", name, n, err)
			}
		}
	}
	if n, err := monitor.ask(`ALERTS{alertstate="firing",severity="critical"}`); err != nil || n > 0 {
		t.Errorf("%d critical alerts of a proxy that is well, %v", n, err)
	}
}
