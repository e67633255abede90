package cluster

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"serverlessproxy/acu"
)

// TestConvert makes a paused cluster one of a fixed size, which holds over a
// reload and a restart of the proxy, until it is undone.
func TestConvert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, engine := busyHouse(t)
		h.wantState(Paused)
		if err := h.Convert(t.Context(), 8); err != nil {
			t.Fatal(err)
		}
		fixed := func() {
			t.Helper()
			h.wantState(Available)
			h.wantCapacity(8)
			if s := h.Status(); s.Fixed != 8 || s.Min != 8 || s.Max != 8 || s.AutoPause {
				t.Errorf("status %+v", s)
			}
		}
		fixed()
		engine.use(1.9) // of 2 cores
		time.Sleep(40 * time.Minute)
		fixed()
		if err := h.Configure(t.Context(), h.config.Settings); err != nil {
			t.Fatal(err)
		}
		fixed()
		h.close()
		h.open()
		time.Sleep(time.Second)
		fixed()

		if err := h.Convert(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2*sampleEvery + time.Second)
		h.wantCapacity(16)
		if s := h.Status(); s.Fixed != 0 || s.Min != 2 || s.Max != 16 || !s.AutoPause {
			t.Errorf("undone: %+v", s)
		}
		h.close()
	})
}

// TestConvertARunningCluster changes its capacity, or nothing at all.
func TestConvertARunningCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := busyHouse(t)
		h.wake()
		h.wantCapacity(2)
		var none *CapacityError
		if err := h.Convert(t.Context(), 3); !errors.As(err, &none) {
			t.Errorf("to 3 ACU: %v", err)
		}
		h.crowd.set(func(o *crowd) { o.parkErr = &Holdouts{[]Holdout{{"s-1", []string{"transaction"}}}} })
		var holdouts *Holdouts
		if err := h.Convert(t.Context(), 4); !errors.As(err, &holdouts) {
			t.Errorf("with a transaction open: %v", err)
		}
		h.wantCapacity(2)
		if s := h.Status(); s.Fixed != 0 || s.Min != 2 || s.Max != 16 || !s.AutoPause || s.TargetCapacity != 2 {
			t.Errorf("given up: %+v", s)
		}
		h.crowd.set(func(o *crowd) { o.parkErr = nil })
		if err := h.Convert(t.Context(), 4); err != nil {
			t.Error(err)
		}
		h.wantCapacity(4)
		h.close()
	})
}

func TestFixedSettings(t *testing.T) {
	configured := Settings{Min: 2, Max: 16, AutoPause: true, Autoscale: true, PauseAfter: time.Hour}
	want := Settings{Min: 4, Max: 4, PauseAfter: time.Hour}
	if got := configured.fixedAt(4); got != want {
		t.Errorf("fixed: %+v", got)
	}
	if got := configured.fixedAt(acu.Capacity(0)); got != configured {
		t.Errorf("not fixed: %+v", got)
	}
}
