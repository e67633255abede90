package cluster

import (
	"context"
	"fmt"
)

// Configure changes the settings. A cluster that is not to pause any more is
// resumed; limits of the capacity bind at once while the engine does not run,
// and at its next start while it does.
func (c *Cluster) Configure(ctx context.Context, settings Settings) error {
	return c.order(ctx, func(run context.Context) error {
		c.asked = settings.complete()
		c.configure(run, c.asked.fixedAt(c.fixed))
		return nil
	})
}

func (c *Cluster) configure(ctx context.Context, settings Settings) {
	before := c.settings
	c.settings = settings
	status := c.Status()
	capacity := settings.clamp(status.ResumeCapacity)
	c.publish(func(s *Status) {
		s.Min, s.Max = settings.Min, settings.Max
		s.AutoPause = c.pausesItself()
		s.Fixed = c.fixed
		s.TargetCapacity = capacity
		if !c.running {
			s.ResumeCapacity = capacity
		}
	})
	if !c.running {
		c.occupants.Resettle(capacity) // its ceiling is the one that clients meet
	}
	if before != settings {
		c.tell(newLimits, fmt.Sprintf("%d to %d ACU, auto-pause %s", settings.Min, settings.Max, c.pausePolicy()))
	}
	if state := c.Status().State; !c.pausesItself() && (state == Paused || state == Failed) {
		c.resume(ctx, AtStart)
		return
	}
	c.write()
}

func (c *Cluster) pausePolicy() string {
	if !c.pausesItself() {
		return "off"
	}
	return fmt.Sprintf("after %v", c.settings.PauseAfter)
}
