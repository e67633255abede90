package cluster

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestScaleRestartsAtAScalingPoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		before := h.wake()
		if err := h.Scale(context.Background(), Request{Capacity: 8}); err != nil {
			t.Fatal(err)
		}
		after := h.wake()
		if s := h.Status(); s.Capacity != 8 || s.TargetCapacity != 8 || s.State != Available {
			t.Errorf("status %+v", s)
		}
		if after.Generation == before.Generation {
			t.Error("the engine was not restarted")
		}
		if sizes := h.engine.sizes; sizes[len(sizes)-1].Capacity != 8 {
			t.Errorf("started at %v", sizes)
		}
		h.close()
	})
}

func TestScaleOfAPausedClusterResumesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		if err := h.Scale(context.Background(), Request{Capacity: 4}); err != nil {
			t.Fatal(err)
		}
		if s := h.Status(); s.Capacity != 4 || s.State != Available {
			t.Errorf("status %+v", s)
		}
		h.close()
	})
}

func TestScaleGivesUpAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		before := h.wake()
		h.crowd.set(func(o *crowd) { o.parkErr = &Holdouts{[]Holdout{{"s-7", []string{"transaction"}}}} })
		h.witness.take()
		began := time.Now()
		err := h.Scale(context.Background(), Request{Capacity: 8, Timeout: 20 * time.Second})
		var holdouts *Holdouts
		if !errors.As(err, &holdouts) || holdouts.Sessions[0].Session != "s-7" {
			t.Errorf("Scale = %v", err)
		}
		if took := time.Since(began); took != 20*time.Second {
			t.Errorf("it took %v", took)
		}
		if s := h.Status(); s.Capacity != 2 || s.TargetCapacity != 2 || s.State != Available || s.Backend != before {
			t.Errorf("status %+v", s)
		}
		if _, events := h.witness.take(); !slices.Equal(events, []string{"RDS-EVENT-0141", "RDS-EVENT-0143"}) {
			t.Errorf("events %v", events)
		}
		h.close()
	})
}

func TestScaleRefusesWhatIsNoCapacity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		var refused *CapacityError
		if err := h.Scale(context.Background(), Request{Capacity: 32}); !errors.As(err, &refused) {
			t.Errorf("Scale = %v", err)
		}
		h.wantState(Paused)
		h.close()
	})
}
