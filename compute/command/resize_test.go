package command

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
)

// A change of size never cuts anybody off by itself: what it cannot do in
// place is left to the cluster, which parks the sessions first.
func TestResize(t *testing.T) {
	for name, c := range map[string]struct {
		resize  []string
		restart bool   // is asked for
		fails   string // with what it wrote
	}{
		"none":            {nil, true, ""},
		"in place":        {sh("exit 0"), false, ""},
		"only by restart": {sh("exit 3"), true, ""},
		"fails":           {sh("echo no memory; exit 1"), false, "no memory"},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			commands := usual
			commands.Resize = c.resize
			compute := s.compute(commands, time.Minute)
			if _, err := compute.Start(t.Context(), size); err != nil {
				t.Fatal(err)
			}
			defer compute.Stop(t.Context())
			b, err := compute.Resize(t.Context(), size)
			if got := errors.Is(err, cluster.ErrNeedsRestart); got != c.restart {
				t.Errorf("needs a restart: %v (%v)", got, err)
			}
			switch {
			case c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)):
				t.Error(err)
			case c.fails == "" && !c.restart && (err != nil || b.Generation != 1):
				t.Errorf("%+v, %v", b, err)
			}
			if got := s.read("runs"); got != "start\n" {
				t.Errorf("ran %q", got)
			}
		})
	}
}

func TestPlan(t *testing.T) {
	unit := acu.DefaultUnit
	from, to := acu.Postgres.Size(2, unit, 3), acu.Postgres.Size(4, unit, 3)
	differences := []cluster.SettingChange{
		{Setting: "SERVERLESSPROXY_CAPACITY", From: "2", To: "4"},
		{Setting: "SERVERLESSPROXY_MEMORY", From: "4294967296", To: "8589934592"},
		{Setting: "SERVERLESSPROXY_CPU", From: "0.5", To: "1"},
		{Setting: "SERVERLESSPROXY_MAX_CONNECTIONS", From: "403", To: "826"},
	}
	for name, c := range map[string]struct {
		resize []string
		want   cluster.Steps
	}{
		"with a resize command": {sh("exit 0"), cluster.Steps{Live: differences}},
		"without":               {nil, cluster.Steps{AtStart: differences, Restart: true}},
	} {
		t.Run(name, func(t *testing.T) {
			commands := usual
			commands.Resize = c.resize
			compute := open(t).compute(commands, time.Minute)
			if got := compute.Plan(from, to); !reflect.DeepEqual(got, c.want) {
				t.Errorf("%+v", got)
			}
			if got := compute.Plan(from, from); len(got.Live)+len(got.AtStart) > 0 {
				t.Errorf("of the same size: %+v", got)
			}
		})
	}
}
