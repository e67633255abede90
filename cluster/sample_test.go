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

// meteredEngine is an engine that uses what it is told to.
type meteredEngine struct {
	*engine

	mu    sync.Mutex // protects following
	usage Usage
	err   error
	looks int
}

func (e *meteredEngine) Sample(context.Context) (Usage, bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.looks++
	return e.usage, true, e.err
}

func (e *meteredEngine) use(cores float64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.usage = Usage{CPU: cores}
}

// busyHouse is a house whose engine is measured, and which scales.
func busyHouse(t *testing.T) (*house, *meteredEngine) {
	t.Helper()
	var measured *meteredEngine
	h := newHouse(t, func(h *house) {
		measured = &meteredEngine{engine: h.engine}
		h.config.Compute = measured
		h.config.Table = func() acu.Table { return acu.MySQL }
		h.config.Legal = acu.MySQL.Check
		h.config.PauseAfter = 30 * time.Minute
		h.config.Autoscale, h.config.AfterUp, h.config.AfterDown = true, 15*time.Minute, 310*time.Second
		h.config.Changes.Restart = true
	})
	return h, measured
}

func (h *house) wantCapacity(want acu.Capacity) {
	h.t.Helper()
	synctest.Wait()
	if got := h.Status().Capacity; got != want {
		h.t.Fatalf("capacity is %d ACU, want %d", got, want)
	}
}

// TestAutoscaleRestartsNobodyUnasked: where a size needs a restart and the
// configuration does not ask for one, the load alone makes none.
func TestAutoscaleRestartsNobodyUnasked(t *testing.T) {
	c := &Cluster{running: true}
	if c.follows(2, 4) {
		t.Error("an engine that must be restarted for it follows its load")
	}
	c.settings.Changes.Restart = true
	if !c.follows(2, 4) || c.follows(4, 4) {
		t.Error("method: restart does not follow the load")
	}
	c.settings.Changes.Restart, c.cannotPause = false, "others run it"
	if !c.follows(2, 4) {
		t.Error("a server that is told its size does not follow the load")
	}
}

// TestAutoscale has a cluster climb under load and come down after it, at the
// times that the cool-downs say.
func TestAutoscale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, engine := busyHouse(t)
		h.wake()
		engine.use(0.45) // of 0.5 cores
		time.Sleep(2*sampleEvery + time.Second)
		h.wantCapacity(4)
		engine.use(2.9) // more than 8 ACU's
		time.Sleep(2*sampleEvery + time.Second)
		h.wantCapacity(16)

		raised := time.Now()
		engine.use(0.1)
		time.Sleep(14 * time.Minute)
		h.wantCapacity(16)
		time.Sleep(time.Minute + 2*sampleEvery)
		h.wantCapacity(8)
		time.Sleep(4*time.Minute + 40*time.Second)
		h.wantCapacity(8)
		time.Sleep(30 * time.Second)
		h.wantCapacity(4)
		t.Logf("at 4 ACU %v after the last increase", time.Since(raised))

		var scaled []string
		for _, e := range h.Events() {
			if e.ID == "RDS-EVENT-0141" {
				scaled = append(scaled, e.Message+" "+e.Reason)
			}
		}
		if len(scaled) != 4 || !strings.Contains(scaled[0], "CPU at 90 %") {
			t.Errorf("told of %q", scaled)
		}
		h.close()
	})
}

// TestCooldownsSurvive has the proxy start anew between an increase and the
// end of its cool-down.
func TestCooldownsSurvive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, engine := busyHouse(t)
		h.wake()
		engine.use(0.45)
		time.Sleep(2*sampleEvery + time.Second)
		h.wantCapacity(4)
		engine.use(0)
		time.Sleep(time.Minute)
		h.close()
		h.open()
		h.wake()
		h.wantCapacity(4)
		time.Sleep(10 * time.Minute)
		h.wantCapacity(4)
		time.Sleep(5 * time.Minute)
		h.wantCapacity(2)
		h.close()
	})
}

// TestFailedChangeIsNotTriedAtOnce: each try may have clients wait.
func TestFailedChangeIsNotTriedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, engine := busyHouse(t)
		h.wake()
		h.crowd.set(func(o *crowd) { o.parkErr = &Holdouts{[]Holdout{{"s-1", []string{"transaction"}}}} })
		engine.use(0.45)
		time.Sleep(defaultScaleTimeout + 2*retryScaling/3)
		h.wantCapacity(2)
		ids := func() (n int) {
			return len(slices.DeleteFunc(h.Events(), func(e Event) bool { return e.ID != "RDS-EVENT-0143" }))
		}
		if ids() != 1 {
			t.Errorf("%d changes failed", ids())
		}
		h.crowd.set(func(o *crowd) { o.parkErr = nil })
		time.Sleep(retryScaling)
		h.wantCapacity(4)
		h.close()
	})
}

// TestUnmeasured: an engine that cannot be measured is not made smaller.
func TestUnmeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, engine := busyHouse(t)
		h.wake()
		engine.use(0.45)
		time.Sleep(2*sampleEvery + time.Second)
		h.wantCapacity(4)
		if m := h.Measured(); m.CPU < 0.44 || m.CPU > 0.46 || m.Freeable != 8<<30 {
			t.Errorf("measured %+v", m)
		}
		engine.mu.Lock()
		engine.err = errors.New("no /proc")
		engine.mu.Unlock()
		time.Sleep(20 * time.Minute)
		h.wantCapacity(4)
		if m := h.Measured(); m != (Measured{}) {
			t.Errorf("measured %+v", m)
		}
		h.close()
	})
}
