package cluster

import (
	"time"

	"serverlessproxy/acu"
)

// meter counts ACU-seconds. It is a value: a Status carries one along, so that
// it can be read without asking the cluster's goroutine.
type meter struct {
	total float64
	since time.Time // zero while the engine does not run
	rate  acu.Capacity
}

// at is the count at a moment.
func (m meter) at(now time.Time) float64 {
	if m.since.IsZero() {
		return m.total
	}
	return m.total + float64(m.rate)*max(now.Sub(m.since), 0).Seconds()
}

// run counts from since on, at a capacity.
func (m meter) run(since time.Time, rate acu.Capacity) meter {
	return meter{total: m.at(since), since: since, rate: rate}
}

// rest counts until now and no further.
func (m meter) rest(now time.Time) meter { return meter{total: m.at(now)} }
