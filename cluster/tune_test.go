package cluster

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"serverlessproxy/acu"
)

// tunedEngine is an engine that takes parameters: one that begins with "start"
// at its next start, one that is "bad" never, and with one that is "fatal" it
// does not start.
type tunedEngine struct {
	*engine
	has, wanted map[string]string
	refused     error
}

func (e *tunedEngine) Tune(_ context.Context, parameters map[string]string) (changed []string, err error) {
	if _, bad := parameters["bad"]; bad {
		e.refused = errors.New("bad is bad")
		return nil, e.refused
	}
	e.refused = nil
	for name, value := range parameters {
		if e.wanted[name] != value {
			changed = append(changed, name)
		}
		if !strings.HasPrefix(name, "start") && name != "fatal" && e.running {
			e.has[name] = value
		}
	}
	e.wanted = parameters
	slices.Sort(changed)
	return changed, nil
}

func (e *tunedEngine) Tuning() Tuning {
	t := Tuning{Refused: e.refused}
	for name, value := range e.wanted {
		if e.running && e.has[name] != value {
			t.Waiting = append(t.Waiting, SettingChange{Setting: name, To: value})
		}
	}
	return t
}

func (e *tunedEngine) Start(ctx context.Context, size acu.Size) (Backend, error) {
	if e.running { // it is adopted
		return e.engine.Start(ctx, size)
	}
	if _, fatal := e.wanted["fatal"]; fatal {
		e.refused = errors.New("the engine did not start with them: fatal")
		e.wanted = maps.Clone(e.has)
	}
	e.has = maps.Clone(e.wanted)
	return e.engine.Start(ctx, size)
}

func tunedHouse(t *testing.T, restart string) (*house, *tunedEngine) {
	e := &tunedEngine{has: map[string]string{}, wanted: map[string]string{}}
	h := newHouse(t, func(h *house) {
		e.engine = h.engine
		h.config.Compute = e
		h.config.Settings.Changes.Restart = restart == "restart"
	})
	return h, e
}

// TestTune: what becomes of parameters, told and shown, by how they are to be
// taken and what they are.
func TestTune(t *testing.T) {
	const pausedAt, inside, restarts = "paused", "auto", "restart"
	for _, tt := range []struct {
		name, how  string
		parameters map[string]string
		events     []string
		waiting    []string
		refused    string
		starts     int
	}{
		{"nothing new", inside, nil, nil, nil, "", 1},
		{"taken at once", inside, map[string]string{"a": "1"}, []string{tuned.message + " a at once"}, nil, "", 1},
		{"some wait", inside, map[string]string{"a": "1", "start": "2"}, []string{tuned.message + " a at once; start at the next start"}, []string{"start"}, "", 1},
		{"refused", inside, map[string]string{"a": "1", "bad": "2"}, []string{notTuned.message + " bad is bad"}, nil, "bad is bad", 1},
		{"paused", pausedAt, map[string]string{"a": "1", "start": "2"}, []string{tuned.message + " a, start at the next start"}, nil, "", 0},
		{"a restart", restarts, map[string]string{"start": "2"}, []string{tuned.message + " start at the next start", renewing.message + " start", renewed.message + " after 150ms"}, nil, "", 2},
		{"no restart needed", restarts, map[string]string{"a": "2"}, []string{tuned.message + " a at once"}, nil, "", 1},
		{"a restart in vain", restarts, map[string]string{"fatal": "2"}, []string{
			tuned.message + " fatal at the next start", renewing.message + " fatal",
			notTuned.message + " the engine did not start with them: fatal", renewed.message + " after 150ms",
		}, nil, "the engine did not start with them: fatal", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, _ := tunedHouse(t, tt.how)
				if tt.how != pausedAt {
					h.wake()
					synctest.Wait() // until that is told
				}
				known := len(h.Events())
				err := h.Tune(context.Background(), tt.parameters)
				if _, bad := tt.parameters["bad"]; (err != nil) != bad {
					t.Errorf("Tune = %v", err)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				var told []string
				for _, event := range h.Events()[known:] {
					told = append(told, event.Message+" "+event.Reason)
				}
				if !slices.Equal(told, tt.events) {
					t.Errorf("events %q, want %q", told, tt.events)
				}
				s := h.Status()
				if !slices.Equal(s.waiting(), tt.waiting) || s.ParametersRefused != tt.refused {
					t.Errorf("status: waiting %v, refused %q", s.waiting(), s.ParametersRefused)
				}
				if starts, _ := h.engine.counts(); starts != tt.starts {
					t.Errorf("%d starts, want %d", starts, tt.starts)
				}
				h.close()
			})
		})
	}
}

// TestTuneWaits: what waits for a start is in a plan, is told once where it is
// refused again and again, and is done with by a pause.
func TestTuneWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := tunedHouse(t, "auto")
		h.wake()
		for range 3 {
			if err := h.Tune(context.Background(), map[string]string{"bad": "1"}); err == nil {
				t.Error("a bad value is taken")
			}
		}
		refusals := 0
		for _, event := range h.Events() {
			if event.Message == notTuned.message {
				refusals++
			}
		}
		if refusals != 1 {
			t.Errorf("told %d times", refusals)
		}
		if err := h.Tune(context.Background(), map[string]string{"start": "1"}); err != nil {
			t.Fatal(err)
		}
		plan, err := h.Plan(context.Background(), 2)
		if err != nil || len(plan.AtStart) != 1 || plan.AtStart[0].Setting != "start" {
			t.Errorf("plan %+v, %v", plan, err)
		}
		if err := h.Pause(context.Background()); err != nil {
			t.Fatal(err)
		}
		h.wake()
		if waiting := h.Status().waiting(); waiting != nil {
			t.Errorf("after a pause %v wait", waiting)
		}
		h.close()
	})
}

// TestTuneGivesUp: a session that holds the restart up keeps its backend, and
// the parameters wait.
func TestTuneGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := tunedHouse(t, "restart")
		before := h.wake()
		h.crowd.set(func(o *crowd) { o.parkErr = &Holdouts{[]Holdout{{"s-7", []string{"transaction"}}}} })
		if err := h.Tune(context.Background(), map[string]string{"start": "1"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		gaveUp := slices.ContainsFunc(h.Events(), func(e Event) bool { return e.Message == notRenewed.message && strings.Contains(e.Reason, "s-7") })
		if !gaveUp {
			t.Errorf("the events are %+v", h.Events())
		}
		if s := h.Status(); s.State != Available || s.Backend != before || !slices.Equal(s.waiting(), []string{"start"}) {
			t.Errorf("status %+v", s)
		}
		h.close()
	})
}

// TestTuneOfAnAdoptedEngine: what was configured while the proxy did not run
// has an engine that outlived it restarted as a reload would.
func TestTuneOfAnAdoptedEngine(t *testing.T) {
	for how, generation := range map[string]uint64{"auto": 0, "restart": 1} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &tunedEngine{has: map[string]string{}, wanted: map[string]string{"start": "1"}}
				h := newHouse(t, func(h *house) {
					e.engine = h.engine
					e.running, e.exited = true, make(chan struct{})
					h.config.Compute = e
					h.config.Settings.Changes.Restart = how == "restart"
				})
				time.Sleep(time.Second)
				synctest.Wait()
				if s := h.Status(); s.Backend.Generation != generation || s.State != Available {
					t.Errorf("status %+v", s)
				}
				h.close()
			})
		})
	}
}
