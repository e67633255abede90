package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Tuner is an optional ability of a Compute: its engine has settings that an
// operator configures. Called as the other methods are.
type Tuner interface {
	// Tune gives the engine other parameters, at once as far as it takes them
	// while it runs and otherwise at its next start, and names those that have
	// changed. An error, in the engine's words: it keeps all that it has.
	Tune(ctx context.Context, parameters map[string]string) (changed []string, err error)
	// Tuning is what has become of them.
	Tuning() Tuning
}

// Tuning is how an engine stands to the parameters that it was given last.
type Tuning struct {
	Waiting []SettingChange // those that the running engine takes at its next start
	Refused error           // why it has none of them; nil: it has them, or will
}

// Tune gives the engine other parameters. Where it takes some of them only by a
// start, they wait for the next; with Changes.Restart it is restarted, at a
// scaling point, as soon as there is one. Nobody waits here for that.
func (c *Cluster) Tune(ctx context.Context, parameters map[string]string) error {
	if c.tuner == nil {
		return nil
	}
	return c.order(ctx, func(run context.Context) error {
		run, cancel := context.WithTimeout(run, c.settings.ResumeTimeout)
		defer cancel()
		changed, err := c.tuner.Tune(run, parameters)
		c.noteTuning()
		if len(changed) > 0 {
			c.tell(tuned, c.whenTaken(changed, c.Status().waiting()))
		}
		c.renewal = c.toRenew()
		return err
	})
}

// toRenew tells whether the engine is to be restarted for its parameters.
func (c *Cluster) toRenew() bool {
	return c.running && c.settings.Changes.Restart && len(c.Status().ParametersWaiting) > 0
}

// whenTaken says of changed parameters when the engine has them.
func (c *Cluster) whenTaken(changed, waiting []string) string {
	if !c.running {
		return strings.Join(changed, ", ") + " at the next start"
	}
	var parts []string
	live := slices.DeleteFunc(slices.Clone(changed), func(name string) bool { return slices.Contains(waiting, name) })
	if len(live) > 0 {
		parts = append(parts, strings.Join(live, ", ")+" at once")
	}
	if len(waiting) > 0 {
		parts = append(parts, strings.Join(waiting, ", ")+" at the next start")
	}
	return strings.Join(parts, "; ")
}

// noteTuning publishes how the engine stands to its parameters, and tells of
// those that it refuses, once.
func (c *Cluster) noteTuning() {
	if c.tuner == nil {
		return
	}
	now, refused := c.tuner.Tuning(), ""
	if now.Refused != nil {
		refused = now.Refused.Error()
	}
	before := c.Status().ParametersRefused
	c.publish(func(s *Status) { s.ParametersWaiting, s.ParametersRefused = now.Waiting, refused })
	if refused != "" && refused != before {
		c.tell(notTuned, refused)
	}
}

// waiting names the parameters that wait for a start.
func (s *Status) waiting() (names []string) {
	for _, change := range s.ParametersWaiting {
		names = append(names, change.Setting)
	}
	return names
}

// renew restarts the engine for the parameters that wait for that, at the same
// size. Without a scaling point they wait on.
func (c *Cluster) renew(ctx context.Context) {
	c.renewal = false
	request := c.complete(Request{Capacity: c.Status().ResumeCapacity})
	c.tell(renewing, strings.Join(c.Status().waiting(), ", "))
	c.publish(func(s *Status) { s.State, s.PausesAt = Scaling, time.Time{} })
	began := time.Now()
	forced, err := c.restart(ctx, ctx, request)
	switch {
	case ctx.Err() != nil: // the proxy stops, and shutdown says so
		return
	case err != nil:
		c.log.Warn("the engine is not restarted: its parameters wait for its next start", "error", why(err))
		c.tell(notRenewed, why(err))
	case forced != nil:
		c.tell(renewed, "this was not seamless: "+why(forced))
	default:
		c.tell(renewed, fmt.Sprintf("after %v", time.Since(began).Round(time.Millisecond)))
	}
	c.write()
}
