package cluster

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

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
		h.wantState(Resuming) // the copy of its users may be old
		if got, want := h.ACUSeconds(), 2*60.1; got < want-2*writeEvery.Seconds() || got > want {
			t.Errorf("%v ACU-seconds, want %v or a little less", got, want)
		}
		time.Sleep(h.engine.startTime + 2*pauseAfter)
		h.wantState(Paused)
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
