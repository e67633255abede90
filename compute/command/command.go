// Package command is cluster.Compute for a server that the operator's own
// commands start, stop and resize: a unit file, a container, a virtual machine.
//
// It owns those commands: when each is run, what it is told, how long it may
// take, what its exit code means and where its output is kept. How the server
// is reached and watched is compute/fixed's; it never knows which kind of
// server it is. It takes no lock; the cluster's goroutine alone calls it, and
// the watch of compute/fixed asks by it whether the server still runs.
package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
	"serverlessproxy/compute/fixed"
)

const (
	askEvery  = time.Second           // a server that is up
	firstLook = 20 * time.Millisecond // between two looks whether a server is gone…
	lastLook  = 500 * time.Millisecond
	cleanup   = 10 * time.Second // for the stop after a failed start, at least
)

// errStopped: the status command says so.
var errStopped = errors.New("its status command says that it is stopped (exit code 3)")

// Commands are the operator's own, each a program and its arguments. Resize
// and Status may be empty.
type Commands struct{ Start, Stop, Resize, Status []string }

// Config is what a Compute is made of.
type Config struct {
	Commands    Commands
	Limit       time.Duration // for each command
	Dir         string        // where they run and command.log is kept
	Environment []string      // theirs, besides what Env says of each run
	Name        string        // of the cluster
	Engine      string
	// Server is how the server is reached. What it says of asking is completed.
	Server fixed.Config
	Log    *slog.Logger
}

// Compute is a server that commands start and stop.
type Compute struct {
	commands Commands
	runner   runner
	server   *fixed.Compute
	address  string
	log      *slog.Logger
}

var (
	_ cluster.Compute = (*Compute)(nil)
	_ cluster.Watcher = (*Compute)(nil)
	_ cluster.Adopter = (*Compute)(nil)
	_ cluster.Planner = (*Compute)(nil)
)

// New is a Compute. Nothing is run yet.
func New(config Config) *Compute {
	c := &Compute{commands: config.Commands, address: config.Server.Address, log: config.Log}
	c.runner = runner{
		dir: config.Dir, limit: config.Limit,
		environment: append(config.Environment[:len(config.Environment):len(config.Environment)],
			"SERVERLESSPROXY_CLUSTER="+config.Name, "SERVERLESSPROXY_ENGINE="+config.Engine, "SERVERLESSPROXY_ADDRESS="+c.address),
	}
	server := config.Server
	server.Log, server.Every = config.Log, askEvery
	server.Ping = c.asking(server.Ping)
	server.Ended = func(err error) bool { return errors.Is(err, errStopped) }
	c.server = fixed.New(server)
	return c
}

// asking completes a Ping: one that fails asks the status command, too, so
// that a server which has ended is not waited for.
func (c *Compute) asking(ping fixed.Ping) fixed.Ping {
	return func(ctx context.Context) error {
		c.runner.keepShort()
		err := ping(ctx)
		if err == nil || len(c.commands.Status) == 0 {
			return err
		}
		if runs, told := c.status(ctx); told == nil && !runs {
			return fmt.Errorf("%w: %w", errStopped, err)
		}
		return err
	}
}

// Start has the server started, unless it runs already, and returns when it
// answers. After an error it is stopped again.
func (c *Compute) Start(ctx context.Context, size acu.Size) (cluster.Backend, error) {
	running, err := c.Running(ctx)
	if err != nil {
		return cluster.Backend{}, err
	}
	if running {
		c.log.Info("the server runs already: its start command is not needed", "address", c.address)
	} else if err = c.runner.run(ctx, order{action: "start", program: c.commands.Start, size: size}); err != nil {
		return cluster.Backend{}, errors.Join(err, c.undo(ctx))
	}
	backend, err := c.server.Start(ctx, size)
	if err != nil {
		err = fmt.Errorf("the start command is done, but %w%s", err, c.runner.ending())
		return cluster.Backend{}, errors.Join(err, c.undo(ctx))
	}
	return backend, nil
}

// undo stops what a failed start may have left. That it can't is said only
// where something is left.
func (c *Compute) undo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(c.runner.limit, cleanup))
	defer cancel()
	return c.Stop(ctx)
}

// Stop has the server stopped and returns when it is gone.
func (c *Compute) Stop(ctx context.Context) error {
	if err := c.server.Stop(ctx); err != nil {
		return err
	}
	failed := c.runner.run(ctx, order{action: "stop", program: c.commands.Stop})
	ctx, cancel := context.WithTimeout(ctx, c.runner.limit)
	defer cancel()
	for wait := firstLook; ; wait = min(2*wait, lastLook) {
		running, err := c.Running(ctx)
		switch {
		case err == nil && !running:
			if failed != nil {
				c.log.Warn("the stop command failed, but the server is gone", "error", failed)
			}
			return nil
		case failed != nil:
			return failed
		}
		if !fixed.Sleep(ctx, wait) {
			return errors.Join(fmt.Errorf("the stop command is done, but the server at %s still runs", c.address), err)
		}
	}
}

// Exited is closed when the server of the present generation is gone.
func (c *Compute) Exited() <-chan struct{} { return c.server.Exited() }

// ExitReason is why that server counts as gone; "" while it does not.
func (c *Compute) ExitReason() string { return c.server.ExitReason() }

// Running tells whether the server is there: by the status command, else by
// whether anybody takes connections at its address.
func (c *Compute) Running(ctx context.Context) (bool, error) {
	if len(c.commands.Status) == 0 {
		return c.server.Listens(ctx), nil
	}
	return c.status(ctx)
}

// status asks the status command. An error: it could not tell.
func (c *Compute) status(ctx context.Context) (runs bool, err error) {
	err = c.runner.run(ctx, order{action: "status", program: c.commands.Status})
	if saysNo(err) {
		return false, nil
	}
	return err == nil, err
}
