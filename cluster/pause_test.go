package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestPausesWhenNobodyIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		first := h.wake()
		time.Sleep(pauseAfter - time.Second)
		h.wantState(Available)
		if left := time.Until(h.Status().PausesAt); left != time.Second {
			t.Errorf("pauses in %v, want 1s", left)
		}
		h.crowd.touch() // begins the clock anew
		active := time.Now()
		time.Sleep(pauseAfter - time.Second)
		h.wantState(Available)
		h.witness.take()
		time.Sleep(time.Second + time.Nanosecond)
		h.wantState(Pausing)
		if h.Status().Backend != (Backend{}) {
			t.Error("a backend is handed out while pausing")
		}
		time.Sleep(h.engine.stopTime)
		h.wantState(Paused)
		status := h.Status()
		if status.Capacity != 0 || status.ResumeCapacity != 2 || status.PausedSince.Sub(active) != pauseAfter+h.engine.stopTime {
			t.Errorf("status %+v", status)
		}
		lines, events := h.witness.take()
		if !slices.Equal(lines, []string{"paused paused"}) || !slices.Equal(events, []string{"RDS-EVENT-0144", "RDS-EVENT-0145"}) {
			t.Errorf("observed %v, events %v", lines, events)
		}
		if again := h.wake(); again.Generation == first.Generation {
			t.Error("another run has the same generation")
		}
		h.close()
	})
}

func TestANewcomerCancelsParking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(h *house) { h.crowd.parkTime = 3 * time.Second })
		before := h.wake()
		time.Sleep(pauseAfter + time.Second)
		h.wantState(Pausing)
		h.witness.take()
		began := time.Now()
		if b := h.wake(); b != before || time.Since(began) != 0 {
			t.Errorf("Wake = %+v after %v, want %+v at once", b, time.Since(began), before)
		}
		h.wantState(Available)
		lines, events := h.witness.take()
		if !slices.Equal(lines, []string{"paused cancelled"}) || !slices.Equal(events, []string{"RDS-EVENT-0146"}) {
			t.Errorf("observed %v, events %v", lines, events)
		}
		if _, stops := h.engine.counts(); stops != 0 {
			t.Error("the engine was stopped")
		}
		h.close()
	})
}

func TestANewcomerDuringTheStopIsServedByTheNextStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(h *house) { h.engine.stopTime = 2 * time.Second })
		h.wake()
		time.Sleep(pauseAfter + time.Second)
		h.wantState(Pausing)
		began := time.Now()
		if b := h.wake(); b.Generation != 2 || time.Since(began) != time.Second+h.engine.startTime {
			t.Errorf("Wake = %+v after %v", b, time.Since(began))
		}
		h.close()
	})
}

func TestHoldoutsKeepItAwake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		holdouts := &Holdouts{[]Holdout{{"s-7", []string{"temporary_object"}}}}
		h := newHouse(t, func(h *house) { h.crowd.parkErr = holdouts })
		b := h.wake()
		h.witness.take()
		time.Sleep(pauseAfter + time.Nanosecond)
		h.wantState(Available)
		if h.Status().Backend != b {
			t.Error("the backend has changed")
		}
		time.Sleep(1 + 2 + 4 + 8 + 16 + 30 + 30*time.Second)
		lines, events := h.witness.take()
		if !slices.Equal(events, []string{"RDS-EVENT-0144", "RDS-EVENT-0146"}) {
			t.Errorf("events %v, want one pair for all the attempts", events)
		}
		if n := len(lines); n < 5 || n > 8 {
			t.Errorf("%d attempts: %v", n, lines)
		}
		if last := h.Events()[len(h.Events())-1]; !strings.Contains(last.Reason, "s-7 [temporary_object]") {
			t.Errorf("reason %q names nobody", last.Reason)
		}
		var named *Holdouts
		if err := h.Pause(context.Background()); !errors.As(err, &named) || named.Sessions[0].Session != "s-7" {
			t.Errorf("Pause = %v", err)
		}
		h.crowd.set(func(o *crowd) { o.parkErr = nil })
		time.Sleep(longestDelay + time.Second)
		h.wantState(Paused)
		h.close()
	})
}

func TestHooksRunAroundTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h *house
		var order []string
		note := func(what string) func(context.Context, Backend) error {
			return func(_ context.Context, b Backend) error {
				if b.Generation == 0 || !h.engine.running {
					t.Errorf("%s without an engine", what)
				}
				order = append(order, what+" "+string(h.Status().State))
				return nil
			}
		}
		h = newHouse(t, func(it *house) {
			h = it
			h.config.Hooks = Hooks{Started: note("started"), Stopping: note("stopping")}
		})
		h.wake()
		if err := h.Pause(context.Background()); err != nil {
			t.Fatal(err)
		}
		h.wake()
		h.close()
		want := []string{"started resuming", "stopping pausing", "started resuming", "stopping pausing"}
		if !slices.Equal(order, want) {
			t.Errorf("order %v, want %v", order, want)
		}
	})
}

func TestWhatCannotBeSavedKeepsItAwake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(h *house) {
			h.config.Hooks.Stopping = func(context.Context, Backend) error { return errors.New("cannot save users") }
		})
		h.wake()
		if err := h.Pause(context.Background()); err == nil || !strings.Contains(err.Error(), "cannot save users") {
			t.Errorf("Pause = %v", err)
		}
		h.wantState(Available)
		if err := h.close(); err != nil || h.engine.running {
			t.Errorf("a stopping proxy: %v, running %v", err, h.engine.running)
		}
	})
}

func TestAnEngineThatDoesNotStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		h.wake()
		h.engine.set(func(e *engine) { e.stopFails = errors.New("it hangs") })
		if err := h.Pause(context.Background()); err == nil || !strings.Contains(err.Error(), "it hangs") {
			t.Errorf("Pause = %v", err)
		}
		h.wantState(Available)
		h.wake()
		if err := h.Stop(context.Background()); err == nil || !strings.Contains(err.Error(), "it hangs") {
			t.Errorf("Stop = %v", err)
		}
		<-h.ran
		// The proxy's next run finds it.
		h.engine.set(func(e *engine) { e.stopFails = nil })
		h.open()
		time.Sleep(h.engine.startTime)
		h.wantState(Available)
		h.close()
	})
}

func TestAServerOfOthersCannotBePaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(h *house) { h.config.Compute = tied{h.engine} })
		time.Sleep(h.engine.startTime)
		h.wantState(Available)
		var cannot *UnpausableError
		if err := h.Pause(context.Background()); !errors.As(err, &cannot) || cannot.Reason != "others run this server" {
			t.Errorf("Pause = %v", err)
		}
		if h.Status().AutoPause {
			t.Error("auto-pause is said to be on")
		}
		time.Sleep(2 * pauseAfter)
		h.wantState(Available)
		h.close()
	})
}

func TestManualPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		if err := h.Pause(context.Background()); err != nil {
			t.Errorf("a paused cluster: %v", err)
		}
		h.wake()
		h.crowd.set(func(o *crowd) { o.parkTime = time.Minute })
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		var holdouts *Holdouts
		if err := h.Pause(ctx); !errors.As(err, &holdouts) {
			t.Errorf("Pause = %v, want who held it up", err)
		}
		h.wantState(Available)
		// A client comes meanwhile.
		result := make(chan error, 1)
		go func() { result <- h.Pause(context.Background()) }()
		time.Sleep(time.Second)
		h.wantState(Pausing)
		h.wake()
		if err := <-result; !errors.Is(err, ErrPauseCanceled) {
			t.Errorf("Pause = %v", err)
		}
		// The operator gives up.
		ctx, cancel = context.WithCancel(context.Background())
		go func() { result <- h.Pause(ctx) }()
		time.Sleep(time.Second)
		h.wantState(Pausing)
		cancel()
		h.wantState(Available)
		if err := <-result; err == nil {
			t.Error("a pause that was given up succeeded")
		}
		// Of a failed cluster.
		h.crowd.set(func(o *crowd) { o.parkTime = 0 })
		if err := h.Pause(context.Background()); err != nil {
			t.Fatal(err)
		}
		h.engine.set(func(e *engine) { e.failing = errors.New("no") })
		h.Resume(context.Background(), Manual)
		h.wantState(Failed)
		if err := h.Pause(context.Background()); err != nil {
			t.Errorf("a failed cluster: %v", err)
		}
		h.wantState(Paused)
		h.close()
	})
}
