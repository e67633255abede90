// Package fixed is cluster.Compute for a server that others run: it can be
// reached, but neither stopped nor resized.
//
// It owns the question whether that server still answers. It never knows which
// kind of server it is: how to ask is a function that it is given. It takes no
// lock; the cluster's goroutine alone calls it. While a server is up one
// goroutine of ours watches it, which Stop and the next Start join.
package fixed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
)

const (
	defaultEvery  = 5 * time.Second
	failuresToEnd = 3 // so many in a row, since one slow answer is no end
	askLimit      = 5 * time.Second
	shortestRetry = 100 * time.Millisecond // of Start
	longestRetry  = 2 * time.Second
	gone          = "it no longer answers at "
)

var errNotStarted = errors.New("the server has not been reached yet")

// Ping asks the server whether it lets the proxy's service account in and
// answers.
type Ping func(ctx context.Context) error

// Config is what a Compute is made of.
type Config struct {
	Network, Address string
	Ping             Ping
	// Refused tells an error of Ping that waiting does not change, such as a
	// wrong password; nil: there is none.
	Refused func(error) bool
	// Ended tells an error of Ping after which the server is known to be gone,
	// and need not be asked again; nil: there is none.
	Ended func(error) bool
	// Every is how often a server that is up is asked; 0: every 5 s; negative:
	// never, so that its end is noticed by its sessions alone.
	Every time.Duration
	Log   *slog.Logger
}

// Compute is a server that others run.
type Compute struct {
	config     Config
	generation uint64
	watch      *watch // of the present generation; nil while there is none
}

// watch asks one generation's server whether it is still there.
type watch struct {
	cancel context.CancelFunc
	exited chan struct{} // closed when it is not
	why    string        // set before exited is closed
	joined sync.WaitGroup
}

var (
	_ cluster.Compute    = (*Compute)(nil)
	_ cluster.Watcher    = (*Compute)(nil)
	_ cluster.Unpausable = (*Compute)(nil)
)

// New is a Compute. Nothing is asked yet.
func New(config Config) *Compute {
	config.Every = cmp.Or(config.Every, defaultEvery)
	if config.Refused == nil {
		config.Refused = never
	}
	if config.Ended == nil {
		config.Ended = never
	}
	return &Compute{config: config}
}

func never(error) bool { return false }

// CannotPause is why a cluster with this Compute never pauses.
func (c *Compute) CannotPause() string {
	return "this server is run by others (driver fixed); serverlessproxy cannot stop it"
}

// Start waits until the server answers, as long as ctx lasts. A server that
// refuses the service account is not waited for: only its operator can change
// that, and each attempt counts against the account.
func (c *Compute) Start(ctx context.Context, _ acu.Size) (cluster.Backend, error) {
	c.unwatch()
	for wait := shortestRetry; ; wait = min(2*wait, longestRetry) {
		err := c.Ask(ctx)
		if err == nil {
			break
		}
		if c.config.Refused(err) || c.config.Ended(err) || !Sleep(ctx, wait) {
			return cluster.Backend{}, fmt.Errorf("reach the server at %s: %w", c.config.Address, err)
		}
	}
	c.generation++
	c.watch = c.begin()
	return c.backend(), nil
}

// Stop lets go of the server, which runs on.
func (c *Compute) Stop(context.Context) error {
	c.unwatch()
	return nil
}

// Resize changes nothing at the server: its size is its operator's. The
// capacity still rules how many sessions are admitted at the endpoint.
func (c *Compute) Resize(_ context.Context, size acu.Size) (cluster.Backend, error) {
	backend, err := c.Reached()
	if err != nil {
		return backend, err
	}
	c.config.Log.Info("this server is run by others (driver fixed): the ceiling of sessions changes, the server does not", "capacity", size.Capacity)
	return backend, nil
}

// Reached is the server of the present generation.
func (c *Compute) Reached() (cluster.Backend, error) {
	if c.watch == nil {
		return cluster.Backend{}, errNotStarted
	}
	return c.backend(), nil
}

// Exited is closed when the server of the present generation no longer
// answers.
func (c *Compute) Exited() <-chan struct{} {
	if c.watch == nil {
		return nil
	}
	return c.watch.exited
}

// ExitReason is why that server counts as gone; "" while it does not.
func (c *Compute) ExitReason() string {
	if c.watch == nil {
		return ""
	}
	select {
	case <-c.watch.exited:
		return c.watch.why
	default:
		return ""
	}
}

func (c *Compute) backend() cluster.Backend {
	return cluster.Backend{Network: c.config.Network, Address: c.config.Address, Generation: c.generation}
}

func (c *Compute) begin() *watch {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watch{cancel: cancel, exited: make(chan struct{})}
	if c.config.Every > 0 {
		w.joined.Go(func() { c.follow(ctx, w) })
	}
	return w
}

func (c *Compute) unwatch() {
	if c.watch == nil {
		return
	}
	c.watch.cancel()
	c.watch.joined.Wait()
	c.watch = nil
}

// follow asks the server until it is gone. One that can be reached but says no
// (too many connections, a changed password) is there for its sessions: that
// is for the log, once until it says yes again.
func (c *Compute) follow(ctx context.Context, w *watch) {
	failures, told := 0, false
	for Sleep(ctx, c.config.Every) {
		err := c.Ask(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			failures, told = 0, false
		case c.config.Ended(err):
			failures = failuresToEnd
		case c.Listens(ctx):
			failures = 0
			if !told {
				c.config.Log.Warn("the server is there but does not answer the proxy", "address", c.config.Address, "error", err)
			}
			told = true
		default:
			failures++
		}
		if failures == failuresToEnd {
			c.config.Log.Warn("the server is gone", "address", c.config.Address, "error", err)
			w.why = gone + c.config.Address + ": " + err.Error()
			close(w.exited)
			return
		}
	}
}

// Ask asks the server once.
func (c *Compute) Ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	return c.config.Ping(ctx)
}

// Listens tells whether anybody takes connections there.
func (c *Compute) Listens(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, c.config.Network, c.config.Address)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// Sleep waits that long; false: ctx ended first.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
