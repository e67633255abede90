package cluster

import (
	"math"
	"time"
)

// situation is all that the next step depends on.
type situation struct {
	state      State
	gone       bool // the engine ended unasked
	waiting    int
	trigger    Trigger
	urgent     bool          // one who waits does not wait for retryIn
	renewal    bool          // the engine is to be restarted for its parameters
	alwaysOn   bool          // the cluster does not pause by itself
	idle       time.Duration // how long nobody has been busy
	pauseAfter time.Duration
	retryIn    time.Duration // until a start (of a failed cluster) or a pause (of one that could not) is tried again
}

// step is what Run does next.
type step int

const (
	rest  step = iota // wait until something happens
	start             // the engine
	pause             // the cluster
	bury              // the engine that is gone, and see what must be done
	renew             // the engine, for its parameters
)

const forever = time.Duration(math.MaxInt64)

// decide says what to do next and, for rest, after how long to look again.
func decide(s situation) (step, time.Duration) {
	switch s.state {
	case Paused:
		if s.waiting > 0 {
			return start, 0
		}
	case Failed:
		wanted := s.waiting > 0 || s.alwaysOn
		if wanted && (s.urgent || s.retryIn <= 0) {
			return start, 0
		}
		if wanted {
			return rest, s.retryIn
		}
	case Available:
		if s.gone {
			return bury, 0
		}
		if s.renewal {
			return renew, 0
		}
		if s.alwaysOn || s.waiting > 0 { // who waits now is on its way in
			return rest, lookEvery
		}
		left := max(s.untilPause(), s.retryIn)
		if left <= 0 {
			return pause, 0
		}
		return rest, min(left, lookEvery)
	}
	return rest, forever
}

// untilPause is how much longer nobody may be busy before the cluster pauses.
func (s situation) untilPause() time.Duration { return s.pauseAfter - s.idle }

// attempts remembers how often something has failed in a row, and until when
// it is not tried again.
type attempts struct {
	failed int
	next   time.Time
}

// fail counts a failure; the next attempt may begin after delay.
func (a *attempts) fail(now time.Time, delay time.Duration) {
	a.failed++
	a.next = now.Add(delay)
}

func (a *attempts) in(now time.Time) time.Duration { return a.next.Sub(now) }

// Delays between attempts, and how long an engine must have run before a
// crash is no longer taken for a start that failed.
const (
	firstStartDelay = 250 * time.Millisecond
	firstPauseDelay = time.Second
	longestDelay    = 30 * time.Second
	steadyAfter     = 30 * time.Second
)

// backoff is how long to wait after the n-th failure in a row: first, then
// twice as long each time, up to limit.
func backoff(first, limit time.Duration, n int) time.Duration {
	if n <= 0 {
		return 0
	}
	delay := first
	for range n - 1 {
		if delay >= limit {
			break
		}
		delay *= 2
	}
	return min(delay, limit)
}
