package cluster

import (
	"context"
	"errors"
	"time"

	"serverlessproxy/acu"
)

// Mode is how a capacity is changed; the words are the metric's.
type Mode string

const (
	InPlace   Mode = "inplace"
	ByRestart Mode = "restart"
)

// Change is a change of capacity that has ended. Result is the metric's word.
type Change struct {
	From, To acu.Capacity
	Mode     Mode
	Result   string // done, rolled_back, forced, failed
	Took     time.Duration
}

// SettingChange is what a change of capacity does to one of the engine's
// settings.
type SettingChange struct {
	Setting string `json:"setting"`
	From    string `json:"from"`
	To      string `json:"to"`
}

// Steps is what another size does to an engine that runs.
type Steps struct {
	Live    []SettingChange // changed while it runs
	AtStart []SettingChange // only at a start
	Restart bool            // the size cannot be had without one
}

// Planner is an optional ability of a Compute that can resize in place: what
// that would change. Called as the other methods are.
type Planner interface {
	Plan(from, to acu.Size) Steps
}

// Preparer is an optional ability of a Compute: it does beforehand, while
// clients work, what the next Stop would take long over. Called as the other
// methods are.
type Preparer interface {
	PrepareStop(ctx context.Context) error
}

// Plan is what a change of capacity would do.
type Plan struct {
	From, To acu.Capacity
	Mode     Mode
	Steps
}

// Plan says what a change to a capacity would do, and does nothing.
func (c *Cluster) Plan(ctx context.Context, to acu.Capacity) (plan Plan, err error) {
	err = c.order(ctx, func(context.Context) error {
		if err := c.checkCapacity(to); err != nil {
			return err
		}
		from := c.Status().ResumeCapacity
		plan = Plan{From: from, To: to, Mode: c.modeOf(from, to), Steps: c.steps(from, to)}
		plan.AtStart = append(plan.AtStart, c.Status().ParametersWaiting...)
		if plan.Mode == ByRestart {
			plan.AtStart, plan.Live = append(plan.Live, plan.AtStart...), nil
		}
		return nil
	})
	return plan, err
}

func (c *Cluster) steps(from, to acu.Capacity) Steps {
	if c.planner == nil {
		return Steps{Restart: c.cannotPause == ""}
	}
	return c.planner.Plan(c.size(from), c.size(to))
}

// inPlace tells whether the engine need not be restarted for a capacity. One
// that is not ours to stop cannot be: it is told its size, and the ceiling
// follows.
func (c *Cluster) inPlace(from, to acu.Capacity) bool {
	if c.cannotPause != "" {
		return true
	}
	return c.running && !c.settings.Changes.Restart && !c.steps(from, to).Restart
}

func (c *Cluster) modeOf(from, to acu.Capacity) Mode {
	if c.inPlace(from, to) {
		return InPlace
	}
	return ByRestart
}

// resultOf is how a change ended, in the metric's words.
func resultOf(forced *Holdouts, err error) string {
	switch {
	case err == nil && forced != nil:
		return "forced"
	case err == nil:
		return "done"
	case errors.As(err, new(*Holdouts)):
		return "rolled_back"
	}
	return "failed"
}
