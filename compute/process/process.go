package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"time"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
	"serverlessproxy/compute/process/limits"
)

var (
	// ErrNoData: there is no data directory where one was expected.
	ErrNoData = errors.New("no data directory")
	// ErrForeign: a server that is not ours uses the data directory.
	ErrForeign = errors.New("the data directory is in use")
	// ErrEnded: the engine ended before it answered.
	ErrEnded = errors.New("the engine ended before it answered")
)

const (
	firstLook = 2 * time.Millisecond // between two looks whether the engine answers…
	lastLook  = 20 * time.Millisecond
	oneLook   = 5 * time.Second // for one answer

	defaultStop = 45 * time.Second // for a clean stop
	hardStop    = 5 * time.Second  // for each step of a hard one
)

// Config is what a Compute is made of.
type Config struct {
	Name        string
	Engine      Engine
	Place       Place
	Log         *slog.Logger
	StopTimeout time.Duration // for a clean stop, before the hard one; 0: 45 s
	Environment []string      // for the engine, such as TZ=…
	Limits      *limits.Group // what holds the engine to its size; nil: nothing
	LogLimit    int64         // bytes of the engine's log; two older ones of this size are kept; 0: 16 MiB
}

// Compute runs one cluster's engine. It is a cluster.Compute, Watcher and
// Adopter; the cluster's goroutine alone calls it.
type Compute struct {
	engine      Engine
	place       Place
	log         *slog.Logger
	stopTimeout time.Duration
	environment []string
	logLimit    int64
	limits      *limits.Group // nil: none

	heldBy     string    // what the log was last told of limits
	size       acu.Size  // of current
	current    *instance // nil before the first start and after a stop
	generation uint64
	looked     look // at what the engine uses
	tuning     tuning
}

var (
	_ cluster.Compute = (*Compute)(nil)
	_ cluster.Watcher = (*Compute)(nil)
	_ cluster.Adopter = (*Compute)(nil)
	_ cluster.Sampler = (*Compute)(nil)
)

// New is a Compute for the engine at a place. It touches nothing.
func New(cfg Config) *Compute {
	c := &Compute{
		engine: cfg.Engine, place: cfg.Place, log: cfg.Log.With("cluster", cfg.Name),
		stopTimeout: cfg.StopTimeout, environment: cfg.Environment, logLimit: cfg.LogLimit, limits: cfg.Limits,
	}
	if c.stopTimeout <= 0 {
		c.stopTimeout = defaultStop
	}
	if c.logLimit <= 0 {
		c.logLimit = defaultLog
	}
	return c
}

// Start adopts the engine that runs, or starts one, and returns when it
// answers. An error leaves nothing running that this proxy has started.
func (c *Compute) Start(ctx context.Context, size acu.Size) (cluster.Backend, error) {
	if c.current != nil && c.current.alive() {
		return c.backend(), nil
	}
	began := time.Now()
	c.settle()
	c.recallParameters()
	engine, err := c.adopt(ctx)
	if err != nil {
		return cluster.Backend{}, fmt.Errorf("adopt engine: %w", err)
	}
	adopted := engine != nil
	if adopted {
		err = c.await(ctx, engine)
	}
	if !adopted || errors.Is(err, ErrEnded) {
		adopted = false
		engine, err = c.beginTuned(ctx, size)
	}
	if err != nil {
		return cluster.Backend{}, err
	}
	c.current, c.size = engine, size
	c.holdAll(amountOf(size))
	if adopted {
		c.found(ctx)
	}
	c.generation++
	c.log.Info("the engine runs", "process", engine.pid, "adopted", adopted, "took", time.Since(began).Round(time.Millisecond))
	return c.backend(), nil
}

// begin launches an engine and waits until it answers.
func (c *Compute) begin(ctx context.Context, size acu.Size) (*instance, error) {
	c.beforeStart(size)
	engine, err := c.launch(size)
	if err == nil {
		c.beforeStart(size, engine.pid)
		err = c.await(ctx, engine)
	}
	if err != nil {
		c.release()
	}
	return engine, err
}

func (c *Compute) backend() cluster.Backend {
	network, address := c.engine.Address(c.place)
	backend := cluster.Backend{Network: network, Address: address, Generation: c.generation}
	if adjuster, ok := c.engine.(Adjuster); ok {
		backend.Sessions = adjuster.Sessions(c.place)
	}
	return backend
}

// await returns when the engine answers a query. Otherwise the engine is gone
// when it returns.
func (c *Compute) await(ctx context.Context, engine *instance) error {
	err := c.answers(ctx, engine)
	if err == nil {
		return nil
	}
	// The log is read before the stop adds its own lines.
	tail := engine.log.tail()
	if haltErr := c.halt(engine); haltErr != nil {
		err = errors.Join(err, haltErr)
	}
	if tail == "" {
		return err
	}
	return fmt.Errorf("%w; its log (%s/%s) ends:%s", err, c.place.Data, logName, tail)
}

// answers asks until the engine answers, ends, or ctx does.
func (c *Compute) answers(ctx context.Context, engine *instance) error {
	network, address := c.engine.Address(c.place)
	announcer, announces := c.engine.(Announcer)
	var last error
	for wait := firstLook; ; wait = min(wait+wait/4, lastLook) {
		if !announces || announcer.Announced(c.place, engine.pid) {
			if last = c.ask(ctx, network, address); last == nil && engine.alive() {
				return nil
			}
		}
		if engine.gone(ctx, wait) {
			return fmt.Errorf("%w: it %s", ErrEnded, engine.why)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("wait for the engine: it runs but does not answer yet (a long recovery needs a longer resume_timeout): %w", errors.Join(ctx.Err(), last))
		}
	}
}

func (c *Compute) ask(ctx context.Context, network, address string) error {
	ctx, cancel := context.WithTimeout(ctx, oneLook)
	defer cancel()
	return c.engine.Ready(ctx, network, address)
}

// Stop stops the engine cleanly, one that an earlier run of the proxy started
// too, and returns when its last process is gone. One that does not stop in
// time is ended hard, which its next start recovers from.
func (c *Compute) Stop(ctx context.Context) error {
	engine, err := c.running(ctx)
	if err != nil {
		return fmt.Errorf("stop engine: %w", err)
	}
	if engine == nil {
		c.settle()
		defer c.release()
		return c.sweep()
	}
	c.current = engine
	began := time.Now()
	engine.asked.Store(true)
	c.letRecover(ctx, engine)
	if err := engine.signal(c.engine.StopSignal()); err != nil {
		return err
	}
	if !engine.gone(ctx, c.stopTimeout) {
		c.log.Warn("the engine does not stop cleanly in time and is ended hard; its next start recovers it", "process", engine.pid, "waited", time.Since(began).Round(time.Millisecond))
		if err := c.end(engine); err != nil {
			return err
		}
	}
	c.settle()
	c.release()
	removeRecord(c.place)
	c.log.Info("the engine has stopped", "process", engine.pid, "how", engine.why, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// letRecover waits until the engine answers, for a third of the time that a
// stop may take. One that has crashed in a part of itself may be recovering
// just then, and PostgreSQL 15, told to stop before it is done with that, waits
// for a process of its own that nobody tells to end.
func (c *Compute) letRecover(ctx context.Context, engine *instance) {
	ctx, cancel := context.WithTimeout(ctx, c.stopTimeout/3)
	defer cancel()
	network, address := c.engine.Address(c.place)
	for c.ask(ctx, network, address) != nil && ctx.Err() == nil {
		if engine.gone(ctx, lastLook) {
			return
		}
	}
}

// running is the engine to stop, nil if there is none.
func (c *Compute) running(ctx context.Context) (*instance, error) {
	if c.current != nil && c.current.alive() {
		return c.current, nil
	}
	return c.adopt(ctx)
}

// halt ends an engine that could not be used: cleanly within a short time, or
// hard.
func (c *Compute) halt(engine *instance) error {
	engine.asked.Store(true)
	if err := engine.signal(c.engine.StopSignal()); err != nil {
		return err
	}
	if !engine.gone(context.Background(), hardStop) {
		if err := c.end(engine); err != nil {
			return err
		}
	}
	engine.attend.Wait()
	return nil
}

// end ends an engine by force: first as a server is told that there is no time
// for a clean stop, then as any process is.
func (c *Compute) end(engine *instance) error {
	for _, s := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL} {
		if err := engine.signal(s); err != nil {
			return err
		}
		if engine.gone(context.Background(), hardStop) {
			return c.sweep()
		}
	}
	return fmt.Errorf("end engine: process %d does not end even by SIGKILL: it waits for the disk, most likely", engine.pid)
}

// settle lets go of an engine that has ended.
func (c *Compute) settle() {
	if c.current == nil {
		return
	}
	c.current.attend.Wait()
	c.current = nil
}

// Exited is closed when the engine that the last Start returned ends unasked.
func (c *Compute) Exited() <-chan struct{} {
	if c.current == nil {
		return nil
	}
	return c.current.lost
}

// ExitReason is how that engine ended, in words; "" while it runs.
func (c *Compute) ExitReason() string {
	if c.current == nil || c.current.alive() {
		return ""
	}
	return c.current.why
}

// Running tells whether an engine of an earlier run is still there.
func (c *Compute) Running(ctx context.Context) (bool, error) {
	p, err := c.find(ctx)
	return p.pid != 0, err
}
