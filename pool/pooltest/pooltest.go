// Package pooltest is a cluster without an engine, for the tests of those who
// need a pool: it serves what it is told to, and counts who wakes it.
package pooltest

import (
	"context"
	"sync"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
	"serverlessproxy/pool"
)

// Cluster is a pool.Waker.
type Cluster struct {
	mu     sync.Mutex // protects following
	status *cluster.Status
	change chan struct{}
	woken  int
}

// Asleep is a cluster that sleeps.
func Asleep() *Cluster {
	c := &Cluster{change: make(chan struct{})}
	c.Sleep()
	return c
}

// New is a pool with a ceiling of 100, and the cluster under it, which serves a
// backend at address.
func New(network, address string) (*pool.Pool, *Cluster) {
	c := Asleep()
	c.Serve(cluster.Backend{Network: network, Address: address, Generation: 1})
	return pool.New(pool.Config{Cluster: "test", Waker: c, Limits: Limits(100)}), c
}

// Limits admit n sessions and have no queue.
func Limits(n int) pool.Limits {
	return pool.Limits{Ceiling: func(acu.Capacity) int { return n }}
}

// Serve makes b what Wake returns.
func (c *Cluster) Serve(b cluster.Backend) { c.set(cluster.Available, b) }

// Sleep makes Wake wait for the next Serve.
func (c *Cluster) Sleep() { c.set(cluster.Paused, cluster.Backend{}) }

func (c *Cluster) set(state cluster.State, b cluster.Backend) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.change)
	c.change = make(chan struct{})
	c.status = &cluster.Status{State: state, Backend: b, Changed: c.change}
}

// Status is never nil.
func (c *Cluster) Status() *cluster.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// Wake waits for Serve.
func (c *Cluster) Wake(ctx context.Context, _ cluster.Trigger) (cluster.Backend, error) {
	c.mu.Lock()
	c.woken++
	c.mu.Unlock()
	for {
		status := c.Status()
		if status.State == cluster.Available {
			return status.Backend, nil
		}
		select {
		case <-status.Changed:
		case <-ctx.Done():
			return cluster.Backend{}, context.Cause(ctx)
		}
	}
}

// Woken is how often Wake was called; nobody calls it while the cluster serves.
func (c *Cluster) Woken() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.woken
}
