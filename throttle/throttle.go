// Package throttle is what strangers may cost: it slows down whoever guesses
// passwords, by the address that they come from, and ends the patience with
// whoever does not log in.
//
// It owns how many wrong passwords an address has sent lately, of a bounded
// number of addresses, and the time that a login takes. It never knows a
// protocol, a user or a password, and holds nobody's place in anything while
// they wait. A Throttle's lock protects its counts, a Patience's its timer.
package throttle

import (
	"context"
	"net"
	"sync"
	"time"
)

// How failed passwords are slowed down: the first few not at all, since
// people mistype, then longer and longer, up to a second.
const (
	freeFailures   = 3
	firstDelay     = 125 * time.Millisecond
	longestDelay   = time.Second
	forgetAfter    = time.Minute
	knownAddresses = 4096
)

// Throttle counts failed passwords by the client's address.
type Throttle struct {
	mu     sync.Mutex // protects recent
	recent map[string]failure
}

type failure struct {
	count int
	last  time.Time
}

// Failed counts a failure and says how long its answer is to wait.
func (t *Throttle) Failed(address net.Addr, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.recent == nil {
		t.recent = map[string]failure{}
	}
	host := HostOf(address)
	f := t.recent[host]
	if now.Sub(f.last) > forgetAfter {
		f.count = 0
	}
	f.count++
	f.last = now
	t.makeRoom(now)
	t.recent[host] = f
	return delay(f.count)
}

// makeRoom drops what is old and, where that is not enough, half of all: by
// chance, so that it is seldom done.
func (t *Throttle) makeRoom(now time.Time) {
	if len(t.recent) < knownAddresses {
		return
	}
	for host, f := range t.recent {
		if now.Sub(f.last) > forgetAfter {
			delete(t.recent, host)
		}
	}
	for host := range t.recent {
		if len(t.recent) <= knownAddresses/2 {
			return
		}
		delete(t.recent, host)
	}
}

// delay is how long the nth failure in a row waits.
func delay(n int) time.Duration {
	if n <= freeFailures {
		return 0
	}
	return min(firstDelay<<min(n-freeFailures-1, 10), longestDelay)
}

// HostOf is the address without its port.
func HostOf(address net.Addr) string {
	if host, _, err := net.SplitHostPort(address.String()); err == nil {
		return host
	}
	return address.Network()
}

// Pause waits for d, or less where ctx ends.
func Pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
