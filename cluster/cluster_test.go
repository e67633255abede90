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

func TestACrashUnderNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		h.wake()
		time.Sleep(time.Minute)
		h.engine.die()
		h.wantState(Paused)
		if h.Status().LastError == "" {
			t.Error("nothing is said of it")
		}
		if starts, _ := h.engine.counts(); starts != 1 {
			t.Errorf("%d starts", starts)
		}
		if got := h.ACUSeconds(); got != 2*60.1 {
			t.Errorf("%v ACU-seconds", got)
		}
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
		time.Sleep(2 * time.Hour)
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
		time.Sleep(time.Hour)
		h.wantState(Failed)
		h.engine.set(func(e *engine) { e.failing = nil })
		time.Sleep(longestDelay + time.Second)
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

func TestConfigure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		settings := h.config.Settings
		settings.Min, settings.PauseAfter = 8, time.Minute
		if err := h.Configure(context.Background(), settings); err != nil {
			t.Fatal(err)
		}
		h.wantState(Paused)
		if s := h.Status(); s.ResumeCapacity != 8 || s.Min != 8 || h.crowd.settled[0] != 8 {
			t.Errorf("status %+v, settled %v", s, h.crowd.settled)
		}
		h.wake()
		settings.Min, settings.Max = 2, 4
		h.Configure(context.Background(), settings)
		if s := h.Status(); s.Capacity != 8 || s.ResumeCapacity != 8 || s.TargetCapacity != 4 {
			t.Errorf("a running cluster: %+v", s)
		}
		time.Sleep(time.Minute + time.Second)
		h.wantState(Paused)
		if s := h.Status(); s.ResumeCapacity != 4 {
			t.Errorf("paused: %+v", s)
		}
		settings.AutoPause = false
		if err := h.Configure(context.Background(), settings); err != nil {
			t.Fatal(err)
		}
		h.wantState(Available)
		if s := h.Status(); s.Capacity != 4 || s.AutoPause {
			t.Errorf("auto-pause off: %+v", s)
		}
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

func TestStopGivesAStartUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(h *house) { h.engine.startTime = 5 * time.Second })
		result := make(chan error, 1)
		go func() {
			_, err := h.Wake(context.Background(), OnConnect)
			result <- err
		}()
		time.Sleep(time.Second)
		began := time.Now()
		if err := h.close(); err != nil || time.Since(began) != 0 {
			t.Errorf("Run = %v after %v", err, time.Since(began))
		}
		var resume *ResumeError
		if err := <-result; !errors.As(err, &resume) {
			t.Errorf("Wake = %v", err)
		}
		h.wantState(Paused)
		if _, err := h.Wake(context.Background(), OnConnect); !errors.As(err, &resume) {
			t.Errorf("Wake of a stopped cluster = %v", err)
		}
		if err := h.Pause(context.Background()); !errors.Is(err, ErrEnded) {
			t.Errorf("Pause of a stopped cluster = %v", err)
		}
		if err := h.Stop(context.Background()); err != nil {
			t.Errorf("Stop of a stopped cluster = %v", err)
		}
	})
}

func TestStopBeforeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		h.close()
		c, err := New(h.config)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := c.Stop(context.Background()); err != nil {
				t.Errorf("Stop = %v", err)
			}
		}
		if err := c.Run(context.Background(), h.crowd); !errors.Is(err, ErrEnded) {
			t.Errorf("Run = %v", err)
		}
		if _, err := c.Wake(context.Background(), OnConnect); err == nil {
			t.Error("it woke")
		}
	})
}

func TestACleanRestartFindsItPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(h *house) { h.config.Min = 4 })
		h.wake()
		time.Sleep(time.Minute)
		h.close()
		used := 4 * (60 + 0.1 + 0.05)
		stopped := time.Now()
		time.Sleep(time.Hour)
		h.config.Min = 2
		h.open()
		h.wantState(Paused)
		s := h.Status()
		if s.ResumeCapacity != 4 || !s.PausedSince.Equal(stopped) {
			t.Errorf("status %+v, want paused since %v at 4 ACU", s, stopped)
		}
		if got := h.ACUSeconds(); !near(got, used) {
			t.Errorf("%v ACU-seconds, want %v", got, used)
		}
		h.close()
	})
}

func TestAKilledProxyFindsItsEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		h.wake()
		time.Sleep(time.Minute)
		active := time.Now()
		h.crowd.touch()
		time.Sleep(30*time.Second + 500*time.Millisecond)
		h.kill()
		h.crowd.set(func(o *crowd) { o.active = time.Time{} })
		time.Sleep(time.Minute)
		h.witness.take()
		h.open()
		time.Sleep(h.engine.startTime)
		h.wantState(Available)
		if lines, events := h.witness.take(); len(lines) != 0 || !slices.Equal(events, []string{adopted.message}) {
			t.Errorf("observed %v, events %v: an adoption is no resume", lines, events)
		}
		if got := h.Status().Backend.Generation; got != 1 {
			t.Errorf("generation %d", got)
		}
		// The pausing clock went on meanwhile, and so did the meter.
		time.Sleep(pauseAfter - time.Since(active) - time.Second)
		h.wantState(Available)
		time.Sleep(2 * time.Second)
		h.wantState(Paused)
		want := 2 * (60.1 + pauseAfter.Seconds() + 0.05)
		if got := h.ACUSeconds(); got < want-2 || got > want+2 { // exact to 1 s at 2 ACU
			t.Errorf("%v ACU-seconds, want %v", got, want)
		}
		h.close()
	})
}

func TestAKilledProxyAndEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		h.wake()
		time.Sleep(time.Minute)
		h.kill()
		h.engine.die()
		time.Sleep(time.Hour)
		h.open()
		h.wantState(Paused)
		if got, want := h.ACUSeconds(), 2*60.1; got < want-2*writeEvery.Seconds() || got > want {
			t.Errorf("%v ACU-seconds, want %v or a little less", got, want)
		}
		if since := h.Status().PausedSince; time.Since(since) != 0 {
			t.Errorf("paused since %v", since)
		}
		h.close()
	})
}

func TestUnwantedContextsEndRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		h.close()
		c, err := New(h.config)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ran := make(chan error, 1)
		go func() { ran <- c.Run(ctx, h.crowd) }()
		if _, err := c.Wake(context.Background(), OnConnect); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-ran; err != nil || h.engine.running {
			t.Errorf("Run = %v, engine running %v", err, h.engine.running)
		}
	})
}

func near(a, b float64) bool { return a-b < 1e-6 && b-a < 1e-6 }
