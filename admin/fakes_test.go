package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
	"serverlessproxy/pool"
)

// machine stands as it is told to, and fails as it is told to.
type machine struct {
	status cluster.Status
	fails  error
	blocks bool          // until the asker's context ends
	asked  chan struct{} // gets a word when it blocks; may be nil
	events []cluster.Event
	more   chan cluster.Event
}

func (m *machine) Status() *cluster.Status { return &m.status }

func (m *machine) Pause(ctx context.Context) error { return m.steer(ctx, cluster.Paused) }

func (m *machine) Resume(ctx context.Context, trigger cluster.Trigger) error {
	if trigger != cluster.Manual {
		return fmt.Errorf("trigger is %s", trigger)
	}
	return m.steer(ctx, cluster.Available)
}

func (m *machine) steer(ctx context.Context, to cluster.State) error {
	if m.blocks {
		select {
		case m.asked <- struct{}{}:
		case <-ctx.Done():
		}
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if m.fails == nil {
		m.status.State = to
	}
	return m.fails
}

func (m *machine) Scale(ctx context.Context, request cluster.Request) error {
	if err := m.steer(ctx, cluster.Available); err != nil {
		return err
	}
	m.status.Capacity = request.Capacity
	return nil
}

func (m *machine) Plan(_ context.Context, to acu.Capacity) (cluster.Plan, error) {
	live := []cluster.SettingChange{{Setting: "work_mem", From: "4MB", To: "8MB"}}
	return cluster.Plan{From: m.status.Capacity, To: to, Mode: cluster.InPlace, Steps: cluster.Steps{Live: live}}, m.fails
}

func (m *machine) Convert(ctx context.Context, to acu.Capacity) error {
	if err := m.steer(ctx, cluster.Available); err != nil {
		return err
	}
	m.status.Fixed = to
	return nil
}

func (m *machine) CheckSize(size acu.Capacity) error {
	if err := acu.Postgres.Check(size); err != nil {
		return &cluster.CapacityError{Reason: err.Error()}
	}
	return nil
}

func (m *machine) Metered() cluster.Metered {
	return cluster.Metered{From: start, To: start.Add(100 * time.Hour), ACUSeconds: 36_000}
}

func (m *machine) Events() []cluster.Event { return m.events }

func (m *machine) Follow(ctx context.Context) iter.Seq[cluster.Event] {
	return func(yield func(cluster.Event) bool) {
		for _, e := range m.events {
			if !yield(e) {
				return
			}
		}
		for {
			select {
			case e := <-m.more:
				if !yield(e) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

type occupants struct{ killed []string }

func (o *occupants) Sessions() []pool.View {
	return []pool.View{
		{
			Info: pool.Info{User: "app", Database: "shop", ClientAddress: "10.1.2.3:4567", Application: "psql", Protocol: "postgres", TLS: "TLSv1.3", BackendPID: 77},
			ID:   "s-1", Phase: pool.InTransaction, PinnedBy: []string{"transaction"}, ConnectedAt: start, ActiveAt: start.Add(time.Second),
		},
		{ID: "s-2", Phase: pool.Parked},
	}
}

func (o *occupants) Kill(id string) error {
	if id != "s-1" {
		return fmt.Errorf("%w: %s", pool.ErrNoSession, id)
	}
	o.killed = append(o.killed, id)
	return nil
}

func (o *occupants) Counts() map[pool.Phase]int {
	return map[pool.Phase]int{pool.InTransaction: 1, pool.Parked: 1}
}
func (o *occupants) Pins() map[string]int { return map[string]int{"transaction": 1} }
func (o *occupants) Pinned() int          { return 1 }
func (o *occupants) Backends() int        { return 1 }
func (o *occupants) Ceiling() int         { return 400 }

const testToken = "a-token"

// bench is an API over two clusters of fakes.
type bench struct {
	*API
	machine   *machine
	occupants *occupants
	ready     error
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{
		machine: &machine{
			status: cluster.Status{
				Name: "shop", State: cluster.Available, Capacity: 4, TargetCapacity: 4, ResumeCapacity: 4, Min: 2, Max: 16,
				AutoPause: true, PausesAt: start.Add(time.Minute), LastError: "it failed\nrow 4711",
				ParametersWaiting: []cluster.SettingChange{{Setting: "wal_level", From: "replica", To: "logical"}}, ParametersRefused: "bad value\nrow 4711",
			},
			events: []cluster.Event{
				{Time: start, Cluster: "shop", ID: "RDS-EVENT-0147", Message: "The DB cluster is being resumed.", Reason: "a client connected"},
				{Time: start.Add(time.Second), Cluster: "shop", Message: "The DB cluster could not be resumed.", Reason: "no\nrow 4711"},
			},
			more: make(chan cluster.Event),
		},
		occupants: &occupants{},
	}
	asleep := &machine{status: cluster.Status{Name: "blog", State: cluster.Paused, ResumeCapacity: 2, TargetCapacity: 2, Min: 1, Max: 8, PausedSince: start}}
	b.API = New(Config{
		Clusters: func() []Managed {
			return []Managed{
				{Name: "shop", Engine: "postgres", Endpoint: "shop.example", Version: func() string { return "15.18" }, Encryption: "external", Machine: b.machine, Occupants: b.occupants},
				{Name: "blog", Engine: "mariadb", Endpoint: "blog.example", Version: func() string { return "" }, Encryption: "external", Machine: asleep, Occupants: nobodyIn{}},
			}
		},
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "metric 1") }),
		Ready:   func() error { return b.ready },
		Cost:    Cost{ACUHour: 0.06, Currency: "USD"},
		Token:   testToken, Hosts: []string{"db-admin.example"}, Version: "1.2.3",
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	return b
}

type nobodyIn struct{}

func (nobodyIn) Sessions() []pool.View      { return nil }
func (nobodyIn) Kill(id string) error       { return pool.ErrNoSession }
func (nobodyIn) Counts() map[pool.Phase]int { return nil }
func (nobodyIn) Pins() map[string]int       { return nil }
func (nobodyIn) Pinned() int                { return 0 }
func (nobodyIn) Backends() int              { return 0 }
func (nobodyIn) Ceiling() int               { return 180 }

// ask sends one request, as a stranger over TCP unless change says otherwise.
func (b *bench) ask(method, path, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1:9630"+path, strings.NewReader(body))
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

func withToken(r *http.Request) { r.Header.Set("Authorization", "Bearer "+testToken) }

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func host(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }

// codeOf is the code of an error's answer, checked for its form.
func codeOf(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var told struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &told); err != nil || told.Error.Message == "" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("not an error of the API: %v, %s", err, w.Body)
	}
	return told.Error.Code
}
