package process

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"serverlessproxy/acu"
)

// beginTuned begins with the configured parameters, or with those that the
// engine had before if it does not start with these.
func (c *Compute) beginTuned(ctx context.Context, size acu.Size) (*instance, error) {
	engine, err := c.begin(ctx, size)
	if err != nil {
		engine, err = c.beginAgain(ctx, size, err)
	}
	if err == nil {
		c.started()
	}
	return engine, err
}

// beginAgain starts an engine with the parameters that it ran with before,
// where it ended at once with those that are new: a value that no start
// survives must not end a cluster. failed is returned where that is not so.
func (c *Compute) beginAgain(ctx context.Context, size acu.Size, failed error) (*instance, error) {
	engine, ok := c.engine.(Tunable)
	if !ok || !errors.Is(failed, ErrEnded) || c.tuning.has == nil {
		return nil, failed
	}
	declined := engine.Parameters()
	if maps.Equal(declined, c.tuning.has) || engine.Configure(c.tuning.has) != nil {
		return nil, failed
	}
	again, err := c.begin(ctx, size)
	if err != nil {
		return nil, errors.Join(failed, engine.Configure(declined))
	}
	why := engine.Complaint(failed.Error())
	if why == "" {
		why = failed.Error()
	}
	c.tuning.declined = declined
	c.tuning.refused = fmt.Errorf("the engine did not start with them: %s", why)
	c.log.Error("the engine did not start with its new parameters, and runs with those that it had before", "error", why)
	return again, nil
}

// started notes what an engine runs with that was just started.
func (c *Compute) started() {
	engine, ok := c.engine.(Tunable)
	if !ok {
		return
	}
	c.tuning.waiting = nil
	if now := engine.Parameters(); c.tuning.has == nil || !maps.Equal(c.tuning.has, now) {
		c.tuning.has = copied(now)
		if err := c.keepParameters(); err != nil {
			c.log.Warn("the parameters that the engine runs with are not kept: one that does not start with others has none to go back to", "error", err)
		}
	}
}

// found gives the configured parameters to an engine that an earlier run of the
// proxy has started.
func (c *Compute) found(ctx context.Context) {
	engine, ok := c.engine.(Tunable)
	if !ok {
		return
	}
	if c.tuning.has == nil { // one that did not keep them: so far they never changed while an engine ran
		c.tuning.has = copied(engine.Parameters())
	}
	if maps.Equal(c.tuning.has, engine.Parameters()) {
		return
	}
	wanted, has := engine.Parameters(), c.tuning.has
	if err := engine.Configure(has); err != nil {
		c.log.Warn("the parameters that the engine runs with are not those that it may have", "error", err)
		return
	}
	if c.tuning.refused = c.take(ctx, engine, wanted); c.tuning.refused != nil {
		c.log.Error("the engine refuses its new parameters, and runs with those that it had before", "error", c.tuning.refused)
	}
}
