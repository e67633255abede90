package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"serverlessproxy/cluster"
	"serverlessproxy/pool"
)

// Error is what the API answers when it cannot do what was asked.
type Error struct {
	Status  int       `json:"-"`
	Code    string    `json:"code"`
	Message string    `json:"message"`
	Held    []Holdout `json:"sessions,omitempty"` // code "pinned": who cannot be parked
}

// Holdout is a session that keeps a cluster from pausing.
type Holdout struct {
	ID       string   `json:"id"`
	PinnedBy []string `json:"pinned_by"`
}

func (e *Error) Error() string { return e.Message }

func fail(status int, code, format string, values ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, values...)}
}

// known turns an error of the rooms below into the API's.
func known(err error) *Error {
	var (
		own        *Error
		tooLarge   *http.MaxBytesError
		holdouts   *cluster.Holdouts
		unpausable *cluster.UnpausableError
		resume     *cluster.ResumeError
		capacity   *cluster.CapacityError
	)
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &tooLarge):
		return fail(http.StatusRequestEntityTooLarge, "too_large", "the request is larger than %d bytes", tooLarge.Limit)
	case errors.As(err, &holdouts):
		return pinned(holdouts)
	case errors.Is(err, cluster.ErrPauseCanceled):
		return fail(http.StatusConflict, "cancelled", "the pause was cancelled: %v", err)
	case errors.As(err, &unpausable):
		return fail(http.StatusConflict, "unpausable", "%v", err)
	case errors.As(err, &resume):
		return fail(http.StatusServiceUnavailable, "resume_failed", "%v", err)
	case errors.As(err, &capacity):
		return fail(http.StatusBadRequest, "invalid", "%v", err)
	case errors.Is(err, pool.ErrNoSession):
		return fail(http.StatusNotFound, "not_found", "%v", err)
	case errors.Is(err, context.DeadlineExceeded):
		return fail(http.StatusGatewayTimeout, "timed_out", "not done within the time that was given; it may still come about")
	case errors.Is(err, context.Canceled):
		return fail(http.StatusServiceUnavailable, "stopping", "the proxy stops")
	}
	return fail(http.StatusInternalServerError, "internal", "%v", err)
}

func pinned(h *cluster.Holdouts) *Error {
	e := &Error{Status: http.StatusConflict, Code: "pinned"}
	for _, s := range h.Sessions {
		e.Held = append(e.Held, Holdout{ID: s.Session, PinnedBy: s.Reasons})
	}
	e.Message = fmt.Sprintf("not paused: %v: %s; wait for them, or end them with `serverlessproxy kill SESSION`", h, e.who())
	return e
}

// who names those whom the error is about.
func (e *Error) who() string {
	names := make([]string, 0, len(e.Held))
	for _, s := range e.Held {
		names = append(names, fmt.Sprintf("%s (%s)", s.ID, strings.Join(s.PinnedBy, ", ")))
	}
	return strings.Join(names, ", ")
}

// answer sends a value as JSON.
func answer(w http.ResponseWriter, status int, value any) {
	extend(w)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value) // a client that is gone needs no answer
}

func (a *API) refuse(w http.ResponseWriter, r *http.Request, err error) {
	e := known(err)
	if e.Status >= http.StatusInternalServerError && e.Code == "internal" {
		a.Log.Error("an admin request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	if e.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="serverlessproxy"`)
	}
	answer(w, e.Status, struct {
		Error *Error `json:"error"`
	}{e})
}
