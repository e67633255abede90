package pool

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"serverlessproxy/cluster"
)

// TestNobodyGivesUpABackendBeforeEverybodyCan: the outcomes of one look for a
// scaling point, by what the slowest session does.
func TestNobodyGivesUpABackendBeforeEverybodyCan(t *testing.T) {
	after := func(wait time.Duration, end error) func(context.Context) error {
		return func(ctx context.Context) error {
			select {
			case <-time.After(wait):
				return end
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	pinned := &Pinned{[]string{"cursor"}}
	for _, tt := range []struct {
		name    string
		phase   Phase
		park    func(context.Context) error
		leaves  bool
		parked  bool
		heldFor string        // the slow one's reasons
		took    time.Duration // of the whole look
		idleFor time.Duration // how long the idle ones were held
	}{
		{"comes in time", Active, after(300*time.Millisecond, nil), false, true, "", 300 * time.Millisecond, 300 * time.Millisecond},
		{"is at work for longer", Active, after(time.Hour, nil), false, false, "[active]", time.Second, time.Second},
		{"is in a transaction", InTransaction, after(time.Hour, nil), false, false, "[transaction]", time.Second, time.Second},
		{"is pinned", Idle, after(0, pinned), false, false, "[cursor]", 0, 0},
		{"is pinned later", Active, after(200*time.Millisecond, pinned), false, false, "[cursor]", 200 * time.Millisecond, 200 * time.Millisecond},
		{"leaves", Active, after(200*time.Millisecond, errors.New("gone")), true, true, "", 200 * time.Millisecond, 200 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRoom(t, Limits{Ceiling: small(100)})
				r.waker.set(cluster.Available, one)
				var held time.Duration
				var idle []*guest
				for range 40 { // more than are parked at once otherwise
					idle = append(idle, r.settle())
				}
				began := time.Now()
				idle[0].park = func(context.Context) error {
					defer func() { held = time.Since(began) }()
					return idle[0].seat.Ready()
				}
				slow := r.settle()
				slow.seat.Set(tt.phase)
				slow.park = func(ctx context.Context) error {
					err := tt.park(ctx)
					if tt.leaves {
						slow.seat.Leave()
					}
					return err
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				err := r.ParkTogether(ctx)
				if took := time.Since(began); took != tt.took || held != tt.idleFor {
					t.Errorf("it took %v, and the idle were held for %v", took, held)
				}
				if (err == nil) != tt.parked {
					t.Errorf("ParkTogether = %v", err)
				}
				var holdouts *cluster.Holdouts
				if errors.As(err, &holdouts) && (len(holdouts.Sessions) != 1 || fmt.Sprint(holdouts.Sessions[0].Reasons) != tt.heldFor) {
					t.Errorf("holdouts %v", holdouts.Sessions)
				}
				for _, g := range idle {
					if parked := g.seat.Phase() == Parked; parked != tt.parked {
						t.Fatalf("%s parked: %v", g.seat.ID(), parked)
					}
				}
				if n := r.Backends(); (n == 0) != tt.parked {
					t.Errorf("%d backends", n)
				}
			})
		})
	}
}

// TestWhoComesTooLateKeepsTheBackend: at the very end of a look, too.
func TestWhoComesTooLateKeepsTheBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, Limits{})
		r.waker.set(cluster.Available, one)
		late := r.settle()
		late.park = func(context.Context) error { time.Sleep(2 * time.Second); return nil }
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var holdouts *cluster.Holdouts
		if err := r.ParkTogether(ctx); !errors.As(err, &holdouts) || late.seat.Phase() == Parked {
			t.Errorf("ParkTogether = %v, phase %v", err, late.seat.Phase())
		}
		late.park = nil
		if err := r.ParkTogether(context.Background()); err != nil || late.seat.Phase() != Parked {
			t.Errorf("the next look: %v, phase %v", err, late.seat.Phase())
		}
	})
}

func TestAnEmptyClusterIsAtAScalingPoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, Limits{})
		told := false
		r.AfterParking(func(context.Context) { told = true })
		if err := r.ParkTogether(context.Background()); err != nil || !told {
			t.Errorf("ParkTogether = %v, told %v", err, told)
		}
	})
}
