package throttle

import (
	"context"
	"sync"
	"time"
)

// longestTalk is how many times the wait for one message a whole login may
// take: on a machine that is busy with hundreds of clients at once, each of
// them answers in time, and still a login has several answers.
const longestTalk = 6

// Patience is the time that a stranger has: so long for each message, and six
// times that for all of them.
type Patience struct {
	each time.Duration

	mu      sync.Mutex // protects following fields
	end     time.Time
	overdue *time.Timer
	stopped bool
}

// Patient begins to wait. Its context ends with cause when a message is
// overdue; stop must be called, and ends it too.
func Patient(ctx context.Context, each time.Duration, cause error) (waiting context.Context, p *Patience, stop func()) {
	waiting, cancel := context.WithCancelCause(ctx)
	p = &Patience{each: each, end: time.Now().Add(longestTalk * each)}
	p.overdue = time.AfterFunc(each, func() { cancel(cause) })
	return waiting, p, func() {
		p.mu.Lock()
		p.stopped = true
		p.overdue.Stop()
		p.mu.Unlock()
		cancel(nil)
	}
}

// Heard says that a message came. The next one has its own time.
func (p *Patience) Heard() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if left := min(p.each, time.Until(p.end)); !p.stopped && p.overdue.Stop() {
		p.overdue.Reset(max(left, 0))
	}
}
