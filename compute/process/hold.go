package process

import (
	"serverlessproxy/acu"
	"serverlessproxy/compute/process/limits"
)

func amountOf(size acu.Size) limits.Amount {
	return limits.Amount{Memory: size.Memory, CPU: size.CPU}
}

// beforeStart has the memory of a size hold from an engine's first moment. Its
// CPU does once it answers: a start is short, and clients wait for it.
func (c *Compute) beforeStart(size acu.Size, pids ...int) {
	c.hold(limits.Amount{Memory: size.Memory}, pids...)
}

// holdAll holds the engine that runs, with all of its processes.
func (c *Compute) holdAll(amount limits.Amount) {
	if c.limits == nil {
		return
	}
	family, err := familyOf(c.current.pid)
	if err != nil {
		return // it has ended, and whoever waits for that says so
	}
	pids := make([]int, len(family))
	for i, p := range family {
		pids[i] = p.pid
	}
	c.hold(amount, pids...)
}

// hold never fails: an engine that cannot be held to its size serves all the
// same, and the log says so once.
func (c *Compute) hold(amount limits.Amount, pids ...int) {
	if c.limits == nil {
		return
	}
	if err := c.limits.Hold(amount, pids...); err != nil {
		c.log.Warn("the engine cannot be held to its size by a control group", "error", err)
	}
	if way := c.limits.Way(); way != c.heldBy {
		c.heldBy = way
		c.log.Info("what holds the engine to its size", "limits", way)
	}
}

// release lets go of what held an engine that has ended.
func (c *Compute) release() {
	if c.limits == nil {
		return
	}
	if err := c.limits.Remove(); err != nil {
		c.log.Warn("what held the engine to its size is left behind", "error", err)
	}
}

// Limits says how the engine is held to its size, for people. Anybody may ask.
func (c *Compute) Limits() string {
	if c.limits == nil {
		return "off"
	}
	return c.limits.Way()
}

// checkLimits is no failure: an engine runs without limits, too.
func (c *Compute) checkLimits() Finding {
	return Finding{Name: "limits", OK: true, Detail: c.Limits()}
}
