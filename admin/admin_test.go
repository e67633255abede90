package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"serverlessproxy/cluster"
	"serverlessproxy/pool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	_ Machine   = (*cluster.Cluster)(nil)
	_ Occupants = (*pool.Pool)(nil)
)

var start = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

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

func TestRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		method, path, body string
		change             []func(*http.Request)
		status             int
		code               string
	}{
		"unknown path":          {"GET", "/v2", "", nil, 404, "not_found"},
		"below the page":        {"GET", "/index.html", "", nil, 404, "not_found"},
		"unknown cluster":       {"GET", "/v1/clusters/nobody", "", nil, 404, "not_found"},
		"pause nobody":          {"POST", "/v1/clusters/nobody/pause", "", []func(*http.Request){withToken}, 404, "not_found"},
		"unknown session":       {"DELETE", "/v1/sessions/s-9", "", []func(*http.Request){withToken}, 404, "not_found"},
		"method":                {"PUT", "/v1/clusters", "", nil, 405, "method_not_allowed"},
		"get a pause":           {"GET", "/v1/clusters/shop/pause", "", nil, 405, "method_not_allowed"},
		"no token":              {"POST", "/v1/clusters/shop/pause", "", nil, 401, "unauthorized"},
		"wrong token":           {"POST", "/v1/clusters/shop/pause", "", []func(*http.Request){header("Authorization", "Bearer a-tokem")}, 401, "unauthorized"},
		"empty token":           {"POST", "/v1/clusters/shop/pause", "", []func(*http.Request){header("Authorization", "Bearer ")}, 401, "unauthorized"},
		"wrong scheme":          {"POST", "/v1/clusters/shop/pause", "", []func(*http.Request){header("Authorization", "Basic "+testToken)}, 401, "unauthorized"},
		"sessions":              {"GET", "/v1/clusters/shop/sessions", "", nil, 401, "unauthorized"},
		"unknown host":          {"POST", "/v1/clusters/shop/pause", "", []func(*http.Request){withToken, host("evil.example:9630")}, 403, "forbidden"},
		"other site":            {"POST", "/v1/clusters/shop/pause", "", []func(*http.Request){withToken, header("Sec-Fetch-Site", "cross-site")}, 403, "forbidden"},
		"other origin":          {"POST", "/v1/clusters/shop/pause", "", []func(*http.Request){withToken, header("Origin", "http://evil.example")}, 403, "forbidden"},
		"not JSON":              {"POST", "/v1/clusters/shop/pause", "now", []func(*http.Request){withToken}, 400, "invalid"},
		"unknown key":           {"POST", "/v1/clusters/shop/pause", `{"time": "1s"}`, []func(*http.Request){withToken}, 400, "invalid"},
		"bad timeout":           {"POST", "/v1/clusters/shop/pause", `{"timeout": "2h"}`, []func(*http.Request){withToken}, 400, "invalid"},
		"large":                 {"POST", "/v1/clusters/shop/pause", `{"timeout": "` + strings.Repeat("x", maxBody) + `"}`, []func(*http.Request){withToken}, 413, "too_large"},
		"capacity":              {"POST", "/v1/clusters/shop/capacity", `{"capacity":4}`, []func(*http.Request){withToken}, 501, "not_implemented"},
		"capacity of nobody":    {"POST", "/v1/clusters/nobody/capacity", "", []func(*http.Request){withToken}, 404, "not_found"},
		"capacity, no token":    {"POST", "/v1/clusters/shop/capacity", "", nil, 401, "unauthorized"},
		"create":                {"POST", "/v1/clusters", "{}", []func(*http.Request){withToken}, 501, "not_implemented"},
		"modify":                {"PATCH", "/v1/clusters/shop", "{}", []func(*http.Request){withToken}, 501, "not_implemented"},
		"delete":                {"DELETE", "/v1/clusters/shop", "", []func(*http.Request){withToken}, 501, "not_implemented"},
		"snapshots":             {"GET", "/v1/snapshots", "", nil, 501, "not_implemented"},
		"snapshot":              {"POST", "/v1/clusters/shop/snapshots", "", []func(*http.Request){withToken}, 501, "not_implemented"},
		"restore":               {"POST", "/v1/snapshots/x/restore", "", []func(*http.Request){withToken}, 501, "not_implemented"},
		"delete a snapshot":     {"DELETE", "/v1/snapshots/x", "", []func(*http.Request){withToken}, 501, "not_implemented"},
		"snapshot, no token":    {"DELETE", "/v1/snapshots/x", "", nil, 401, "unauthorized"},
		"key":                   {"POST", "/v1/clusters/shop/key", "", []func(*http.Request){withToken}, 501, "not_implemented"},
		"convert":               {"POST", "/v1/clusters/shop/convert", "", []func(*http.Request){withToken}, 501, "not_implemented"},
		"events of nobody":      {"GET", "/v1/clusters/nobody/events?follow=1", "", nil, 404, "not_found"},
		"sessions of nobody":    {"GET", "/v1/clusters/nobody/sessions", "", []func(*http.Request){withToken}, 404, "not_found"},
		"a path that is quoted": {"GET", "/v1/clusters/..%2f..%2fshop", "", nil, 404, "not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			w := b.ask(test.method, test.path, test.body, test.change...)
			if code := codeOf(t, w); w.Code != test.status || code != test.code {
				t.Errorf("%d %s, want %d %s: %s", w.Code, code, test.status, test.code, w.Body)
			}
			if strings.Contains(w.Body.String(), testToken) {
				t.Error("the token is in the answer")
			}
			if b.machine.status.State != cluster.Available || len(b.occupants.killed) > 0 {
				t.Error("it was done nevertheless")
			}
			if w.Code == http.StatusMethodNotAllowed && w.Header().Get("Allow") == "" {
				t.Error("no Allow header")
			}
		})
	}
}

func TestWhatIsOpen(t *testing.T) {
	b := newBench(t)
	for path, want := range map[string]string{
		"/healthz": "ok\n", "/readyz": "ready\n", "/metrics": "metric 1\n",
	} {
		if w := b.ask("GET", path, "", host("anything.example")); w.Code != http.StatusOK || w.Body.String() != want {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	b.ready = errors.New("stopping")
	if w := b.ask("GET", "/readyz", ""); w.Code != http.StatusServiceUnavailable || codeOf(t, w) != "not_ready" {
		t.Errorf("/readyz: %d %s", w.Code, w.Body)
	}
	if w := b.ask("GET", "/healthz", ""); w.Code != http.StatusOK {
		t.Errorf("/healthz: %d", w.Code)
	}
}

const shopJSON = `{"name":"shop","engine":"postgres","engine_version":"15.18","endpoint":"shop.example","state":"available",` +
	`"capacity":4,"target_capacity":4,"min_capacity":2,"max_capacity":16,"ceiling":400,` +
	`"sessions":{"total":2,"active":0,"idle":0,"in_transaction":1,"held":0,"queued":0,"parked":1,"pinned":1},"backends":1,` +
	`"paused_since":null,"pauses_at":"2026-03-04T05:07:07Z","encryption":"external","last_error":"it failed"}` + "\n"

const blogJSON = `{"name":"blog","engine":"mariadb","engine_version":"","endpoint":"blog.example","state":"paused",` +
	`"capacity":0,"target_capacity":2,"min_capacity":1,"max_capacity":8,"ceiling":180,` +
	`"sessions":{"total":0,"active":0,"idle":0,"in_transaction":0,"held":0,"queued":0,"parked":0,"pinned":0},"backends":0,` +
	`"paused_since":"2026-03-04T05:06:07Z","pauses_at":null,"encryption":"external","last_error":""}` + "\n"

func TestShapes(t *testing.T) {
	b := newBench(t)
	for path, want := range map[string]string{
		"/v1/clusters/shop": shopJSON,
		"/v1/clusters/blog": blogJSON,
		"/v1/clusters":      "[" + strings.TrimSpace(shopJSON) + "," + strings.TrimSpace(blogJSON) + "]\n",
		"/v1/clusters/shop/sessions": `[{"id":"s-1","cluster":"shop","user":"app","database":"shop","client_address":"10.1.2.3:4567","application":"psql",` +
			`"protocol":"postgres","tls":"TLSv1.3","phase":"in_transaction","pinned_by":["transaction"],"connected_at":"2026-03-04T05:06:07Z","active_at":"2026-03-04T05:06:08Z","backend_pid":77},` +
			`{"id":"s-2","cluster":"shop","user":"","database":"","client_address":"","application":"","protocol":"","tls":"","phase":"parked","pinned_by":[],` +
			`"connected_at":"0001-01-01T00:00:00Z","active_at":"0001-01-01T00:00:00Z","backend_pid":0}]` + "\n",
		"/v1/clusters/blog/sessions": "[]\n",
		"/v1/clusters/blog/events":   "[]\n",
	} {
		trusts := []func(*http.Request){}
		if strings.HasSuffix(path, "/sessions") {
			trusts = append(trusts, withToken)
		}
		w := b.ask("GET", path, "", trusts...)
		if w.Code != http.StatusOK || w.Body.String() != want || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d\n got %s\nwant %s", path, w.Code, w.Body, want)
		}
	}
}

// TestStrangersReadFirstLines: what an engine's log says may hold rows.
func TestStrangersReadFirstLines(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/v1/clusters/shop", "/v1/clusters", "/v1/clusters/shop/events", "/"} {
		if w := b.ask("GET", path, ""); strings.Contains(w.Body.String(), "4711") || w.Code != http.StatusOK {
			t.Errorf("%s to a stranger: %d %s", path, w.Code, w.Body)
		}
		if w := b.ask("GET", path, "", withToken); path != "/" && !strings.Contains(w.Body.String(), "4711") {
			t.Errorf("%s with the token: %s", path, w.Body)
		}
	}
}

func TestSteering(t *testing.T) {
	for name, test := range map[string]struct {
		verb, body string
		fails      error
		blocks     bool
		status     int
		want       string
	}{
		"pause":      {"pause", "", nil, false, 200, `"state":"paused"`},
		"resume":     {"resume", `{"timeout":"1m"}`, nil, false, 200, `"state":"available"`},
		"pinned":     {"pause", "", &cluster.Holdouts{Sessions: []cluster.Holdout{{Session: "s-1", Reasons: []string{"transaction", "cursor"}}}}, false, 409, `{"error":{"code":"pinned","message":"not paused: 1 sessions cannot give up their backends: s-1 (transaction, cursor); wait for them, or end them with ` + "`serverlessproxy kill SESSION`" + `","sessions":[{"id":"s-1","pinned_by":["transaction","cursor"]}]}}`},
		"cancelled":  {"pause", "", cluster.ErrPauseCanceled, false, 409, `"cancelled"`},
		"unpausable": {"pause", "", &cluster.UnpausableError{Reason: "others run it"}, false, 409, "others run it"},
		"no start":   {"resume", "", &cluster.ResumeError{Reason: "disk full"}, false, 503, "disk full"},
		"too late":   {"pause", `{"timeout":"10ms"}`, nil, true, 504, `"timed_out"`},
		"stopping":   {"pause", "", context.Canceled, false, 503, `"stopping"`},
		"unexpected": {"pause", "", errors.New("odd"), false, 500, `"internal"`},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.machine.fails, b.machine.blocks = test.fails, test.blocks
			w := b.ask("POST", "/v1/clusters/shop/"+test.verb, test.body, withToken)
			if w.Code != test.status || !strings.Contains(w.Body.String(), test.want) {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, test.status, test.want)
			}
		})
	}
}

func TestTokenAndHosts(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"127.0.0.1:9630", "[::1]:9630", "10.0.0.5", "localhost:1", "DB-admin.example.", "db-admin.example:80"} {
		if w := b.ask("POST", "/v1/clusters/shop/resume", "", withToken, host(name)); w.Code != http.StatusOK {
			t.Errorf("host %s: %d %s", name, w.Code, w.Body)
		}
	}
	if w := b.ask("POST", "/v1/clusters/shop/resume", "", header("Authorization", "bearer  "+testToken)); w.Code != http.StatusOK {
		t.Errorf("a scheme in small letters: %d %s", w.Code, w.Body)
	}
	b.Token = ""
	if w := b.ask("POST", "/v1/clusters/shop/resume", "", header("Authorization", "Bearer ")); w.Code != http.StatusUnauthorized {
		t.Errorf("without any token: %d", w.Code)
	}
}

func TestKill(t *testing.T) {
	b := newBench(t)
	if w := b.ask("DELETE", "/v1/sessions/s-1", "", withToken); w.Code != http.StatusNoContent || !reflect.DeepEqual(b.occupants.killed, []string{"s-1"}) {
		t.Errorf("%d %s, killed %v", w.Code, w.Body, b.occupants.killed)
	}
}

func TestHead(t *testing.T) {
	for _, path := range []string{"/", "/v1/clusters", "/v1/clusters/shop/events?follow=1", "/healthz"} {
		if w := newBench(t).ask("HEAD", path, ""); w.Code != http.StatusOK {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestTokenFile(t *testing.T) {
	dir := t.TempDir()
	first, err := Token(dir)
	if err != nil || len(first) < 20 {
		t.Fatalf("%q, %v", first, err)
	}
	if info, err := os.Stat(filepath.Join(dir, TokenFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if again, err := Token(dir); err != nil || again != first {
		t.Errorf("again: %q, %v", again, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	if err := os.WriteFile(filepath.Join(dir, TokenFile), []byte(" \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Token(dir); err == nil || !strings.Contains(err.Error(), "is empty; remove it") {
		t.Error(err)
	}
	if _, err := Token(filepath.Join(dir, "absent")); err == nil {
		t.Error("a token without a directory")
	}
}

// serving is a bench behind a real socket and a real port.
func serving(t *testing.T) (b *bench, overSocket, overTCP string) {
	t.Helper()
	b = newBench(t)
	ctx, cancel := context.WithCancel(context.Background())
	path := filepath.Join(t.TempDir(), SocketFile)
	socket, err := Listen(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- b.Serve(ctx, socket, port) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Error("the socket is left behind")
		}
	})
	return b, "unix://" + path, "http://" + port.Addr().String()
}

func client(t *testing.T, address, token string) *Client {
	t.Helper()
	c, err := NewClient(address, token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestClient(t *testing.T) {
	b, socket, tcp := serving(t)
	ctx := t.Context()
	for name, c := range map[string]*Client{"socket": client(t, socket, ""), "token": client(t, tcp, testToken)} {
		t.Run(name, func(t *testing.T) {
			if all, err := c.Clusters(ctx); err != nil || len(all) != 2 || all[0].Name != "shop" {
				t.Errorf("%+v, %v", all, err)
			}
			if one, err := c.Cluster(ctx, "shop"); err != nil || one.Ceiling != 400 || one.LastError != "it failed\nrow 4711" {
				t.Errorf("%+v, %v", one, err)
			}
			if all, err := c.Sessions(ctx, "shop"); err != nil || len(all) != 2 || all[0].PinnedBy[0] != "transaction" {
				t.Errorf("%+v, %v", all, err)
			}
			if all, err := c.Events(ctx, "shop"); err != nil || !reflect.DeepEqual(all, b.machine.events) {
				t.Errorf("%+v, %v", all, err)
			}
			if after, err := c.Pause(ctx, "shop", time.Minute); err != nil || after.State != "paused" {
				t.Errorf("%+v, %v", after, err)
			}
			if after, err := c.Resume(ctx, "shop", 0); err != nil || after.State != "available" {
				t.Errorf("%+v, %v", after, err)
			}
			if err := c.Kill(ctx, "s-1"); err != nil {
				t.Error(err)
			}
			var told *Error
			if err := c.Kill(ctx, "s-9"); !errors.As(err, &told) || told.Code != "not_found" || told.Status != 404 {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("stranger", func(t *testing.T) {
		c := client(t, tcp, "")
		var told *Error
		if _, err := c.Sessions(ctx, "shop"); !errors.As(err, &told) || told.Code != "unauthorized" {
			t.Errorf("%v", err)
		}
		if one, err := c.Cluster(ctx, "shop"); err != nil || one.LastError != "it failed" {
			t.Errorf("%+v, %v", one, err)
		}
	})
	t.Run("pinned", func(t *testing.T) {
		b.machine.fails = &cluster.Holdouts{Sessions: []cluster.Holdout{{Session: "s-1", Reasons: []string{"cursor"}}}}
		var told *Error
		if _, err := client(t, socket, "").Pause(ctx, "shop", 0); !errors.As(err, &told) || told.Code != "pinned" || told.Held[0].ID != "s-1" {
			t.Errorf("%v", err)
		}
	})
}

func TestClientFollows(t *testing.T) {
	b, socket, _ := serving(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	later := cluster.Event{Time: start.Add(time.Minute), Cluster: "shop", ID: "RDS-EVENT-0145", Message: "The DB cluster is paused."}
	var got []Event
	for e, err := range client(t, socket, "").Follow(ctx, "shop") {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, e); len(got) == len(b.machine.events) {
			b.machine.more <- later
		}
		if len(got) > len(b.machine.events) {
			break
		}
	}
	if want := append(b.machine.events, later); !reflect.DeepEqual(got, want) {
		t.Errorf(" got %+v\nwant %+v", got, want)
	}
	for _, err := range client(t, socket, "").Follow(ctx, "nobody") {
		var told *Error
		if !errors.As(err, &told) || told.Code != "not_found" {
			t.Errorf("%v", err)
		}
	}
}

func TestServerSentEvents(t *testing.T) {
	_, _, tcp := serving(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, tcp+"/v1/clusters/shop/events?follow=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer response.Body.Close()
	line, err := bufio.NewReader(response.Body).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, `data: {"time":"2026-03-04T05:06:07Z","cluster":"shop","id":"RDS-EVENT-0147"`) {
		t.Errorf("%q, %v", line, err)
	}
}

func TestFollowersAreBounded(t *testing.T) {
	b := newBench(t)
	for range maxFollowers {
		b.follows <- struct{}{}
	}
	if w := b.ask("GET", "/v1/clusters/shop/events?follow=1", ""); w.Code != http.StatusServiceUnavailable || codeOf(t, w) != "busy" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestWhoGoesAwayGivesUp: a request that nobody waits for ends.
func TestWhoGoesAwayGivesUp(t *testing.T) {
	b, socket, _ := serving(t)
	b.machine.blocks, b.machine.asked = true, make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-b.machine.asked; cancel() }()
	if _, err := client(t, socket, "").Pause(ctx, "shop", 0); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestUnreachable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "absent.sock")
	_, err := client(t, "unix://"+path, "").Clusters(t.Context())
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "is `serverlessproxy serve` running") {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{"", "localhost:9630", "unix:relative", "ftp://x", "http://", "://"} {
		if _, err := NewClient(bad, ""); err == nil {
			t.Errorf("%q is no address", bad)
		}
	}
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "I am a teapot", http.StatusTeapot) }))
	defer other.Close()
	var told *Error
	if _, err := client(t, other.URL, "").Clusters(t.Context()); !errors.As(err, &told) || !strings.Contains(told.Message, "not as a serverlessproxy does") {
		t.Errorf("%v", err)
	}
}

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), SocketFile)
	first, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := Listen(t.Context(), path); err == nil || !strings.Contains(err.Error(), "another serverlessproxy answers at "+path) {
		t.Errorf("a second one: %v", err)
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false) // as if the proxy were killed
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatalf("over a stale one: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(t.Context(), path); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("over a file: %v", err)
	}
}

// TestStopEndsWhatHangs: what an operator waits for does not keep a stop from
// ending.
func TestStopEndsWhatHangs(t *testing.T) {
	b := newBench(t)
	b.machine.blocks, b.machine.asked = true, make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- b.Serve(ctx, port) }()
	conn, err := net.Dial("tcp", port.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /v1/clusters/shop/pause HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Length: 0\r\n\r\n", testToken)
	go func() { <-b.machine.asked; cancel() }()
	text, err := io.ReadAll(conn)
	if err != nil || !strings.Contains(string(text), `"stopping"`) {
		t.Errorf("%s, %v", text, err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(stopLimit + 5*time.Second):
		t.Fatal("the stop does not end")
	}
}
