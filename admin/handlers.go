package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"serverlessproxy/cluster"
	"serverlessproxy/pool"
)

func (a *API) healthz(w http.ResponseWriter, _ *http.Request) error { return word(w, "ok") }

// readyz is about the proxy: a paused cluster is ready for clients too.
func (a *API) readyz(w http.ResponseWriter, _ *http.Request) error {
	if a.Ready != nil {
		if err := a.Ready(); err != nil {
			return fail(http.StatusServiceUnavailable, "not_ready", "clients are not accepted: %v", err)
		}
	}
	return word(w, "ready")
}

func word(w http.ResponseWriter, text string) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, text+"\n") // a client that is gone needs no answer
	return nil
}

func (a *API) metrics(w http.ResponseWriter, r *http.Request) error {
	a.Metrics.ServeHTTP(w, r)
	return nil
}

// seen is a cluster as this request may see it.
func (a *API) seen(r *http.Request, m Managed) Cluster {
	if a.isTrusted(r) {
		return m.view()
	}
	return m.view().outline()
}

func (a *API) clusters(w http.ResponseWriter, r *http.Request) error {
	all := []Cluster{}
	for _, m := range a.Clusters() {
		all = append(all, a.seen(r, m))
	}
	answer(w, http.StatusOK, all)
	return nil
}

func (a *API) cluster(w http.ResponseWriter, r *http.Request) error {
	m, err := a.find(r.PathValue("name"))
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, a.seen(r, m))
	return nil
}

func (a *API) sessions(w http.ResponseWriter, r *http.Request) error {
	m, err := a.find(r.PathValue("name"))
	if err != nil {
		return err
	}
	all := []Session{}
	for _, v := range m.Occupants.Sessions() {
		all = append(all, m.session(v))
	}
	answer(w, http.StatusOK, all)
	return nil
}

func (a *API) kill(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	for _, m := range a.Clusters() {
		err := m.Occupants.Kill(id)
		if errors.Is(err, pool.ErrNoSession) {
			continue
		}
		if err != nil {
			return fmt.Errorf("end session: %w", err)
		}
		a.Log.Info("a session was ended by an operator", "cluster", m.Name, "session", id)
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return fail(http.StatusNotFound, "not_found", "there is no session %q", id)
}

func (a *API) pause(w http.ResponseWriter, r *http.Request) error {
	return a.steer(w, r, Machine.Pause)
}

func (a *API) resume(w http.ResponseWriter, r *http.Request) error {
	return a.steer(w, r, func(m Machine, ctx context.Context) error { return m.Resume(ctx, cluster.Manual) })
}

// steer does something to a cluster, waits for it, and answers how the
// cluster stands then. Who asks and goes away gives up waiting.
func (a *API) steer(w http.ResponseWriter, r *http.Request, do func(Machine, context.Context) error) error {
	m, err := a.find(r.PathValue("name"))
	if err != nil {
		return err
	}
	limit, err := limitOf(w, r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	if err := do(m.Machine, ctx); err != nil {
		return err
	}
	answer(w, http.StatusOK, m.view())
	return nil
}

// action is the body of a pause or a resume; it may be absent.
type action struct {
	Timeout string `json:"timeout"` // such as "30s"
}

func limitOf(w http.ResponseWriter, r *http.Request) (time.Duration, error) {
	var a action
	if err := body(w, r, &a); err != nil {
		return 0, err
	}
	if a.Timeout == "" {
		return actionLimit, nil
	}
	limit, err := time.ParseDuration(a.Timeout)
	if err != nil || limit <= 0 || limit > longestLimit {
		return 0, fail(http.StatusBadRequest, "invalid", "timeout %q is not a duration up to %v, such as \"30s\"", a.Timeout, longestLimit)
	}
	return limit, nil
}

// body reads a request's JSON, within its own time; none is the zero value.
func body(w http.ResponseWriter, r *http.Request, into any) error {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(10 * time.Second)) // a recorder in a test has none
	defer func() { _ = control.SetReadDeadline(time.Time{}) }()
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return nil
	case errors.As(err, &tooLarge):
		return err
	}
	return fail(http.StatusBadRequest, "invalid", "the body is not the JSON that is wanted here: %v", err)
}
