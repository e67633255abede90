package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"serverlessproxy/acu"
)

// TimeoutAction is what becomes of a change that finds no scaling point in
// time. The words are the configuration's.
type TimeoutAction string

const (
	RollbackChange TimeoutAction = "RollbackCapacityChange"   // it is given up, and nothing is lost
	ForceChange    TimeoutAction = "ForceApplyCapacityChange" // who holds it up is ended
)

// ChangeRules are how the capacity is changed.
type ChangeRules struct {
	Timeout time.Duration // how long a change looks for a scaling point; 0: 300 s
	Action  TimeoutAction // "": it is given up then
	Restart bool          // always by a restart, never in place
}

// Request asks for another capacity.
type Request struct {
	Capacity acu.Capacity
	Timeout  time.Duration // 0: as the cluster's settings say
	Action   TimeoutAction // "": likewise
	Reason   string        // for the event; "": an operator asked
}

// CapacityError is why a capacity cannot be asked for.
type CapacityError struct{ Reason string }

func (e *CapacityError) Error() string { return "the capacity cannot be changed: " + e.Reason }

// ErrScalingEnded is why a change was given up when the engine ended by itself.
var ErrScalingEnded = errors.New("the engine ended while its capacity was being changed")

// Scale changes the capacity and waits for it. A cluster that does not run is
// resumed at the new one. Where the running engine cannot take the new size it
// is restarted at a scaling point; without one in time the request's action
// decides: the change is given up, with *Holdouts, and nothing is lost, or who
// holds it up is ended.
func (c *Cluster) Scale(ctx context.Context, request Request) error {
	return c.order(ctx, func(run context.Context) error {
		waiting, cancel := context.WithCancel(run)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		return c.scale(run, waiting, request)
	})
}

// complete fills in what a request leaves to the settings.
func (c *Cluster) complete(r Request) Request {
	rules := c.settings.Changes
	r.Timeout = cmp.Or(r.Timeout, rules.Timeout, defaultScaleTimeout)
	r.Action = cmp.Or(r.Action, rules.Action, RollbackChange)
	r.Reason = cmp.Or(r.Reason, askedByOperator)
	return r
}

// scale gives up looking for a scaling point when waiting ends.
func (c *Cluster) scale(ctx, waiting context.Context, request Request) error {
	request = c.complete(request)
	if err := c.checkCapacity(request.Capacity); err != nil {
		return err
	}
	from, to := c.Status().ResumeCapacity, request.Capacity
	if from == to && c.running {
		return nil
	}
	done := Change{From: from, To: to}
	if from != to {
		c.tellChange(scaling, done, request.Reason)
	}
	began := time.Now()
	came, err := c.carryOut(ctx, waiting, request)
	done.Mode, done.Result = came.mode, resultOf(came.forced, err)
	if from == to { // it was only to be resumed
		return err
	}
	done.Took = time.Since(began)
	c.observer.Scaled(c.name, done)
	if err != nil {
		c.tellChange(notScaled, done, why(err))
		c.write()
		return err
	}
	c.note(from, to)
	c.told(done, came.forced)
	c.write()
	return nil
}

// told is the event of a change that came about.
func (c *Cluster) told(done Change, forced *Holdouts) {
	if forced != nil {
		c.tellChange(scaledByForce, done, why(forced))
		return
	}
	c.tellChange(scaled, done, "")
}

func (c *Cluster) checkCapacity(to acu.Capacity) error {
	if err := c.CheckSize(to); err != nil {
		return err
	}
	if to < c.settings.Min || to > c.settings.Max {
		return &CapacityError{fmt.Sprintf("%d ACU is not between min_capacity %d and max_capacity %d", to, c.settings.Min, c.settings.Max)}
	}
	return nil
}

// carried is how a change was carried out, and who was ended for it.
type carried struct {
	mode   Mode
	forced *Holdouts // nil: nobody
}

// carryOut does what a request asks.
func (c *Cluster) carryOut(ctx, waiting context.Context, request Request) (carried, error) {
	to := request.Capacity
	if !c.running {
		came := carried{mode: c.modeOf(c.Status().ResumeCapacity, to)}
		c.intend(to)
		c.resume(ctx, OnScale)
		return came, c.whyUnavailable()
	}
	c.publish(func(s *Status) { s.State, s.TargetCapacity, s.PausesAt = Scaling, to, time.Time{} })
	return c.change(ctx, waiting, request)
}

// change is in place where the running engine takes the new size, and by a
// restart otherwise.
func (c *Cluster) change(ctx, waiting context.Context, request Request) (carried, error) {
	if c.inPlace(c.Status().ResumeCapacity, request.Capacity) {
		if err := c.resize(ctx, request.Capacity); !errors.Is(err, ErrNeedsRestart) {
			return carried{mode: InPlace}, err
		}
	}
	forced, err := c.restart(ctx, waiting, request)
	return carried{ByRestart, forced}, err
}

// resize changes the size of the engine that runs. One that takes the new size
// in part only is told the old one again.
func (c *Cluster) resize(ctx context.Context, to acu.Capacity) error {
	resizing, cancel := context.WithTimeout(ctx, c.settings.ResumeTimeout)
	defer cancel()
	backend, err := c.compute.Resize(resizing, c.size(to))
	if errors.Is(err, ErrNeedsRestart) {
		return err
	}
	if err != nil {
		from := c.Status().ResumeCapacity
		back, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.settings.ResumeTimeout)
		defer cancel()
		if _, failed := c.compute.Resize(back, c.size(from)); failed != nil {
			c.log.Warn("the engine may have settings of another size until its next start", "capacity", from, "error", failed)
		}
		c.stay(c.Status().Backend)
		return fmt.Errorf("resize the engine: %w", err)
	}
	c.meter = c.meter.run(time.Now(), to)
	c.intend(to)
	c.open(backend)
	return nil
}

// restart stops the engine at a scaling point and starts it at another size.
// A session that waits meanwhile is served by the new one.
func (c *Cluster) restart(ctx, waiting context.Context, request Request) (forced *Holdouts, err error) {
	backend := c.Status().Backend
	c.prepareStop(waiting)
	forced, err = c.scalingPoint(waiting, request)
	if err != nil {
		c.stay(backend)
		return forced, err
	}
	if err := c.beforeStop(context.WithoutCancel(ctx), backend); err != nil {
		c.stay(backend)
		return forced, err
	}
	if err := c.halt(context.WithoutCancel(ctx)); err != nil {
		c.publish(func(s *Status) { s.TargetCapacity = s.ResumeCapacity })
		c.adopt(ctx)
		return forced, err
	}
	return forced, c.startAt(ctx, request.Capacity)
}

// prepareStop makes the time short for which clients will wait. It need not
// succeed.
func (c *Cluster) prepareStop(ctx context.Context) {
	preparer, ok := c.compute.(Preparer)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, preparing)
	defer cancel()
	if err := preparer.PrepareStop(ctx); err != nil {
		c.log.Warn("the engine's stop is not prepared, and may take longer", "error", err)
	}
}

// startAt starts the engine at another size, or at the old one if it does not
// run at that: a size that is too large for the machine must not end a cluster.
func (c *Cluster) startAt(ctx context.Context, to acu.Capacity) error {
	from := c.Status().ResumeCapacity
	c.intend(to)
	launched, err := c.launch(ctx)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("the engine did not start at %d ACU: %w", to, err)
		c.log.Error("the engine is started at its old size again", "capacity", from, "error", err)
		c.intend(from)
		var failed error
		if launched, failed = c.launch(ctx); failed != nil {
			err = errors.Join(err, fmt.Errorf("nor at %d ACU: %w", from, failed))
			if ctx.Err() == nil { // else shutdown says so
				c.fail(err)
			}
			return err
		}
	}
	if launched == (Backend{}) {
		return err
	}
	c.active = time.Now()
	c.open(launched)
	return err
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
