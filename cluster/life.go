package cluster

import (
	"context"
	"errors"
	"sync"
)

// ErrEnded is the answer to who asks something of a cluster that has been stopped.
var ErrEnded = errors.New("the cluster has been stopped")

// life is whether Run was called and has ended.
type life struct {
	ended chan struct{} // closed when Run has returned, or will never be called

	mu     sync.Mutex         // protects following
	cancel context.CancelFunc // nil before Run
	over   bool               // Stop was called
	err    error              // what Run returned
}

// begin tells whether Run may.
func (l *life) begin(ctx context.Context) (context.Context, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || l.cancel != nil {
		return ctx, false
	}
	ctx, l.cancel = context.WithCancel(ctx)
	return ctx, true
}

func (l *life) end(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancel()
	l.over, l.err = true, err
	close(l.ended)
	return err
}

// Stop has Run stop the engine cleanly and return, and waits for it. A start
// that is under way is given up; who waits is told. The cluster is paused
// then, until it is needed after the proxy's next start.
func (c *Cluster) Stop(ctx context.Context) error {
	if c.life.stop() {
		c.publish(func(s *Status) { s.over = true })
		return c.journal.close()
	}
	select {
	case <-c.life.ended:
		return c.life.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stop tells Run to end. It returns true if Run was never called, and never
// will be now; only to the first who asks.
func (l *life) stop() (never bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	never = !l.over && l.cancel == nil
	l.over = true
	if never {
		close(l.ended)
	} else if l.cancel != nil {
		l.cancel()
	}
	return never
}

// command is something that Run is asked to do between two steps.
type command struct {
	do    func(ctx context.Context) error
	reply chan error // has room for one
}

// order has Run do something, and waits for it. What is done goes on when ctx
// ends, unless do looks at ctx itself.
func (c *Cluster) order(ctx context.Context, do func(ctx context.Context) error) error {
	order := command{do, make(chan error, 1)}
	select {
	case c.commands <- order:
	case <-c.life.ended:
		return ErrEnded
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-order.reply:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
