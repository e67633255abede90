package cluster

import (
	"context"
	"errors"
	"time"
)

const (
	defaultScaleTimeout = 300 * time.Second
	preparing           = 10 * time.Second      // at most, before the first look; clients work meanwhile
	scalingWindow       = 50 * time.Millisecond // first look for a scaling point; it doubles
	longestWindow       = time.Second           // …up to here: new transactions wait no longer
	openFor             = 5                     // times as long the doors are open until the next look
)

// scalingPoint has every session give up its backend. Where none is found in
// time and the request says so, who holds it up is ended, and returned.
func (c *Cluster) scalingPoint(ctx context.Context, request Request) (forced *Holdouts, err error) {
	err = c.lookForScalingPoint(ctx, request.Timeout)
	outOfTime := errors.As(err, new(*Holdouts)) && ctx.Err() == nil
	if !outOfTime || request.Action != ForceChange {
		return nil, err
	}
	return c.forceScalingPoint(ctx)
}

// lookForScalingPoint looks in short windows, with the doors open between
// them, so that a long transaction of one session starves nobody else: nobody
// gives up a backend before everybody can, and who waits at a safe point does
// so for a sixth of the time at most.
func (c *Cluster) lookForScalingPoint(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	backend := c.Status().Backend
	for window := scalingWindow; ; window = min(2*window, longestWindow) {
		c.publish(func(s *Status) { s.Backend = Backend{} })
		err := within(ctx, window, c.occupants.ParkTogether)
		if err == nil {
			return nil
		}
		c.occupants.Resettle(c.Status().ResumeCapacity)
		c.publish(func(s *Status) { s.Backend = backend })
		select {
		case <-time.After(openFor * window):
		case <-c.exited:
			return ErrScalingEnded
		case <-ctx.Done():
			return err
		}
	}
}

// forceScalingPoint keeps the doors shut and ends whoever does not get to a
// safe point in one more window.
func (c *Cluster) forceScalingPoint(ctx context.Context) (forced *Holdouts, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.parkTimeout)
	defer cancel()
	c.publish(func(s *Status) { s.Backend = Backend{} })
	for {
		err := within(ctx, longestWindow, c.occupants.Park)
		var held *Holdouts
		if err == nil || !errors.As(err, &held) || ctx.Err() != nil {
			return forced, err
		}
		c.log.Warn("sessions are ended by a forced change of capacity", "sessions", why(held))
		c.occupants.Evict(held.names())
		forced = forced.with(held)
	}
}

func within(ctx context.Context, window time.Duration, park func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, window)
	defer cancel()
	return park(ctx)
}

func (h *Holdouts) names() (names []string) {
	for _, holdout := range h.Sessions {
		names = append(names, holdout.Session)
	}
	return names
}

// with adds those of others that are not in h yet, which may be nil.
func (h *Holdouts) with(others *Holdouts) *Holdouts {
	all, known := &Holdouts{}, map[string]bool{}
	for _, list := range []*Holdouts{h, others} {
		if list == nil {
			continue
		}
		for _, holdout := range list.Sessions {
			if !known[holdout.Session] {
				known[holdout.Session] = true
				all.Sessions = append(all.Sessions, holdout)
			}
		}
	}
	return all
}
