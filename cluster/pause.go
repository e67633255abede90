package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrPauseCanceled is why a pause ended when a client came before the engine
// was being stopped.
var ErrPauseCanceled = errors.New("a client came while the cluster was being paused")

// UnpausableError is why a cluster can never be paused.
type UnpausableError struct{ Reason string }

func (e *UnpausableError) Error() string { return "the cluster cannot be paused: " + e.Reason }

// Pause stops the engine as soon as every session has given up its backend,
// within ctx. It fails, with the cluster available as before, with *Holdouts
// if some session cannot, with ErrPauseCanceled if a client came, with
// *UnpausableError always where the engine is not ours to stop.
func (c *Cluster) Pause(ctx context.Context) error {
	if c.cannotPause != "" {
		return &UnpausableError{c.cannotPause}
	}
	return c.order(ctx, func(run context.Context) error { return c.pauseAsked(run, ctx) })
}

// pauseAsked is a pause that an operator asked for, who waits until asked ends.
func (c *Cluster) pauseAsked(ctx, asked context.Context) error {
	switch c.Status().State {
	case Paused:
		return nil
	case Failed: // no engine runs
		c.sleep(asPaused)
		c.write()
		return nil
	}
	limit := c.parkTimeout
	if deadline, ok := asked.Deadline(); ok {
		limit = time.Until(deadline) * 9 / 10 // the rest is for saying who could not be parked
	}
	parking, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer context.AfterFunc(asked, cancel)()
	c.pauses = attempts{}
	return c.pause(ctx, parking, askedByOperator)
}

// pauseIdle is a pause because nobody has been busy for long enough.
func (c *Cluster) pauseIdle(ctx context.Context, idle time.Duration) {
	parking, cancel := context.WithTimeout(ctx, c.parkTimeout)
	defer cancel()
	first := c.pauses.failed == 0
	err := c.pause(ctx, parking, fmt.Sprintf("no activity for %v", idle.Round(time.Second)))
	if err != nil && first && ctx.Err() == nil {
		c.log.Info("the cluster was not paused", "error", err)
	}
}

// pause parks every session until parking ends, and stops the engine. A row of
// attempts that fail is told of once.
func (c *Cluster) pause(ctx, parking context.Context, reason string) error {
	began := time.Now()
	told := c.pauses.failed > 0
	backend := c.Status().Backend
	c.publish(func(s *Status) {
		s.State = Pausing
		s.Backend = Backend{}
		s.PausesAt = time.Time{}
	})
	if !told {
		c.tell(pausing, reason)
	}
	if err := c.empty(parking, backend); err != nil {
		c.resettle(backend, began, err)
		if !told {
			c.tell(notPaused, why(err))
		}
		return err
	}
	if told {
		c.tell(pausing, reason)
	}
	if err := c.halt(context.WithoutCancel(ctx)); err != nil {
		c.notStopped(ctx, began, err)
		return err
	}
	c.starts, c.pauses = attempts{}, attempts{}
	c.sleep(asPaused)
	c.observer.Paused(c.name, "paused", time.Since(began))
	c.tell(paused, reason)
	c.write()
	return nil
}

// empty has every session give up its backend, and saves what can be read of a
// running engine alone. A client that comes meanwhile ends it.
func (c *Cluster) empty(ctx context.Context, backend Backend) error {
	parking, cancel := context.WithCancel(ctx)
	defer cancel()
	c.lobby.park(cancel)
	err := c.occupants.Park(parking)
	came := c.lobby.parked()
	if came {
		return ErrPauseCanceled
	}
	if err != nil {
		return err
	}
	return c.beforeStop(context.WithoutCancel(ctx), backend)
}

func (c *Cluster) beforeStop(ctx context.Context, backend Backend) error {
	if c.hooks.Stopping == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.stopTimeout)
	defer cancel()
	return c.hooks.Stopping(ctx, backend)
}

// resettle is the end of a pause that was not to be: everything as before.
func (c *Cluster) resettle(backend Backend, began time.Time, err error) {
	now := time.Now()
	c.pauses.fail(now, min(backoff(firstPauseDelay, longestDelay, c.pauses.failed+1), c.settings.PauseAfter))
	status := c.Status()
	c.occupants.Resettle(status.ResumeCapacity)
	c.publish(func(s *Status) { s.State, s.Backend = Available, backend })
	c.observer.Paused(c.name, pauseResult(err), now.Sub(began))
}

// notStopped goes on with an engine that would not stop, or starts it again:
// its sessions have left it, and so they notice nothing.
func (c *Cluster) notStopped(ctx context.Context, began time.Time, err error) {
	now := time.Now()
	c.pauses.fail(now, backoff(firstPauseDelay, longestDelay, c.pauses.failed+1))
	c.log.Error("the engine could not be stopped; the cluster stays available", "error", err)
	c.observer.Paused(c.name, pauseResult(err), now.Sub(began))
	c.tell(notStopped, err.Error())
	c.adopt(ctx)
}

func pauseResult(err error) string {
	if errors.Is(err, ErrPauseCanceled) {
		return "cancelled"
	}
	return "failed"
}

// why names the sessions that could not be parked, the first of them at least.
func why(err error) string {
	var holdouts *Holdouts
	if !errors.As(err, &holdouts) {
		return err.Error()
	}
	const named = 10
	text := holdouts.Error()
	for i, holdout := range holdouts.Sessions {
		if i == named {
			return text + ", …"
		}
		separator := ", "
		if i == 0 {
			separator = ": "
		}
		text += fmt.Sprintf("%s%s %v", separator, holdout.Session, holdout.Reasons)
	}
	return text
}
