package cluster

import (
	"context"

	"serverlessproxy/acu"
)

// Convert makes a cluster one of a fixed size: it runs at this capacity, does
// not pause, and its capacity does not follow its load, whatever the
// configuration says, over restarts of the proxy too. With 0 the configuration
// holds again. On an error the cluster is what it was.
func (c *Cluster) Convert(ctx context.Context, to acu.Capacity) error {
	if to != 0 {
		if err := c.CheckSize(to); err != nil {
			return err
		}
	}
	return c.order(ctx, func(run context.Context) error {
		waiting, cancel := context.WithCancel(run)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		return c.convert(run, waiting, to)
	})
}

// CheckSize returns nil for a size that the engine has, else a *CapacityError
// that lists them.
func (c *Cluster) CheckSize(size acu.Capacity) error {
	if c.checkSize == nil {
		return nil
	}
	if err := c.checkSize(size); err != nil {
		return &CapacityError{err.Error()}
	}
	return nil
}

func (c *Cluster) convert(ctx, waiting context.Context, to acu.Capacity) error {
	before := c.fixed
	c.fix(ctx, to)
	if to == 0 {
		return nil
	}
	if c.running && c.Status().ResumeCapacity != to {
		request := Request{Capacity: to, Reason: convertedToFixed}
		if err := c.scale(ctx, waiting, request); err != nil {
			c.fix(ctx, before)
			return err
		}
	}
	return c.whyUnavailable()
}

// fix has the settings hold that a fixed size stands for. A cluster that is
// not running is resumed by it.
func (c *Cluster) fix(ctx context.Context, to acu.Capacity) {
	c.fixed = to
	c.configure(ctx, c.asked.fixedAt(to))
}

// fixedAt are the settings of a cluster that was converted to a size; 0: these.
func (s Settings) fixedAt(size acu.Capacity) Settings {
	if size == 0 {
		return s
	}
	s.Min, s.Max = size, size
	s.AutoPause, s.Autoscale = false, false
	return s
}
