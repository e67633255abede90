package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"serverlessproxy/acu"
)

// Request asks for another capacity.
type Request struct {
	Capacity acu.Capacity
	Timeout  time.Duration // how long it may look for a scaling point; 0: 300 s
	Reason   string        // for the event; "": an operator asked
}

const (
	defaultScaleTimeout = 300 * time.Second
	scalingWindow       = 50 * time.Millisecond // first look for a scaling point; it doubles
	longestWindow       = time.Second           // …up to here: new transactions wait no longer
	firstScaleDelay     = time.Second           // between two looks; it doubles too
	longestScaleDelay   = 10 * time.Second
)

// CapacityError is why a capacity cannot be asked for.
type CapacityError struct{ Reason string }

func (e *CapacityError) Error() string { return "the capacity cannot be changed: " + e.Reason }

// ErrScalingEnded is why a change was given up when the engine ended by itself.
var ErrScalingEnded = errors.New("the engine ended while its capacity was being changed")

// Scale changes the capacity and waits for it. A cluster that does not run is
// resumed at the new one. The engine is restarted at a scaling point; without
// one in time the change is given up, with *Holdouts, and nothing is lost.
func (c *Cluster) Scale(ctx context.Context, request Request) error {
	if request.Timeout == 0 {
		request.Timeout = defaultScaleTimeout
	}
	if request.Reason == "" {
		request.Reason = askedByOperator
	}
	return c.order(ctx, func(run context.Context) error {
		waiting, cancel := context.WithCancel(run)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		return c.scale(run, waiting, request)
	})
}

// scale gives up looking for a scaling point when waiting ends.
func (c *Cluster) scale(ctx, waiting context.Context, request Request) error {
	if err := c.checkCapacity(request.Capacity); err != nil {
		return err
	}
	from, to := c.Status().ResumeCapacity, request.Capacity
	if !c.running {
		c.intend(to)
		c.resume(ctx, OnScale)
		return c.whyUnavailable()
	}
	if from == to {
		return nil
	}
	c.tell(scaling, fmt.Sprintf("from %d to %d ACU: %s", from, to, request.Reason))
	c.publish(func(s *Status) { s.State, s.TargetCapacity, s.PausesAt = Scaling, to, time.Time{} })
	if err := c.change(ctx, waiting, request); err != nil {
		c.tell(notScaled, why(err))
		c.write()
		return err
	}
	c.tell(scaled, fmt.Sprintf("from %d to %d ACU", from, to))
	c.write()
	return nil
}

func (c *Cluster) checkCapacity(to acu.Capacity) error {
	if c.checkSize != nil {
		if err := c.checkSize(to); err != nil {
			return &CapacityError{err.Error()}
		}
	}
	if to < c.settings.Min || to > c.settings.Max {
		return &CapacityError{fmt.Sprintf("%d ACU is not between min_capacity %d and max_capacity %d", to, c.settings.Min, c.settings.Max)}
	}
	return nil
}

// change is by a restart where the engine is ours to stop; a server that
// others run is told its size, and the ceiling follows.
func (c *Cluster) change(ctx, waiting context.Context, request Request) error {
	if c.cannotPause == "" {
		return c.restart(ctx, waiting, request)
	}
	backend, err := c.compute.Resize(ctx, c.size(request.Capacity))
	if err != nil {
		c.stay(c.Status().Backend)
		return fmt.Errorf("resize the engine: %w", err)
	}
	c.meter = c.meter.run(time.Now(), request.Capacity)
	c.intend(request.Capacity)
	c.open(backend)
	return nil
}

// restart stops the engine at a scaling point and starts it at another size.
// A session that waits meanwhile is served by the new one.
func (c *Cluster) restart(ctx, waiting context.Context, request Request) error {
	backend := c.Status().Backend
	if err := c.scalingPoint(waiting, request.Timeout); err != nil {
		c.stay(backend)
		return err
	}
	if err := c.beforeStop(context.WithoutCancel(ctx), backend); err != nil {
		c.stay(backend)
		return err
	}
	if err := c.halt(context.WithoutCancel(ctx)); err != nil {
		c.publish(func(s *Status) { s.TargetCapacity = s.ResumeCapacity })
		c.adopt(ctx)
		return err
	}
	c.intend(request.Capacity)
	launched, err := c.launch(ctx)
	if err != nil {
		if ctx.Err() == nil { // else shutdown says so
			c.fail(err)
		}
		return err
	}
	c.active = time.Now()
	c.open(launched)
	return nil
}

// scalingPoint has every session give up its backend. It looks in short
// windows, with the doors open between them, so that a long transaction of one
// session starves nobody else.
func (c *Cluster) scalingPoint(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	backend := c.Status().Backend
	for tried, window := 0, scalingWindow; ; tried, window = tried+1, min(2*window, longestWindow) {
		c.publish(func(s *Status) { s.Backend = Backend{} })
		looking, stop := context.WithTimeout(ctx, window)
		err := c.occupants.Park(looking)
		stop()
		if err == nil {
			return nil
		}
		c.occupants.Resettle(c.Status().ResumeCapacity)
		c.publish(func(s *Status) { s.Backend = backend })
		select {
		case <-time.After(backoff(firstScaleDelay, longestScaleDelay, tried+1)):
		case <-c.exited:
			return ErrScalingEnded
		case <-ctx.Done():
			return err
		}
	}
}

// intend has the next start be at a capacity.
func (c *Cluster) intend(to acu.Capacity) {
	c.publish(func(s *Status) { s.ResumeCapacity, s.TargetCapacity = to, to })
}

// stay is the end of a change that was not to be: everything as before.
func (c *Cluster) stay(backend Backend) {
	c.occupants.Resettle(c.Status().ResumeCapacity)
	c.publish(func(s *Status) { s.State, s.Backend, s.TargetCapacity = Available, backend, s.ResumeCapacity })
}

func (c *Cluster) whyUnavailable() error {
	if status := c.Status(); !status.serves() {
		return &ResumeError{status.LastError}
	}
	return nil
}
