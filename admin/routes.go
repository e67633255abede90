package admin

import (
	"net/http"
	"slices"
	"strings"
)

// endpoint is one method of one path.
type endpoint struct {
	need   access
	handle func(w http.ResponseWriter, r *http.Request) error
}

// methods are what a path answers to.
type methods map[string]endpoint

// mux is every path of the API.
func (a *API) mux() http.Handler {
	mux := http.NewServeMux()
	for path, m := range a.paths() {
		mux.HandleFunc(path, a.byMethod(m))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		a.refuse(w, r, fail(http.StatusNotFound, "not_found", "there is nothing at %s", r.URL.Path))
	})
	return mux
}

func (a *API) paths() map[string]methods {
	return map[string]methods{
		"/{$}":                          {"GET": {open, a.page}},
		"/healthz":                      {"GET": {open, a.healthz}},
		"/readyz":                       {"GET": {open, a.readyz}},
		"/metrics":                      {"GET": {open, a.metrics}},
		"/v1/clusters":                  {"GET": {open, a.clusters}, "POST": {trusted, later}},
		"/v1/clusters/{name}":           {"GET": {open, a.cluster}, "PATCH": {trusted, a.laterOf}, "DELETE": {trusted, a.laterOf}},
		"/v1/clusters/{name}/pause":     {"POST": {trusted, a.pause}},
		"/v1/clusters/{name}/resume":    {"POST": {trusted, a.resume}},
		"/v1/clusters/{name}/sessions":  {"GET": {open, a.sessions}},
		"/v1/clusters/{name}/events":    {"GET": {open, a.events}},
		"/v1/clusters/{name}/capacity":  {"POST": {trusted, a.capacity}},
		"/v1/clusters/{name}/convert":   {"POST": {trusted, a.convert}},
		"/v1/clusters/{name}/key":       {"POST": {trusted, a.laterOf}},
		"/v1/clusters/{name}/snapshots": {"POST": {trusted, a.laterOf}},
		"/v1/sessions/{id}":             {"DELETE": {trusted, a.kill}},
		"/v1/snapshots":                 {"GET": {open, later}},
		"/v1/snapshots/{id}":            {"DELETE": {trusted, later}},
		"/v1/snapshots/{id}/restore":    {"POST": {trusted, later}},
	}
}

// byMethod answers with the endpoint of the request's method. HEAD is GET.
func (a *API) byMethod(m methods) http.HandlerFunc {
	var allowed []string
	for method := range m {
		allowed = append(allowed, method)
	}
	if _, get := m["GET"]; get {
		m["HEAD"] = m["GET"]
		allowed = append(allowed, "HEAD")
	}
	slices.Sort(allowed)
	allow := strings.Join(allowed, ", ")
	return func(w http.ResponseWriter, r *http.Request) {
		e, ok := m[r.Method]
		if !ok {
			w.Header().Set("Allow", allow)
			a.refuse(w, r, fail(http.StatusMethodNotAllowed, "method_not_allowed", "%s answers to %s", r.URL.Path, allow))
			return
		}
		err := a.guard(r, e.need)
		if err == nil {
			err = e.handle(w, r)
		}
		if err != nil {
			a.refuse(w, r, err)
		}
	}
}

// later answers for what this version does not do.
func later(http.ResponseWriter, *http.Request) error {
	return fail(http.StatusNotImplemented, "not_implemented", "this version does not do that yet")
}

// laterOf is later, for a cluster that there is.
func (a *API) laterOf(w http.ResponseWriter, r *http.Request) error {
	if _, err := a.find(r.PathValue("name")); err != nil {
		return err
	}
	return later(w, r)
}
