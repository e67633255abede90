package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"serverlessproxy/acu"
)

// resume starts the engine and lets everybody in who waits, or tells them why
// it could not.
func (c *Cluster) resume(ctx context.Context, trigger Trigger) {
	c.tell(resuming, trigger.reason())
	began := time.Now()
	backend, err := c.launch(ctx)
	if err != nil && ctx.Err() != nil {
		return // the proxy stops, and shutdown says so
	}
	took := time.Since(began)
	c.observer.Resumed(c.name, trigger, took, err)
	if err != nil {
		c.fail(err)
		return
	}
	c.active = time.Now()
	c.open(backend)
	c.tell(resumed, fmt.Sprintf("after %v", took.Round(time.Millisecond)))
	c.write()
}

// adopt goes on with an engine that is there already. The pausing clock goes
// on where it was.
func (c *Cluster) adopt(ctx context.Context) {
	backend, err := c.launch(ctx)
	if err != nil && ctx.Err() != nil {
		return
	}
	if err != nil {
		c.fail(err)
		return
	}
	if now := time.Now(); c.active.IsZero() || c.active.After(now) {
		c.active = now
	}
	c.open(backend)
	c.tell(adopted, "")
	c.write()
}

// launch starts the engine and makes it ready for its sessions. On an error
// nothing is left running.
func (c *Cluster) launch(ctx context.Context) (Backend, error) {
	c.lobby.attempt()
	c.publish(func(s *Status) {
		if s.State != Scaling { // that one goes on until the engine runs again
			s.State = Resuming
		}
	})
	ctx, cancel := context.WithTimeout(ctx, c.settings.ResumeTimeout)
	defer cancel()

	capacity, began := c.Status().ResumeCapacity, time.Now()
	backend, err := c.compute.Start(ctx, c.size(capacity))
	if err != nil {
		c.ended(began)
		return Backend{}, c.explain(ctx, err)
	}
	c.running, c.renewal = true, false
	c.meter = c.meter.run(began, capacity)
	c.noteTuning()
	if c.watcher != nil {
		c.exited = c.watcher.Exited()
	}
	if err := c.afterStart(ctx, backend); err != nil {
		return Backend{}, errors.Join(c.explain(ctx, err), c.halt(context.WithoutCancel(ctx)))
	}
	return backend, nil
}

func (c *Cluster) afterStart(ctx context.Context, backend Backend) error {
	if c.hooks.Started != nil {
		if err := c.hooks.Started(ctx, backend); err != nil {
			return fmt.Errorf("prepare the engine: %w", err)
		}
	}
	if err := c.occupants.Waking(ctx, backend); err != nil {
		return fmt.Errorf("prepare the sessions: %w", err)
	}
	return nil
}

// explain names the limit where it is what ended an attempt.
func (c *Cluster) explain(ctx context.Context, err error) error {
	if ctx.Err() == context.DeadlineExceeded {
		return fmt.Errorf("the engine was not ready within %v: %w", c.settings.ResumeTimeout, err)
	}
	return err
}

// open lets everybody in.
func (c *Cluster) open(backend Backend) {
	c.since = time.Now()
	capacity := c.Status().ResumeCapacity
	c.occupants.Resettle(capacity)
	c.publish(func(s *Status) {
		s.State = Available
		s.Backend = backend
		s.Capacity = capacity
		s.PausedSince = time.Time{}
		s.LastError = ""
	})
}

// fail tells everybody who waits why the cluster is not available, and when
// the next attempt may begin.
func (c *Cluster) fail(err error) {
	c.starts.fail(time.Now(), backoff(firstStartDelay, longestDelay, c.starts.failed+1))
	epoch := c.lobby.failed()
	c.sleep(func(s *Status) {
		s.State = Failed
		s.LastError = err.Error()
		s.epoch = epoch
	})
	c.log.Error("the cluster could not be resumed", "error", err, "failures", c.starts.failed)
	c.tell(notResumed, err.Error())
	c.write()
}

// bury sees to what is to be done when the engine ended unasked. It is started
// again at once, even if nobody is there: only a running engine can tell who
// its users are by now, and the copy that answers for a paused one is made
// when it is paused. One that keeps ending waits until somebody needs it.
func (c *Cluster) bury(ctx context.Context) {
	now := time.Now()
	generation, how := c.Status().Backend.Generation, c.exitReason()
	c.ended(now)
	if now.Sub(c.since) >= steadyAfter {
		c.starts = attempts{}
	}
	delay := backoff(firstStartDelay, longestDelay, c.starts.failed)
	c.starts.fail(now, delay)
	c.sleep(func(s *Status) {
		s.State = Failed
		s.LastError = engineEnded.message + how
	})
	c.occupants.Lost(generation)
	c.log.Error("the engine ended unexpectedly", "after", now.Sub(c.since).Round(time.Millisecond), "how", how)
	c.tell(engineEnded, fmt.Sprintf("it had been available for %v.%s", now.Sub(c.since).Round(time.Second), how))

	if delay == 0 {
		c.resume(ctx, OnCrash)
		return
	}
	waiting, _, _ := c.lobby.present()
	if needed := waiting > 0 || c.occupants.Anyone() || !c.pausesItself(); !needed {
		c.sleep(asPaused)
	}
	c.write()
}

// exitReason is how the engine ended, as a sentence after another; "" where
// compute cannot tell.
func (c *Cluster) exitReason() string {
	mourner, ok := c.compute.(Mourner)
	if !ok || mourner.ExitReason() == "" {
		return ""
	}
	return " How it ended: " + mourner.ExitReason()
}

// halt stops the engine.
func (c *Cluster) halt(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.stopTimeout)
	defer cancel()
	if err := c.compute.Stop(ctx); err != nil {
		return fmt.Errorf("stop the engine: %w", err)
	}
	c.ended(time.Now())
	return nil
}

// ended notes that no engine runs any more.
func (c *Cluster) ended(now time.Time) {
	c.running, c.exited = false, nil
	c.meter = c.meter.rest(now)
}

func (c *Cluster) size(capacity acu.Capacity) acu.Size {
	if c.sizer == nil {
		return acu.Size{Capacity: capacity}
	}
	return c.sizer(capacity)
}
