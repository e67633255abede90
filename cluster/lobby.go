package cluster

import (
	"context"
	"sync"
)

// lobby is who waits for the cluster to be available. A waiter costs an entry
// here and nothing else: it watches the Status by itself, and a thousand of
// them are one reason to resume.
type lobby struct {
	nudge chan struct{} // has room for one: Run looks again

	mu      sync.Mutex // protects following
	epoch   uint64     // how many attempts have failed
	waiting int        // who came since the last failure
	trigger Trigger    // of the first of them
	urgent  bool       // one of them does not wait for the next attempt's time
	parking context.CancelFunc
	came    bool // somebody came while the sessions were being parked
}

// enter adds a waiter. The epoch is of the attempt that it will wait for.
func (l *lobby) enter(trigger Trigger) (epoch uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting == 0 {
		l.trigger = trigger
	}
	l.waiting++
	if l.parking != nil {
		l.came = true
		l.parking()
	}
	l.look()
	return l.epoch
}

// hurry has the next attempt begin without waiting for its time.
func (l *lobby) hurry() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.urgent = true
	l.look()
}

// leave takes a waiter out, unless a failure has already done so.
func (l *lobby) leave(epoch uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if epoch != l.epoch {
		return
	}
	l.waiting--
	l.urgent = l.urgent && l.waiting > 0
}

func (l *lobby) look() {
	select {
	case l.nudge <- struct{}{}:
	default:
	}
}

// present is how many wait, what for, and whether one cannot wait. Where
// nobody does, a start is the cluster's own affair.
func (l *lobby) present() (waiting int, trigger Trigger, urgent bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting == 0 {
		return 0, AtStart, false
	}
	return l.waiting, l.trigger, l.urgent
}

// attempt uses the hurry up.
func (l *lobby) attempt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.urgent = false
}

// failed sends everybody away who is here: they are told by the Status that
// carries the new epoch.
func (l *lobby) failed() (epoch uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch++
	l.waiting, l.urgent = 0, false
	return l.epoch
}

// park has cancel called as soon as somebody waits.
func (l *lobby) park(cancel context.CancelFunc) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parking, l.came = cancel, l.waiting > 0
	if l.came {
		cancel()
	}
}

// parked ends that, and tells whether somebody came.
func (l *lobby) parked() (came bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parking = nil
	return l.came
}
