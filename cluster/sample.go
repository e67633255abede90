package cluster

import (
	"context"
	"sync/atomic"
	"time"

	"serverlessproxy/acu"
)

// sampleEvery is how often the load is measured, and over how long.
const sampleEvery = 5 * time.Second

// Usage is what an engine was measured to use since the last look.
type Usage struct {
	CPU         float64 // cores, on average
	Memory      int64   // bytes that it cannot free
	Kept        int64   // of these, bytes that it keeps until its next start, whatever size it is given
	MemoryLimit int64   // bytes that it may use; 0: what its size stands for
}

// Sampler is an optional ability of a Compute: what the engine used since the
// last Sample. The cluster's goroutine alone calls it. ok is false where there
// is nothing to compare with yet.
type Sampler interface {
	Sample(ctx context.Context) (usage Usage, ok bool, err error)
}

// Crowd is an optional ability of Occupants: how many sessions are in.
type Crowd interface {
	Seated() int
}

// sampling is when a cluster's load was measured, and what came of it.
type sampling struct {
	sampler Sampler // nil where compute has no such ability
	last    atomic.Pointer[Measured]
	next    time.Time
	failed  bool      // the last look; said once
	retry   time.Time // a change that failed is not tried again before
}

// Measured is how busy an engine is, for those who look from above.
type Measured struct {
	CPU      float64 // share of what its size stands for
	Freeable int64   // bytes of its memory that it does not need
}

// Measured is the latest; zero while nothing is known or no engine runs.
func (c *Cluster) Measured() Measured {
	last := c.sampling.last.Load()
	if last == nil || !c.Status().serves() {
		return Measured{}
	}
	return *last
}

// look measures the load if it is time, and takes the capacity that it asks
// for.
func (c *Cluster) look(ctx context.Context, now time.Time) {
	status := c.Status()
	if status.State != Available || now.Before(c.sampling.next) {
		return
	}
	c.sampling.next = now.Add(sampleEvery)
	load := c.load(ctx, status.Capacity)
	if !c.settings.Autoscale || c.table == nil || now.Before(c.sampling.retry) {
		return
	}
	past := c.past
	past.Capacity = status.Capacity
	if decision := Decide(now, load, c.limits(), past); c.follows(status.Capacity, decision.Capacity) {
		c.rescale(ctx, decision)
	}
}

// follows tells whether a capacity that the load asks for is taken. Nobody is
// there to judge whether a restart is worth it now, so one is made only where
// the configuration asks for it (method: restart).
func (c *Cluster) follows(from, to acu.Capacity) bool {
	return from != to && (c.settings.Changes.Restart || c.inPlace(from, to))
}

// load is what the cluster carries now.
func (c *Cluster) load(ctx context.Context, capacity acu.Capacity) Load {
	load := Load{}
	if crowd, ok := c.occupants.(Crowd); ok {
		load.Sessions = crowd.Seated()
	}
	usage, size := c.measure(ctx), c.size(capacity)
	if usage == nil || size.CPU <= 0 || size.Memory <= 0 {
		c.sampling.last.Store(nil)
		return load
	}
	if usage.MemoryLimit == 0 {
		usage.MemoryLimit = size.Memory
	}
	load.Measured = true
	load.CPU = usage.CPU / size.CPU
	load.Memory = float64(usage.Memory) / float64(usage.MemoryLimit)
	load.Kept = float64(usage.Kept) / float64(usage.MemoryLimit)
	c.sampling.last.Store(&Measured{CPU: load.CPU, Freeable: max(usage.MemoryLimit-usage.Memory, 0)})
	return load
}

// measure is nil where nothing can be told.
func (c *Cluster) measure(ctx context.Context) *Usage {
	if c.sampling.sampler == nil {
		return nil
	}
	usage, ok, err := c.sampling.sampler.Sample(ctx)
	if err != nil && !c.sampling.failed {
		c.log.Warn("the engine's load cannot be measured; its capacity follows its sessions alone", "error", err)
	}
	c.sampling.failed = err != nil
	if err != nil || !ok {
		return nil
	}
	return &usage
}

func (c *Cluster) limits() Limits {
	return Limits{Table: c.table(), Min: c.settings.Min, Max: c.settings.Max,
		AfterUp: c.settings.AfterUp, AfterDown: c.settings.AfterDown}
}

// rescale takes the capacity that a load asks for. One that could not be taken
// is not tried again at once, since each try may have clients wait.
func (c *Cluster) rescale(ctx context.Context, decision Decision) {
	request := Request{Capacity: decision.Capacity, Reason: decision.Reason}
	if err := c.scale(ctx, ctx, request); err != nil && ctx.Err() == nil {
		c.sampling.retry = time.Now().Add(retryScaling)
		c.log.Warn("the capacity does not follow the load", "capacity", decision.Capacity, "error", err, "retry_in", retryScaling)
	}
}

// retryScaling is how long after an automatic change that failed the next may
// begin.
const retryScaling = time.Minute

// note remembers a change of capacity for the cool-downs.
func (c *Cluster) note(from, to acu.Capacity) {
	c.past.Capacity = from
	c.past = c.past.changed(time.Now(), to)
}
