package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"serverlessproxy/acu"
)

func TestAThousandWaitersAreOneResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		var waiters sync.WaitGroup
		began := time.Now()
		for i := range 1000 {
			waiters.Go(func() {
				time.Sleep(time.Duration(i) * 50 * time.Microsecond)
				b, err := h.Wake(context.Background(), OnConnect)
				if err != nil || b.Generation != 1 {
					t.Errorf("Wake = %+v, %v", b, err)
				}
				if took := time.Since(began); took != h.engine.startTime {
					t.Errorf("answered after %v", took)
				}
			})
		}
		waiters.Wait()
		lines, events := h.witness.take()
		if want := []string{"resumed connect 100ms <nil>"}; !slices.Equal(lines, want) {
			t.Errorf("observed %v, want %v", lines, want)
		}
		if want := []string{"RDS-EVENT-0147", "RDS-EVENT-0148"}; !slices.Equal(events, want) {
			t.Errorf("events %v, want %v", events, want)
		}
		status := h.Status()
		if status.State != Available || status.Capacity != 2 || !status.PausedSince.IsZero() {
			t.Errorf("status %+v", status)
		}
		if want := acu.MySQL.Size(2, acu.DefaultUnit, 5); !slices.Equal(h.engine.sizes, []acu.Size{want}) {
			t.Errorf("started at %+v", h.engine.sizes)
		}
		if !slices.Equal(h.crowd.settled, []acu.Capacity{2}) || len(h.crowd.woken) != 1 {
			t.Errorf("the sessions were told of %v and %v", h.crowd.settled, h.crowd.woken)
		}
		h.close()
	})
}

func TestVanishedWaitersLeaveAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(h *house) { h.engine.startTime = 5 * time.Second })
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		began := time.Now()
		if _, err := h.Wake(ctx, OnConnect); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("Wake = %v after %v", err, time.Since(began))
		}
		h.close()
	})
}

func TestAFailedResumeIsToldToEveryWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(h *house) { h.engine.failing = errors.New("disk full") })
		var waiters sync.WaitGroup
		for range 100 {
			waiters.Go(func() {
				_, err := h.Wake(context.Background(), OnQuery)
				var resume *ResumeError
				if !errors.As(err, &resume) || resume.Reason != "disk full" {
					t.Errorf("Wake = %v", err)
				}
			})
		}
		waiters.Wait()
		h.wantState(Failed)
		if starts, _ := h.engine.counts(); starts != 1 {
			t.Errorf("%d starts", starts)
		}
		if h.Status().LastError != "disk full" {
			t.Errorf("last error %q", h.Status().LastError)
		}

		// Who comes next waits until the next attempt may be made.
		for _, delay := range []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second} {
			began := time.Now()
			if _, err := h.Wake(context.Background(), OnConnect); err == nil {
				t.Fatal("it resumed")
			}
			if took := time.Since(began); took != delay+h.engine.startTime {
				t.Errorf("answered after %v, want %v", took, delay+h.engine.startTime)
			}
		}
		// Nobody waits: nothing is tried.
		time.Sleep(time.Hour)
		if starts, _ := h.engine.counts(); starts != 4 {
			t.Errorf("%d starts", starts)
		}
		if err := h.Resume(context.Background(), Manual); err == nil {
			t.Fatal("it resumed")
		}
		// An operator does not wait.
		h.engine.set(func(e *engine) { e.failing = nil })
		began := time.Now()
		if err := h.Resume(context.Background(), Manual); err != nil || time.Since(began) != h.engine.startTime {
			t.Errorf("Resume = %v after %v", err, time.Since(began))
		}
		if h.Status().LastError != "" {
			t.Errorf("last error %q", h.Status().LastError)
		}
		h.close()
	})
}

func TestResumeTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(h *house) { h.engine.startTime = time.Hour })
		began := time.Now()
		_, err := h.Wake(context.Background(), OnConnect)
		if err == nil || !strings.Contains(err.Error(), "within 10s") || time.Since(began) != 10*time.Second {
			t.Errorf("Wake = %v after %v", err, time.Since(began))
		}
		h.close()
	})
}

func TestAnEngineThatCannotBePreparedIsStopped(t *testing.T) {
	for name, spoil := range map[string]func(*house){
		"Started": func(h *house) {
			h.config.Hooks.Started = func(context.Context, Backend) error { return errors.New("no greeting") }
		},
		"Waking": func(h *house) { h.crowd.wakeErr = errors.New("no hub") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t, spoil)
				if _, err := h.Wake(context.Background(), OnConnect); err == nil || !strings.Contains(err.Error(), ": no ") {
					t.Errorf("Wake = %v", err)
				}
				h.wantState(Failed)
				if _, stops := h.engine.counts(); stops != 1 || h.engine.running {
					t.Errorf("%d stops, running %v", stops, h.engine.running)
				}
				h.close()
			})
		})
	}
}

func TestACrashUnderSomebody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(h *house) { h.crowd.anyone = true })
		h.wake()
		time.Sleep(time.Minute)
		h.witness.take()
		h.engine.die()
		time.Sleep(h.engine.startTime)
		h.wantState(Available)
		if h.Status().Backend.Generation != 2 || !slices.Equal(h.crowd.lost, []uint64{1}) {
			t.Errorf("backend %+v, lost %v", h.Status().Backend, h.crowd.lost)
		}
		lines, events := h.witness.take()
		if !slices.Equal(lines, []string{"resumed crash 100ms <nil>"}) ||
			!slices.Equal(events, []string{engineEnded.message, "RDS-EVENT-0147", "RDS-EVENT-0148"}) {
			t.Errorf("observed %v, events %v", lines, events)
		}
		// It dies again and again: each time a little later.
		for _, delay := range []time.Duration{0, 250 * time.Millisecond, 500 * time.Millisecond} {
			if delay == 0 {
				time.Sleep(steadyAfter) // the first crash is forgotten
			}
			h.engine.die()
			synctest.Wait()
			began := time.Now()
			h.wake()
			if took := time.Since(began); took != delay+h.engine.startTime {
				t.Errorf("back after %v, want %v", took, delay+h.engine.startTime)
			}
		}
		h.close()
	})
}

// TestACrashUnderNobody: it is started all the same, since the copy of its
// users may be old, and paused when nobody comes.
func TestACrashUnderNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		h.wake()
		time.Sleep(time.Minute)
		h.engine.die()
		time.Sleep(h.engine.startTime)
		h.wantState(Available)
		if starts, _ := h.engine.counts(); starts != 2 {
			t.Errorf("%d starts", starts)
		}
		time.Sleep(2 * pauseAfter)
		h.wantState(Paused)
		h.wake()
		h.close()
	})
}

func TestWithoutAutoPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(h *house) { h.config.AutoPause = false })
		time.Sleep(h.engine.startTime)
		h.wantState(Available)
		lines, _ := h.witness.take()
		if !slices.Equal(lines, []string{"resumed start 100ms <nil>"}) {
			t.Errorf("observed %v", lines)
		}
		time.Sleep(4 * pauseAfter)
		h.wantState(Available)
		if !h.Status().PausesAt.IsZero() {
			t.Error("a pause is announced")
		}
		if err := h.Pause(context.Background()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		h.wantState(Paused) // as the operator wanted it
		h.close()
	})
}

func TestAlwaysOnKeepsTrying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(h *house) {
			h.config.AutoPause = false
			h.engine.failing = errors.New("connection refused")
		})
		time.Sleep(10 * time.Minute)
		h.wantState(Failed)
		h.engine.set(func(e *engine) { e.failing = nil })
		time.Sleep(longestDelay + time.Second)
		h.wantState(Available)
		h.close()
	})
}
