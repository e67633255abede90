package metrics

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"serverlessproxy/cluster"
	"serverlessproxy/pool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// machine stands as it is told to.
type machine struct{ status cluster.Status }

func (m *machine) Status() *cluster.Status { return &m.status }
func (m *machine) ACUSeconds() float64     { return 12.5 }
func (m *machine) Measured() cluster.Measured {
	return cluster.Measured{CPU: 0.25, Freeable: 1 << 30}
}

type occupants struct{}

func (occupants) Counts() map[pool.Phase]int {
	return map[pool.Phase]int{pool.Active: 2, pool.InTransaction: 1, pool.Idle: 4, pool.Held: 3}
}
func (occupants) Pins() map[string]int {
	return map[string]int{"transaction": 1, "a client's own word": 7}
}
func (occupants) Backends() int { return 5 }
func (occupants) Ceiling() int  { return 400 }

// view has one cluster, and a place for connections of unknown ones.
func view() (*View, *machine, *pool.Tally) {
	m := &machine{cluster.Status{Name: "shop", State: cluster.Available, Capacity: 4, Max: 16,
		Backend: cluster.Backend{Network: "unix", Address: "/s", Generation: 1}}}
	tally := &pool.Tally{}
	v := New()
	v.Add(Cluster{
		Name: "shop", Engine: "postgres", Driver: "process", Protocol: "postgres",
		Version: func() string { return "15.18 (\xff)" },
		Machine: m, Occupants: occupants{}, Tally: tally, Volume: func() int64 { return 4096 },
	})
	v.AddUnknown("postgres", &pool.Tally{})
	return v, m, tally
}

func scrape(t *testing.T, v *View) string {
	t.Helper()
	answer := httptest.NewRecorder()
	v.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if answer.Code != http.StatusOK {
		t.Fatalf("%d: %s", answer.Code, answer.Body)
	}
	return answer.Body.String()
}

func wantLines(t *testing.T, text string, lines ...string) {
	t.Helper()
	all := strings.Split(text, "\n")
	for _, line := range lines {
		if !slices.Contains(all, line) {
			name, _, _ := strings.Cut(line, "{")
			t.Errorf("no line %s\nthere are %q", line, slices.DeleteFunc(slices.Clone(all), func(s string) bool { return !strings.HasPrefix(s, name) }))
		}
	}
}

func TestEverythingStartsAtZero(t *testing.T) {
	v, _, _ := view()
	text := scrape(t, v)
	wantLines(t, text,
		`serverlessproxy_resumes_total{cluster="shop",result="failed",trigger="query"} 0`,
		`serverlessproxy_resume_duration_seconds_count{cluster="shop",result="ok"} 0`,
		`serverlessproxy_pauses_total{cluster="shop",result="cancelled"} 0`,
		`serverlessproxy_pause_duration_seconds_count{cluster="shop",result="paused"} 0`,
		`serverlessproxy_hold_duration_seconds_count{cluster="shop",reason="queue"} 0`,
		`serverlessproxy_events_total{cluster="shop",event="RDS-EVENT-0145"} 0`,
		`serverlessproxy_connections_refused_total{cluster="shop",protocol="postgres",reason="instance"} 0`,
		`serverlessproxy_connections_refused_total{cluster="",protocol="postgres",reason="unknown_cluster"} 0`,
		`serverlessproxy_parks_total{cluster="shop",reason="pause",result="ok"} 0`,
		`serverlessproxy_restores_total{cluster="shop",reason="release",result="fatal"} 0`,
		`serverlessproxy_client_bytes_total{cluster="shop",direction="in",protocol="postgres"} 0`,
	)
}

func TestWhatIsRead(t *testing.T) {
	v, m, tally := view()
	tally.Refuse(pool.RefusedCeiling)
	tally.Park(pool.ForPause, pool.Done)
	tally.Queries.Add(3)
	tally.BytesOut.Add(70)
	wantLines(t, scrape(t, v),
		`serverlessproxy_cluster_info{cluster="shop",driver="process",engine="postgres",engine_version="15.18 (?)"} 1`,
		`serverlessproxy_cluster_state{cluster="shop",state="available"} 1`,
		`serverlessproxy_cluster_state{cluster="shop",state="paused"} 0`,
		`serverlessproxy_capacity_acu{cluster="shop"} 4`,
		`serverlessproxy_capacity_max_acu{cluster="shop"} 16`,
		`serverlessproxy_acu_utilization_ratio{cluster="shop"} 0.25`,
		`serverlessproxy_acu_seconds_total{cluster="shop"} 12.5`,
		`serverlessproxy_engine_cpu_utilization_ratio{cluster="shop"} 0.25`,
		`serverlessproxy_engine_freeable_memory_bytes{cluster="shop"} 1.073741824e+09`,
		`serverlessproxy_volume_bytes{cluster="shop"} 4096`,
		`serverlessproxy_connections_ceiling{cluster="shop"} 400`,
		`serverlessproxy_database_connections{cluster="shop",phase="idle"} 4`,
		`serverlessproxy_database_connections{cluster="shop",phase="parked"} 0`,
		`serverlessproxy_backends{cluster="shop",state="active"} 3`,
		`serverlessproxy_backends{cluster="shop",state="idle"} 2`,
		`serverlessproxy_pinned_sessions{cluster="shop",reason="transaction"} 1`,
		`serverlessproxy_connections_refused_total{cluster="shop",protocol="postgres",reason="ceiling"} 1`,
		`serverlessproxy_parks_total{cluster="shop",reason="pause",result="ok"} 1`,
		`serverlessproxy_queries_total{cluster="shop",protocol="postgres"} 3`,
		`serverlessproxy_client_bytes_total{cluster="shop",direction="out",protocol="postgres"} 70`,
	)
	m.status = cluster.Status{State: cluster.Paused, Max: 16}
	wantLines(t, scrape(t, v),
		`serverlessproxy_cluster_state{cluster="shop",state="paused"} 1`,
		`serverlessproxy_capacity_acu{cluster="shop"} 0`,
		`serverlessproxy_engine_uptime_seconds{cluster="shop"} 0`,
	)
}

func TestWhatIsTold(t *testing.T) {
	v, _, _ := view()
	v.Resumed("shop", cluster.OnConnect, 120*time.Millisecond, nil)
	v.Resumed("shop", cluster.Manual, time.Second, errors.New("no"))
	v.Resumed("shop", "some day", time.Second, nil)
	v.Paused("shop", "paused", time.Second)
	v.Held("shop", "resume", 3*time.Second)
	v.Happened(cluster.Event{Cluster: "shop", ID: "RDS-EVENT-0148"})
	v.Happened(cluster.Event{Cluster: "shop", ID: ""})
	wantLines(t, scrape(t, v),
		`serverlessproxy_resumes_total{cluster="shop",result="ok",trigger="connect"} 1`,
		`serverlessproxy_resumes_total{cluster="shop",result="failed",trigger="manual"} 1`,
		`serverlessproxy_resumes_total{cluster="shop",result="ok",trigger="other"} 1`,
		`serverlessproxy_resume_duration_seconds_bucket{cluster="shop",result="ok",le="0.15"} 1`,
		`serverlessproxy_pauses_total{cluster="shop",result="paused"} 1`,
		`serverlessproxy_hold_duration_seconds_sum{cluster="shop",reason="resume"} 3`,
		`serverlessproxy_events_total{cluster="shop",event="RDS-EVENT-0148"} 1`,
		`serverlessproxy_events_total{cluster="shop",event="other"} 1`,
	)
}

func TestUptime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, m, _ := view()
		told := v.find("shop")
		time.Sleep(time.Hour)
		v.Resumed("shop", cluster.OnConnect, time.Second, nil)
		time.Sleep(10 * time.Second)
		if got := told.engine.uptime(m.status.Backend, time.Now()); got != 10*time.Second {
			t.Errorf("after a start that was told: %v", got)
		}
		next := m.status.Backend
		next.Generation++
		time.Sleep(time.Minute)
		if got := told.engine.uptime(next, time.Now()); got != 0 {
			t.Errorf("of an engine that is seen for the first time: %v", got)
		}
		time.Sleep(time.Minute)
		if got := told.engine.uptime(next, time.Now()); got != time.Minute {
			t.Errorf("a minute later: %v", got)
		}
		if got := told.engine.uptime(cluster.Backend{}, time.Now()); got != 0 {
			t.Errorf("of no engine: %v", got)
		}
	})
}

func TestRemove(t *testing.T) {
	v, _, _ := view()
	v.Resumed("shop", cluster.OnConnect, time.Second, nil)
	v.Remove("shop")
	if text := scrape(t, v); strings.Contains(text, `cluster="shop"`) {
		t.Errorf("series of a removed cluster:\n%s", text)
	}
}

func TestScrapesWhileThingsHappen(t *testing.T) {
	v, _, _ := view()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	var busy sync.WaitGroup
	busy.Go(func() {
		for ctx.Err() == nil {
			v.Resumed("shop", cluster.OnConnect, time.Second, nil)
		}
	})
	busy.Go(func() {
		for ctx.Err() == nil {
			v.Add(Cluster{Name: "b", Version: func() string { return "" }, Machine: &machine{}, Occupants: occupants{}, Tally: &pool.Tally{}})
			v.Remove("b")
		}
	})
	for ctx.Err() == nil {
		scrape(t, v)
	}
	busy.Wait()
}

func TestPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("promtool is not installed: apt-get install prometheus, or run `make test`, which does it")
	}
	v, _, _ := view()
	check := exec.Command(promtool, "check", "metrics")
	check.Stdin = bytes.NewBufferString(scrape(t, v))
	if said, err := check.CombinedOutput(); err != nil || len(said) > 0 {
		t.Errorf("%v\n%s", err, said)
	}
}

// TestDocumented holds docs/metrics.md to what there is, names and label values.
func TestDocumented(t *testing.T) {
	documented := documentation(t)
	v, _, _ := view()
	text := scrape(t, v)
	for _, name := range regexp.MustCompile(`(?m)^# TYPE (serverlessproxy_\S+)`).FindAllStringSubmatch(text, -1) {
		if !strings.Contains(documented, "`"+name[1]+"`") {
			t.Errorf("docs/metrics.md does not tell of %s", name[1])
		}
	}
	for _, set := range [][]string{triggers, results, pauseEnds, holdings, parkings, pinReasons} {
		for _, word := range set {
			if !strings.Contains(documented, "`"+word+"`") {
				t.Errorf("docs/metrics.md does not tell of the label value %s", word)
			}
		}
	}
}
