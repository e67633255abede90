package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// events answers the latest events, or with ?follow=1 a stream of them and of
// each new one: a JSON object a line, or server-sent events where the client
// accepts these.
func (a *API) events(w http.ResponseWriter, r *http.Request) error {
	m, err := a.find(r.PathValue("name"))
	if err != nil {
		return err
	}
	show := outlineOf
	if a.isTrusted(r) {
		show = func(e Event) Event { return e }
	}
	if follow := r.URL.Query().Get("follow"); follow == "" || follow == "0" || r.Method == http.MethodHead {
		all := []Event{}
		for _, e := range m.Machine.Events() {
			all = append(all, show(e))
		}
		answer(w, http.StatusOK, all)
		return nil
	}
	select {
	case a.follows <- struct{}{}:
		defer func() { <-a.follows }()
	default:
		return fail(http.StatusServiceUnavailable, "busy", "%d clients follow events already; try again later", maxFollowers)
	}
	stream(w, r, m.Machine.Follow(r.Context()), show)
	return nil
}

// stream writes events as they come, until the client has gone.
func stream(w http.ResponseWriter, r *http.Request, from func(func(Event) bool), show func(Event) Event) {
	form, kind := "%s\n", "application/x-ndjson"
	if strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		form, kind = "data: %s\n\n", "text/event-stream"
	}
	w.Header().Set("Content-Type", kind)
	control := http.NewResponseController(w)
	_ = control.Flush() // the headers, now: there may be no event for long
	for e := range from {
		text, err := json.Marshal(show(e))
		if err != nil {
			return
		}
		extend(w)
		if _, err := fmt.Fprintf(w, form, text); err != nil {
			return
		}
		if err := control.Flush(); err != nil {
			return
		}
	}
}
