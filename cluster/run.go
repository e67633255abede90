package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Run lives the cluster's life until ctx ends or Stop is called, and then
// stops the engine cleanly. It alone changes the state and calls Compute,
// Occupants and Hooks, one call at a time.
func (c *Cluster) Run(ctx context.Context, occupants Occupants) error {
	ctx, ok := c.life.begin(ctx)
	if !ok {
		return ErrEnded
	}
	c.occupants = occupants
	c.awake(ctx)
	for ctx.Err() == nil {
		c.step(ctx)
	}
	return c.life.end(errors.Join(c.shutdown(context.WithoutCancel(ctx)), c.journal.close()))
}

// awake decides the first state.
func (c *Cluster) awake(ctx context.Context) {
	if c.stillRunning(ctx) {
		c.adopt(ctx)
		c.renewal = c.toRenew() // for what was configured since the engine was started
		return
	}
	crashed := !c.meter.since.IsZero()
	c.meter = meter{total: c.meter.total} // what ran ended at a time that nobody knows
	switch {
	case crashed: // as in bury: the copy of its users may be old
		c.resume(ctx, OnCrash)
	case !c.pausesItself():
		c.resume(ctx, AtStart)
	default:
		c.sleep(asPaused)
		c.write()
	}
}

// stillRunning asks for an engine that outlived an earlier run of the proxy.
func (c *Cluster) stillRunning(ctx context.Context) bool {
	if c.adopter == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, c.settings.ResumeTimeout)
	defer cancel()
	running, err := c.adopter.Running(ctx)
	if err != nil {
		c.log.Error("it cannot be told whether an engine is running; the next start will", "error", err)
	}
	return running && err == nil
}

// step does what is to be done now, or waits for something to happen.
func (c *Cluster) step(ctx context.Context) {
	now := time.Now()
	s := c.situation(now)
	what, wait := decide(s)
	switch what {
	case start:
		c.resume(ctx, s.trigger)
	case pause:
		c.pauseIdle(ctx, s.idle)
	case bury:
		c.bury(ctx)
	case renew:
		c.renew(ctx)
	case rest:
		c.look(ctx, now)
		c.announce(s, now)
		c.rest(ctx, wait)
	}
}

func (c *Cluster) situation(now time.Time) situation {
	waiting, trigger, urgent := c.lobby.present()
	s := situation{
		state:      c.Status().State,
		gone:       closed(c.exited),
		waiting:    waiting,
		trigger:    trigger,
		urgent:     urgent,
		renewal:    c.renewal,
		alwaysOn:   !c.pausesItself(),
		idle:       c.idle(now),
		pauseAfter: c.settings.PauseAfter,
	}
	switch {
	case s.state == Failed:
		s.retryIn = c.starts.in(now)
	case s.idle < s.pauseAfter:
		c.pauses = attempts{} // somebody was busy since it could not be paused
	default:
		s.retryIn = c.pauses.in(now)
	}
	return s
}

// rest waits until something happens that may call for a step.
func (c *Cluster) rest(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-c.exited:
	case <-c.lobby.nudge:
	case order := <-c.commands:
		order.reply <- order.do(ctx)
	}
}

// announce keeps the hour of the next pause, and what state.json says, near
// the truth.
func (c *Cluster) announce(s situation, now time.Time) {
	if s.state != Available {
		return
	}
	var pausesAt time.Time
	if !s.alwaysOn && s.idle > 0 {
		pausesAt = now.Add(max(s.untilPause(), s.retryIn))
	}
	if shift := pausesAt.Sub(c.Status().PausesAt); shift.Abs() > lookEvery/2 {
		c.publish(func(s *Status) { s.PausesAt = pausesAt })
	}
	if now.Sub(c.written) >= writeEvery {
		c.write()
	}
}

// idle is how long nobody has been busy.
func (c *Cluster) idle(now time.Time) time.Duration {
	return max(min(now.Sub(c.active), c.occupants.Quiet()), 0)
}

// shutdown stops the engine for good.
func (c *Cluster) shutdown(ctx context.Context) error {
	backend := c.Status().Backend
	c.publish(func(s *Status) {
		s.over = true
		s.Backend = Backend{}
		s.PausesAt = time.Time{}
		if c.running {
			s.State = Pausing
		}
	})
	if c.running {
		if err := c.beforeStop(ctx, backend); err != nil {
			c.log.Error("what depends on the running engine was not read before it stopped", "error", err)
		}
		if err := c.halt(ctx); err != nil {
			c.tell(notStopped, err.Error())
			c.write()
			return fmt.Errorf("stop cluster %s: %w", c.name, err)
		}
		c.tell(paused, proxyStops)
	}
	c.sleep(asPaused)
	c.write()
	return nil
}

// sleep publishes that no engine runs, and what else change says. A capacity
// that the settings ask for, and that a running engine did not have, is the
// one to resume to from now on.
func (c *Cluster) sleep(change func(*Status)) {
	before := c.Status().ResumeCapacity
	c.publish(func(s *Status) {
		s.State = Paused
		if s.PausedSince.IsZero() {
			s.PausedSince = time.Now()
		}
		s.Backend, s.Capacity, s.PausesAt = Backend{}, 0, time.Time{}
		s.ParametersWaiting = nil // they are taken at its start
		s.ResumeCapacity = s.TargetCapacity
		change(s)
	})
	if now := c.Status().ResumeCapacity; now != before {
		c.occupants.Resettle(now)
	}
}

func asPaused(*Status) {}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
