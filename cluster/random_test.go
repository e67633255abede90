package cluster

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var seed = flag.Uint64("seed", 0, "of the random tests; 0: some fixed ones")

// TestRandomLife lets clients, operators, crashes and failing starts come as
// they may, and checks what must hold whatever comes: Compute is called by one
// at a time (the fake says so), every waiter is answered within the limits
// that there are, a backend that is handed out was running, the engine runs
// exactly while the meter counts, and in the end everything rests.
func TestRandomLife(t *testing.T) {
	seeds := []uint64{1, 2, 3, 4}
	if *seed != 0 {
		seeds = []uint64{*seed}
	}
	for _, seed := range seeds {
		synctest.Test(t, func(t *testing.T) { randomLife(t, seed) })
	}
}

func randomLife(t *testing.T, seed uint64) {
	h := newHouse(t, func(h *house) {
		h.config.PauseAfter = 3 * time.Second
		h.config.ResumeTimeout = 2 * time.Second
	})
	end := time.Now().Add(3 * time.Minute)
	var actors sync.WaitGroup
	var answered, refused, vanished atomic.Int64
	act := func(n uint64, do func(r *rand.Rand)) {
		actors.Go(func() {
			r := rand.New(rand.NewPCG(seed, n))
			for time.Now().Before(end) {
				do(r)
			}
		})
	}
	upTo := func(r *rand.Rand, most time.Duration) time.Duration { return time.Duration(r.Int64N(int64(most))) }

	for i := range uint64(20) {
		act(i, func(r *rand.Rand) { // a client
			time.Sleep(upTo(r, 20*time.Second))
			patience := upTo(r, 40*time.Second)
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			began := time.Now()
			b, err := h.Wake(ctx, OnQuery)
			took := time.Since(began)
			var resume *ResumeError
			switch {
			case err == nil:
				answered.Add(1)
				if b.Generation == 0 {
					t.Errorf("seed %d: an empty backend", seed)
				}
				h.crowd.touch()
			case errors.As(err, &resume):
				refused.Add(1)
				if resume.Reason == "" {
					t.Errorf("seed %d: refused without a reason", seed)
				}
			case errors.Is(err, context.DeadlineExceeded):
				vanished.Add(1)
				if took != patience {
					t.Errorf("seed %d: it had %v and left after %v", seed, patience, took)
				}
			default:
				t.Errorf("seed %d: Wake = %v", seed, err)
			}
		})
	}
	act(100, func(r *rand.Rand) { // an operator
		time.Sleep(upTo(r, 15*time.Second))
		ctx, cancel := context.WithTimeout(context.Background(), upTo(r, 10*time.Second))
		defer cancel()
		if r.IntN(2) == 0 {
			h.Pause(ctx)
			return
		}
		h.Resume(ctx, Manual)
	})
	act(101, func(r *rand.Rand) { // crashes
		time.Sleep(upTo(r, 25*time.Second))
		h.engine.die()
	})
	act(102, func(r *rand.Rand) { // good times and bad
		time.Sleep(upTo(r, 5*time.Second))
		h.engine.set(func(e *engine) {
			e.startTime, e.stopTime = upTo(r, 2500*time.Millisecond), upTo(r, time.Second)
			e.failing = nil
			if r.IntN(3) == 0 {
				e.failing = errors.New("not now")
			}
		})
		h.crowd.set(func(o *crowd) {
			o.anyone = r.IntN(2) == 0
			o.parkTime, o.parkErr = upTo(r, time.Second), nil
			if r.IntN(3) == 0 {
				o.parkErr = &Holdouts{}
			}
		})
	})
	act(103, func(r *rand.Rand) { // a reload
		time.Sleep(upTo(r, 30*time.Second))
		settings := h.config.Settings
		settings.AutoPause = r.IntN(4) > 0
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := h.Configure(ctx, settings); err != nil {
			t.Errorf("seed %d: Configure = %v", seed, err)
		}
	})
	act(104, func(r *rand.Rand) { // whoever looks
		time.Sleep(upTo(r, 100*time.Millisecond))
		s := h.Status()
		if s.State != Available && s.Backend != (Backend{}) {
			t.Errorf("seed %d: %s with a backend", seed, s.State)
		}
		if (s.Capacity != 0) != (s.State == Available || s.State == Pausing) {
			t.Errorf("seed %d: %s at %d ACU", seed, s.State, s.Capacity)
		}
		if s.State == Paused && !s.meter.since.IsZero() {
			t.Errorf("seed %d: the meter runs while paused", seed)
		}
	})
	actors.Wait()

	// Quiet now, and in order: it sleeps, as soon as the bad times end.
	h.engine.set(func(e *engine) { e.failing, e.startTime, e.stopTime = nil, 0, 0 })
	h.crowd.set(func(o *crowd) { o.parkErr, o.parkTime = nil, 0 })
	settings := h.config.Settings
	if err := h.Configure(context.Background(), settings); err != nil {
		t.Error(err)
	}
	h.wake()
	time.Sleep(h.config.PauseAfter + longestDelay + time.Minute)
	h.wantState(Paused)
	if waiting, _, _ := h.lobby.present(); waiting != 0 {
		t.Errorf("seed %d: %d still wait", seed, waiting)
	}
	if err := h.close(); err != nil {
		t.Error(err)
	}
	if answered.Load() == 0 || refused.Load() == 0 || vanished.Load() == 0 {
		t.Errorf("seed %d: %d answered, %d refused, %d vanished: too tame", seed, answered.Load(), refused.Load(), vanished.Load())
	}
}
