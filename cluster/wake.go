package cluster

import "context"

// Wake asks for the cluster to be available, waits for it, and returns its
// backend. It fails when ctx ends, or with a *ResumeError when the attempt
// that it waited for failed. Between a failed attempt and the next there is a
// pause, which grows with each: a Wake waits for it to pass.
func (c *Cluster) Wake(ctx context.Context, trigger Trigger) (Backend, error) {
	if status := c.Status(); status.serves() {
		return status.Backend, nil
	}
	epoch := c.lobby.enter(trigger)
	defer c.lobby.leave(epoch)
	return c.wait(ctx, epoch)
}

// Resume is Wake for an operator: it does not wait for the next attempt's
// time, and it wants to know only whether the cluster is available.
func (c *Cluster) Resume(ctx context.Context, trigger Trigger) error {
	if c.Status().serves() {
		return nil
	}
	epoch := c.lobby.enter(trigger)
	defer c.lobby.leave(epoch)
	c.lobby.hurry()
	_, err := c.wait(ctx, epoch)
	return err
}

// wait watches the Status until it serves, or until an attempt later than
// epoch has failed.
func (c *Cluster) wait(ctx context.Context, epoch uint64) (Backend, error) {
	for {
		status := c.Status()
		switch {
		case status.over:
			return Backend{}, &ResumeError{proxyStops}
		case status.serves():
			return status.Backend, nil
		case status.epoch > epoch:
			return Backend{}, &ResumeError{status.LastError}
		}
		select {
		case <-status.Changed:
		case <-ctx.Done():
			return Backend{}, context.Cause(ctx)
		}
	}
}

func (s *Status) serves() bool { return s.Backend != Backend{} && !s.over }
