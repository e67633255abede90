package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"serverlessproxy/acu"
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

func TestScaleForcesWhoHoldsItUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		h.wake()
		h.crowd.set(func(o *crowd) { o.parkErr = &Holdouts{[]Holdout{{"s-7", []string{"transaction"}}}} })
		h.witness.take()
		if err := h.Scale(context.Background(), Request{Capacity: 8, Timeout: 20 * time.Second, Action: ForceChange}); err != nil {
			t.Fatal(err)
		}
		if s := h.Status(); s.Capacity != 8 || s.State != Available {
			t.Errorf("status %+v", s)
		}
		if !slices.Equal(h.crowd.evicted, []string{"s-7"}) {
			t.Errorf("evicted %v", h.crowd.evicted)
		}
		lines, events := h.witness.take()
		if !slices.Equal(events, []string{"RDS-EVENT-0141", "RDS-EVENT-0149"}) || !slices.Equal(lines, []string{"scaled restart forced"}) {
			t.Errorf("events %v, lines %v", events, lines)
		}
		if last := h.Events()[len(h.Events())-1]; !strings.Contains(last.Reason, "s-7 [transaction]") {
			t.Errorf("the event does not name who was ended: %q", last.Reason)
		}
		h.close()
	})
}

// TestScaleGoesBackToASizeThatRuns: an engine that does not start at the new
// size is started at the old one, and nobody who waits is told anything.
func TestScaleGoesBackToASizeThatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		h.wake()
		h.engine.set(func(e *engine) { e.tooLarge = 8 })
		err := h.Scale(context.Background(), Request{Capacity: 8})
		if err == nil || !strings.Contains(err.Error(), "did not start at 8 ACU") {
			t.Errorf("Scale = %v", err)
		}
		if s := h.Status(); s.Capacity != 2 || s.TargetCapacity != 2 || s.State != Available || s.LastError != "" {
			t.Errorf("status %+v", s)
		}
		h.close()
	})
}

// thorough prepares a stop.
type thorough struct {
	*engine
	backend func() Backend // of the status
	with    []Backend      // was there when it was asked to prepare
	err     error
}

func (e *thorough) PrepareStop(context.Context) error {
	e.with = append(e.with, e.backend())
	return e.err
}

// TestAStopIsPrepared: before clients wait, and whether that succeeds or not.
func TestAStopIsPrepared(t *testing.T) {
	for _, err := range []error{nil, errors.New("the disk is full")} {
		synctest.Test(t, func(t *testing.T) {
			compute := &thorough{err: err}
			h := newHouse(t, func(h *house) {
				compute.engine = h.engine
				h.config.Compute = compute
			})
			compute.backend = func() Backend { return h.Status().Backend }
			before := h.wake()
			if err := h.Scale(context.Background(), Request{Capacity: 8}); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(compute.with, []Backend{before}) {
				t.Errorf("prepared with %v", compute.with)
			}
			h.close()
		})
	}
}

func TestScaleShowsItsState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		h.wake()
		done := make(chan error, 1)
		go func() { done <- h.Scale(context.Background(), Request{Capacity: 8}) }()
		for range 100 {
			time.Sleep(time.Millisecond)
			s := h.Status()
			if s.Capacity == 8 {
				break
			}
			if s.State != Scaling || s.TargetCapacity != 8 {
				t.Fatalf("status %+v", s)
			}
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		h.close()
	})
}

func TestScaleInPlace(t *testing.T) {
	for _, tt := range []struct {
		name    string
		restart bool  // asked for by the settings
		needs   bool  // the size does
		fails   error // of Resize
		want    string
	}{
		{"in place", false, false, nil, "scaled inplace done"},
		{"always by a restart", true, false, nil, "scaled restart done"},
		{"needs a restart", false, true, nil, "scaled restart done"},
		{"finds out that it needs one", false, false, fmt.Errorf("exit status 3: %w", ErrNeedsRestart), "scaled restart done"},
		{"fails", false, false, errors.New("no"), "scaled inplace failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t, func(h *house) {
					h.config.Compute = &elastic{h.engine, tt.needs, tt.fails}
					h.config.Settings.Changes.Restart = tt.restart
				})
				before := h.wake()
				h.witness.take()
				failed := strings.Contains(tt.want, "failed")
				if err := h.Scale(context.Background(), Request{Capacity: 8}); (err != nil) != failed {
					t.Fatal(err)
				}
				if lines, _ := h.witness.take(); !slices.Equal(lines, []string{tt.want}) {
					t.Errorf("lines %v, want %q", lines, tt.want)
				}
				same := h.wake().Generation == before.Generation
				if same != strings.Contains(tt.want, "inplace") {
					t.Errorf("the same engine: %v", same)
				}
				want := acu.Capacity(8)
				if failed {
					want = 2
				}
				if s := h.Status(); s.Capacity != want || s.TargetCapacity != want || s.State != Available {
					t.Errorf("status %+v", s)
				}
				h.close()
			})
		})
	}
}

func TestPlanChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(h *house) { h.config.Compute = &elastic{h.engine, true, nil} })
		h.wake()
		plan, err := h.Plan(context.Background(), 8)
		if err != nil || plan.From != 2 || plan.To != 8 || plan.Mode != ByRestart || len(plan.AtStart) != 2 || len(plan.Live) != 0 {
			t.Errorf("%+v, %v", plan, err)
		}
		if s := h.Status(); s.Capacity != 2 || s.State != Available {
			t.Errorf("status %+v", s)
		}
		var refused *CapacityError
		if _, err := h.Plan(context.Background(), 32); !errors.As(err, &refused) {
			t.Errorf("Plan = %v", err)
		}
		h.close()
	})
}
