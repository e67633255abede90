package command

import (
	"context"
	"fmt"
	"strings"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
)

// Plan says what the commands will be told of another size. Whether the resize
// command can do it in place is known only once it has been run.
func (c *Compute) Plan(from, to acu.Size) cluster.Steps {
	if len(c.commands.Resize) == 0 {
		return cluster.Steps{AtStart: toldAnew(from, to), Restart: true}
	}
	return cluster.Steps{Live: toldAnew(from, to)}
}

// toldAnew are the variables in which two sizes differ.
func toldAnew(from, to acu.Size) (changes []cluster.SettingChange) {
	before := variables(from)
	for i, after := range variables(to) {
		name, value, _ := strings.Cut(after, "=")
		if _, old, _ := strings.Cut(before[i], "="); old != value {
			changes = append(changes, cluster.SettingChange{Setting: name, From: old, To: value})
		}
	}
	return changes
}

// Resize has the size changed in place by the resize command. Where there is
// none, or it says that it cannot (exit code 3), a restart is needed.
func (c *Compute) Resize(ctx context.Context, size acu.Size) (cluster.Backend, error) {
	if len(c.commands.Resize) == 0 {
		return cluster.Backend{}, cluster.ErrNeedsRestart
	}
	err := c.runner.run(ctx, order{action: "resize", program: c.commands.Resize, size: size})
	if saysNo(err) {
		c.log.Info("the resize command asks for a restart", "capacity", size.Capacity)
		return cluster.Backend{}, fmt.Errorf("%w: %w", cluster.ErrNeedsRestart, err)
	}
	if err != nil {
		return cluster.Backend{}, err
	}
	return c.server.Reached()
}
