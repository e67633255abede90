package main

import (
	"context"
	"runtime/debug"
	"sync"
	"time"

	"serverlessproxy/cluster"
)

// thriftEvery bounds how often memory is given back: a collection costs
// milliseconds, whatever the proxy is doing beside.
const thriftEvery = 10 * time.Second

// thrift gives memory back to the system when a cluster has paused. What the
// logins and the parking of a crowd used would otherwise stay with the proxy,
// since one that sleeps has no reason to collect it.
type thrift struct {
	mu   sync.Mutex // protects last
	last time.Time
}

// follow watches a cluster's states until ctx ends.
func (t *thrift) follow(ctx context.Context, c *cluster.Cluster) {
	before := c.Status().State
	for {
		now := c.Status()
		if now.State == cluster.Paused && before != cluster.Paused {
			t.giveBack()
		}
		before = now.State
		select {
		case <-ctx.Done():
			return
		case <-now.Changed:
		}
	}
}

func (t *thrift) giveBack() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.last) >= thriftEvery {
		debug.FreeOSMemory()
		t.last = time.Now()
	}
}
