package admin

import (
	"bytes"
	"crypto/rand"
	_ "embed"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"serverlessproxy/cluster"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"ago": ago, "clock": clock, "stamp": stamp, "words": words,
}).Parse(pageText))

// status is what the page shows.
type status struct {
	Nonce, Version string
	Now            time.Time
	Clusters       []card
}

// card is one cluster on the page.
type card struct {
	Cluster
	Mark     string // a sign for the state, for those who don't see its colour
	Mood     string // "good", "rest", "busy" or "bad"
	Capacity bar
	Phases   []phase
	Pins     []pin
	Pause    string // what there is to say where no pause is coming
	Events   []Event
}

// bar is a measure of something; the parts are in 1/100 of a width of 100.
type bar struct {
	Value, Of int
	Percent   float64
}

// phase is a part of the sessions.
type phase struct {
	Name           string
	Count          int
	Start, Percent float64 // in the stacked bar
}

type pin struct {
	Reason string
	Count  int
}

const eventsShown = 8

// page is the status page. It has no secret and no client's data, so whoever
// reaches the address may read it.
func (a *API) page(w http.ResponseWriter, _ *http.Request) error {
	s := status{Nonce: rand.Text(), Version: a.Version, Now: time.Now().UTC()}
	for _, m := range a.Clusters() {
		s.Clusters = append(s.Clusters, m.card())
	}
	var text bytes.Buffer
	if err := pageTemplate.Execute(&text, s); err != nil {
		return fmt.Errorf("render status page: %w", err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", strings.ReplaceAll(pagePolicy, "NONCE", s.Nonce))
	_, _ = w.Write(text.Bytes()) // a client that is gone needs no answer
	return nil
}

const pagePolicy = "default-src 'none'; script-src 'nonce-NONCE'; style-src 'nonce-NONCE'; connect-src 'self'; " +
	"img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func (m Managed) card() card {
	s := m.Machine.Status()
	view := m.view().outline()
	c := card{Cluster: view, Capacity: measure(int(view.Capacity), int(view.MaxCapacity)), Pause: noPause(s), Phases: phases(view.Sessions, view.Ceiling)}
	c.Mark, c.Mood = mood(s.State)
	pins := m.Occupants.Pins()
	for _, reason := range slices.Sorted(maps.Keys(pins)) {
		c.Pins = append(c.Pins, pin{reason, pins[reason]})
	}
	events := m.Machine.Events()
	for _, e := range slices.Backward(events[max(0, len(events)-eventsShown):]) {
		c.Events = append(c.Events, outlineOf(e))
	}
	return c
}

func mood(s cluster.State) (mark, mood string) {
	switch s {
	case cluster.Available:
		return "●", "good"
	case cluster.Paused, cluster.Archived:
		return "○", "rest"
	case cluster.Failed:
		return "✕", "bad"
	}
	return "◐", "busy"
}

// noPause is why no pause has a time.
func noPause(s *cluster.Status) string {
	switch {
	case !s.PausesAt.IsZero():
		return ""
	case s.State == cluster.Paused || s.State == cluster.Archived:
		return ""
	case s.State == cluster.Pausing:
		return "now"
	case !s.AutoPause:
		return "never: auto-pause is off"
	case s.State == cluster.Available:
		return "not while a session is connected or busy"
	}
	return "none planned"
}

func measure(value, of int) bar {
	b := bar{Value: value, Of: of}
	if of > 0 {
		b.Percent = min(100, 100*float64(value)/float64(of))
	}
	return b
}

func phases(s Sessions, ceiling int) []phase {
	all := []phase{
		{Name: "active", Count: s.Active}, {Name: "in transaction", Count: s.InTransaction}, {Name: "idle", Count: s.Idle},
		{Name: "parked", Count: s.Parked}, {Name: "held", Count: s.Held}, {Name: "queued", Count: s.Queued},
	}
	whole := max(ceiling, s.Total, 1)
	start := 0.0
	for i := range all {
		all[i].Start, all[i].Percent = start, 100*float64(all[i].Count)/float64(whole)
		start += all[i].Percent
	}
	return all
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// ago is the time between two moments, whichever comes first, for people.
func ago(now, then time.Time) string { return words(now.Sub(then).Abs()) }

// words is a duration in its two largest units.
func words(d time.Duration) string {
	seconds := int(d.Round(time.Second) / time.Second)
	switch {
	case seconds < 60:
		return fmt.Sprintf("%d s", seconds)
	case seconds < 3600:
		return fmt.Sprintf("%d min %d s", seconds/60, seconds%60)
	case seconds < 86400:
		return fmt.Sprintf("%d h %d min", seconds/3600, seconds%3600/60)
	}
	return fmt.Sprintf("%d d %d h", seconds/86400, seconds%86400/3600)
}
