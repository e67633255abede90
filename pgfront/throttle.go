package pgfront

import (
	"context"
	"net"
	"sync"
	"time"
)

// How wrong passwords are slowed down: the first few not at all, since people
// mistype, then longer and longer, up to a second.
const (
	freeFailures   = 3
	firstDelay     = 125 * time.Millisecond
	longestDelay   = time.Second
	forgetAfter    = time.Minute
	knownAddresses = 4096
)

// throttle counts wrong passwords by the client's address.
type throttle struct {
	mu     sync.Mutex // protects recent
	recent map[string]failure
}

type failure struct {
	count int
	last  time.Time
}

// failed counts a failure and says how long its answer is to wait.
func (t *throttle) failed(host string, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.recent == nil {
		t.recent = map[string]failure{}
	}
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

// makeRoom drops what is old and, where that is not enough, anything: a quarter
// at a time, so that it is seldom looked through.
func (t *throttle) makeRoom(now time.Time) {
	if len(t.recent) < knownAddresses {
		return
	}
	for host, f := range t.recent {
		if now.Sub(f.last) > forgetAfter {
			delete(t.recent, host)
		}
	}
	for host := range t.recent {
		if len(t.recent) <= knownAddresses*3/4 {
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

// hostOf is an address without its port.
func hostOf(address net.Addr) string {
	if host, _, err := net.SplitHostPort(address.String()); err == nil {
		return host
	}
	return address.Network()
}

// pause waits for d, or less where ctx ends.
func pause(ctx context.Context, d time.Duration) {
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
