package process

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
)

// Adjuster is an optional ability of an Engine: a running server takes settings
// of another size.
type Adjuster interface {
	// Plan says what another size does to the settings of the server that runs
	// at p.
	Plan(p Place, from, to acu.Size) cluster.Steps
	// Adjust gives that server what it can take of a size. What it returns is
	// still to be done: its files are written, and then the signal is sent.
	Adjust(ctx context.Context, p Place, size acu.Size) (Reload, error)
	// Sessions is how many sessions that server has room for, whatever its size
	// has become meanwhile; 0: as many as the size says.
	Sessions(p Place) int
}

// Reload is how a server is told to read its configuration again.
type Reload struct {
	Files   []File
	Signal  syscall.Signal                  // 0: there is nothing to be told
	Confirm func(ctx context.Context) error // whether the server still serves afterwards; nil: it need not be asked
}

// Flusher is an optional ability of an Engine: the server that runs at p writes
// to disk what it would write when it is stopped.
type Flusher interface {
	Flush(ctx context.Context, p Place) error
}

var (
	_ cluster.Planner  = (*Compute)(nil)
	_ cluster.Preparer = (*Compute)(nil)
)

// PrepareStop has the engine write to disk while its clients work.
func (c *Compute) PrepareStop(ctx context.Context) error {
	flusher, ok := c.engine.(Flusher)
	if !ok || c.current == nil || !c.current.alive() {
		return nil
	}
	return flusher.Flush(ctx, c.place)
}

// Plan says what another size does to the engine that runs. One that takes no
// settings while it runs must be started anew.
func (c *Compute) Plan(from, to acu.Size) cluster.Steps {
	if adjuster, ok := c.engine.(Adjuster); ok {
		return adjuster.Plan(c.place, from, to)
	}
	return cluster.Steps{Restart: true}
}

// Resize gives the engine that runs what it can take of another size. It is the
// same backend. Its limits hold neither size up meanwhile: the engine grows into
// the new ones, and has shrunk before they do.
func (c *Compute) Resize(ctx context.Context, size acu.Size) (cluster.Backend, error) {
	if c.current == nil || !c.current.alive() {
		return cluster.Backend{}, errors.New("resize engine: it does not run")
	}
	c.holdAll(amountOf(size).Max(amountOf(c.size)))
	backend, err := c.adjust(ctx, size)
	if err == nil {
		c.size = size
	}
	c.holdAll(amountOf(c.size))
	return backend, err
}

func (c *Compute) adjust(ctx context.Context, size acu.Size) (cluster.Backend, error) {
	adjuster, ok := c.engine.(Adjuster)
	if !ok {
		return cluster.Backend{}, errors.New("resize engine: it takes another size at a start alone")
	}
	reload, err := adjuster.Adjust(ctx, c.place, size)
	if err != nil {
		return cluster.Backend{}, fmt.Errorf("resize engine: %w", err)
	}
	if err := c.hand(reload); err != nil {
		return cluster.Backend{}, fmt.Errorf("resize engine: %w", err)
	}
	return c.backend(), nil
}
