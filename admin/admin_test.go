package admin

import (
	"context"
	"errors"
	"net/http"
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
		"unknown host":          {"POST", "/v1/clusters/shop/pause", "", []func(*http.Request){withToken, host("evil.example:9630")}, 403, "forbidden"},
		"other site":            {"POST", "/v1/clusters/shop/pause", "", []func(*http.Request){withToken, header("Sec-Fetch-Site", "cross-site")}, 403, "forbidden"},
		"other origin":          {"POST", "/v1/clusters/shop/pause", "", []func(*http.Request){withToken, header("Origin", "http://evil.example")}, 403, "forbidden"},
		"not JSON":              {"POST", "/v1/clusters/shop/pause", "now", []func(*http.Request){withToken}, 400, "invalid"},
		"unknown key":           {"POST", "/v1/clusters/shop/pause", `{"time": "1s"}`, []func(*http.Request){withToken}, 400, "invalid"},
		"bad timeout":           {"POST", "/v1/clusters/shop/pause", `{"timeout": "2h"}`, []func(*http.Request){withToken}, 400, "invalid"},
		"large":                 {"POST", "/v1/clusters/shop/pause", `{"timeout": "` + strings.Repeat("x", maxBody) + `"}`, []func(*http.Request){withToken}, 413, "too_large"},
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
		"convert":               {"POST", "/v1/clusters/shop/convert", "", []func(*http.Request){withToken}, 400, "invalid"},
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
	`"capacity":4,"target_capacity":4,"min_capacity":2,"max_capacity":16,"fixed_capacity":0,"ceiling":400,` +
	`"sessions":{"total":2,"active":0,"idle":0,"in_transaction":1,"held":0,"queued":0,"parked":1,"pinned":1},"backends":1,` +
	`"paused_since":null,"pauses_at":"2026-03-04T05:07:07Z","encryption":"external","limits":"the operator's","last_error":"it failed","pending_parameters":["wal_level"],"parameters_error":"bad value"}` + "\n"

const blogJSON = `{"name":"blog","engine":"mariadb","engine_version":"","endpoint":"blog.example","state":"paused",` +
	`"capacity":0,"target_capacity":2,"min_capacity":1,"max_capacity":8,"fixed_capacity":0,"ceiling":180,` +
	`"sessions":{"total":0,"active":0,"idle":0,"in_transaction":0,"held":0,"queued":0,"parked":0,"pinned":0},"backends":0,` +
	`"paused_since":"2026-03-04T05:06:07Z","pauses_at":null,"encryption":"external","limits":"the operator's","last_error":"","pending_parameters":[],"parameters_error":""}` + "\n"

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
