package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"serverlessproxy/cluster"
)

// counts are the series that count what was told, as opposed to what is read
// at a scrape.
type counts struct {
	resumes    *prometheus.CounterVec
	resumeTime *prometheus.HistogramVec
	pauses     *prometheus.CounterVec
	pauseTime  *prometheus.HistogramVec
	holdTime   *prometheus.HistogramVec
	changes    *prometheus.CounterVec
	changeTime *prometheus.HistogramVec
	events     *prometheus.CounterVec
}

// waits are the bounds of the histograms, in seconds: an engine here starts in
// 0.1 s, a snapshot may take half an hour to come back.
var waits = []float64{.05, .1, .15, .2, .3, .5, .75, 1, 1.5, 2, 3, 5, 10, 20, 30, 60, 120, 300, 600, 1800}

func newCounts() counts {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, append([]string{"cluster"}, labels...))
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: prefix + name, Help: help, Buckets: waits}, append([]string{"cluster"}, labels...))
	}
	return counts{
		resumes:    counter("resumes_total", "Attempts to start the engine of a paused cluster, by what asked for it and how it ended.", "trigger", "result"),
		resumeTime: histogram("resume_duration_seconds", "Time from the decision to resume until the engine answered queries, or the attempt failed.", "result"),
		pauses:     counter("pauses_total", "Attempts to pause the cluster, by how they ended.", "result"),
		pauseTime:  histogram("pause_duration_seconds", "Time from the decision to pause until the engine was gone, or the pause was given up.", "result"),
		holdTime:   histogram("hold_duration_seconds", "Time that a client was kept waiting, by what it waited for.", "reason"),
		changes:    counter("capacity_changes_total", "Changes of capacity, by how they were made and how they ended.", "direction", "mode", "result"),
		changeTime: histogram("capacity_change_duration_seconds", "Time from the beginning of a change of capacity until its end.", "mode"),
		events:     counter("events_total", "Events of the cluster, by their number in RDS; other: events that RDS does not have.", "event"),
	}
}

func (c counts) vectors() []prometheus.Collector {
	return []prometheus.Collector{c.resumes, c.resumeTime, c.pauses, c.pauseTime, c.holdTime, c.changes, c.changeTime, c.events}
}

func (c counts) register(r *prometheus.Registry) { r.MustRegister(c.vectors()...) }

// start makes every series of a cluster, at 0.
func (c counts) start(name string) {
	for _, result := range results {
		c.resumeTime.WithLabelValues(name, result)
		for _, trigger := range triggers {
			c.resumes.WithLabelValues(name, trigger, result)
		}
	}
	for _, result := range pauseEnds {
		c.pauses.WithLabelValues(name, result)
		c.pauseTime.WithLabelValues(name, result)
	}
	for _, reason := range holdings {
		c.holdTime.WithLabelValues(name, reason)
	}
	for _, mode := range modes {
		c.changeTime.WithLabelValues(name, mode)
		for _, direction := range directions {
			for _, result := range changeEnds {
				c.changes.WithLabelValues(name, direction, mode, result)
			}
		}
	}
	for _, event := range events {
		c.events.WithLabelValues(name, event)
	}
}

func (c counts) drop(name string) {
	of := prometheus.Labels{"cluster": name}
	for _, vector := range []interface{ DeletePartialMatch(prometheus.Labels) int }{
		c.resumes, c.resumeTime, c.pauses, c.pauseTime, c.holdTime, c.changes, c.changeTime, c.events,
	} {
		vector.DeletePartialMatch(of)
	}
}

// Resumed counts an attempt to resume.
func (v *View) Resumed(name string, trigger cluster.Trigger, took time.Duration, err error) {
	result := ok
	if err != nil {
		result = failed
	} else if e := v.find(name); e != nil {
		e.engine.start(time.Now())
	}
	v.counts.resumes.WithLabelValues(name, within(triggers, string(trigger)), result).Inc()
	v.counts.resumeTime.WithLabelValues(name, result).Observe(took.Seconds())
}

// Paused counts an attempt to pause.
func (v *View) Paused(name, result string, took time.Duration) {
	result = within(pauseEnds, result)
	v.counts.pauses.WithLabelValues(name, result).Inc()
	v.counts.pauseTime.WithLabelValues(name, result).Observe(took.Seconds())
}

// Scaled counts a change of capacity.
func (v *View) Scaled(name string, c cluster.Change) {
	direction, mode := directions[0], within(modes, string(c.Mode))
	if c.To < c.From {
		direction = directions[1]
	}
	v.counts.changes.WithLabelValues(name, direction, mode, within(changeEnds, c.Result)).Inc()
	v.counts.changeTime.WithLabelValues(name, mode).Observe(c.Took.Seconds())
}

// Happened counts an event.
func (v *View) Happened(e cluster.Event) {
	v.counts.events.WithLabelValues(e.Cluster, within(events, e.ID)).Inc()
}

// Held counts a client that waited.
func (v *View) Held(name, reason string, took time.Duration) {
	v.counts.holdTime.WithLabelValues(name, within(holdings, reason)).Observe(took.Seconds())
}
