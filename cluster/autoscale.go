package cluster

import (
	"fmt"
	"time"

	"serverlessproxy/acu"
)

// Load is what a running cluster carries at one moment. Shares are of what its
// present capacity stands for, and may be over 1 where nothing holds the
// engine to it.
type Load struct {
	Measured bool    // CPU, Memory and Kept are known
	CPU      float64 // share of the engine's CPU since the last look
	Memory   float64 // share of the engine's memory that it cannot free
	Kept     float64 // the part of Memory that a smaller size would not shrink before a restart
	Sessions int     // that are in
}

// Limits are what a decision has to keep to.
type Limits struct {
	Table     acu.Table
	Min, Max  acu.Capacity
	AfterUp   time.Duration // no decrease sooner than this after an increase
	AfterDown time.Duration // no decrease sooner than this after a decrease
}

// History is what has been done so far.
type History struct {
	Capacity            acu.Capacity
	RaisedAt, LoweredAt time.Time // zero: never
}

// Decision is the capacity that a load asks for, and why. It asks for nothing
// where Capacity is the present one.
type Decision struct {
	Capacity acu.Capacity
	Reason   string
}

// Thresholds of Aurora Serverless v1; that of memory is ours, since v1's is
// not published.
const (
	busyCPU      = 0.70
	idleCPU      = 0.30
	fullSessions = 0.90
	fewSessions  = 0.40
	fullMemory   = 0.90
)

// Decide says what capacity a load asks for. Up at once, to the smallest size
// that the load would not be too much for; down one size at a time, after the
// cool-down, and never to a size that would have to be raised again.
func Decide(now time.Time, load Load, limits Limits, past History) Decision {
	if up := limits.raise(load, past.Capacity); up.Capacity > past.Capacity {
		return up
	}
	if limits.cooled(now, past) {
		return limits.lower(load, past.Capacity)
	}
	return Decision{Capacity: past.Capacity}
}

// raise is the smallest size that is enough, at most Max.
func (l Limits) raise(load Load, present acu.Capacity) Decision {
	reason := l.tooMuch(load, present, present)
	size := present
	for size < l.Max && l.tooMuch(load, present, size) != "" {
		next := l.Table.Up(size)
		if next <= size || next > l.Max {
			break
		}
		size = next
	}
	return Decision{size, reason}
}

// lower is the next size below, if the load is small even for it.
func (l Limits) lower(load Load, present acu.Capacity) Decision {
	stay := Decision{Capacity: present}
	below := l.Table.Down(present)
	quiet := load.Measured && load.CPU < idleCPU && share(load.Sessions, l.Table.Ceiling(below)) < fewSessions
	if !quiet || below >= present || below < l.Min || l.cramped(load, present, below) {
		return stay
	}
	return Decision{below, fmt.Sprintf("CPU at %s, %d sessions", percent(load.CPU), load.Sessions)}
}

// cramped tells whether a size below would be too small for what it cannot get
// rid of. What the engine has merely cached shrinks with it.
func (l Limits) cramped(load Load, present, below acu.Capacity) bool {
	times := float64(present) / float64(below)
	return load.Memory > fullMemory || load.CPU*times > busyCPU || load.Kept*times > fullMemory
}

// tooMuch is why a load that was measured at present is too much for size; ""
// if it is not.
func (l Limits) tooMuch(load Load, present, size acu.Capacity) string {
	times := float64(present) / float64(size)
	if load.Measured && load.CPU*times > busyCPU {
		return "CPU at " + percent(load.CPU)
	}
	if sessions := share(load.Sessions, l.Table.Ceiling(size)); sessions > fullSessions {
		return fmt.Sprintf("sessions at %s of the ceiling", percent(sessions))
	}
	if load.Measured && load.Memory*times > fullMemory {
		return "memory at " + percent(load.Memory)
	}
	return ""
}

func (l Limits) cooled(now time.Time, past History) bool {
	return now.Sub(past.RaisedAt) >= l.AfterUp && now.Sub(past.LoweredAt) >= l.AfterDown
}

func share(n, of int) float64 {
	if of <= 0 {
		return 0
	}
	return float64(n) / float64(of)
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }

// changed is the history once another capacity has been taken.
func (h History) changed(now time.Time, to acu.Capacity) History {
	if to > h.Capacity {
		h.RaisedAt = now
	} else if to < h.Capacity {
		h.LoweredAt = now
	}
	h.Capacity = to
	return h
}
