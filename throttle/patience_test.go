package throttle

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestPatience: each message has its time, all together have six times that.
func TestPatience(t *testing.T) {
	late := errors.New("late")
	for name, c := range map[string]struct {
		pauses []time.Duration
		alive  time.Duration // how long the context lives
	}{
		"says nothing":              {nil, 10 * time.Second},
		"answers in time":           {[]time.Duration{9 * time.Second, 9 * time.Second}, 28 * time.Second},
		"answers one byte too slow": {[]time.Duration{11 * time.Second}, 10 * time.Second},
		"talks for ever":            {[]time.Duration{9e9, 9e9, 9e9, 9e9, 9e9, 9e9, 9e9, 9e9, 9e9}, 60 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				ctx, p, stop := Patient(context.Background(), 10*time.Second, late)
				defer stop()
				go func() {
					for _, pause := range c.pauses {
						time.Sleep(pause)
						p.Heard()
					}
				}()
				<-ctx.Done()
				if got := time.Since(begin); got != c.alive || context.Cause(ctx) != late {
					t.Errorf("ended after %v with %v, want %v", got, context.Cause(ctx), c.alive)
				}
				time.Sleep(100 * time.Second)
			})
		})
	}
}

// TestPatienceStops: a login that has ended is not overdue.
func TestPatienceStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, p, stop := Patient(context.Background(), time.Second, errors.New("late"))
		stop()
		p.Heard()
		time.Sleep(time.Minute)
		if context.Cause(ctx) != context.Canceled {
			t.Error(context.Cause(ctx))
		}
	})
}
