package cluster

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"serverlessproxy/acu"
)

// curve is how much CPU a load asks for, in ACU, and how many sessions it has
// at a time since its start.
type curve struct {
	name string
	runs time.Duration
	at   func(since time.Duration) (demand float64, sessions int)
}

// The curves are made, not taken from anybody's machine: the same each time.
var curves = []curve{
	{"day and night", 48 * time.Hour, func(since time.Duration) (float64, int) {
		day := math.Max(math.Sin((since.Hours()-6)/24*2*math.Pi), 0)
		return 0.1 + 9*day, int(20 + 600*day)
	}},
	{"bursts", 24 * time.Hour, func(since time.Duration) (float64, int) {
		if since%(2*time.Hour) < 5*time.Minute {
			return 10, 300
		}
		return 0.4, 20
	}},
	{"sawtooth", 24 * time.Hour, func(since time.Duration) (float64, int) {
		share := float64(since%(3*time.Hour)) / float64(3*time.Hour)
		return 11 * share, int(500 * share)
	}},
}

// outcome is what a way to choose sizes costs, and how long it was too small.
type outcome struct {
	acuSeconds float64
	over       time.Duration // CPU over the threshold
	changes    int
}

// simulate lives through a curve from a size on, choosing one after each look.
func simulate(c curve, from acu.Capacity, choose func(now time.Time, load Load, past History) Decision) (out outcome) {
	begin := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	past := History{Capacity: from}
	for since := time.Duration(0); since < c.runs; since += sampleEvery {
		demand, sessions := c.at(since)
		load := Load{Measured: true, CPU: min(demand/float64(past.Capacity), 1), Sessions: sessions}
		if load.CPU > busyCPU {
			out.over += sampleEvery
		}
		out.acuSeconds += float64(past.Capacity) * sampleEvery.Seconds()
		now := begin.Add(since + sampleEvery)
		if next := choose(now, load, past); next.Capacity != past.Capacity {
			past = past.changed(now, next.Capacity)
			out.changes++
		}
	}
	return out
}

// TestSimulation compares Decide with fixed sizes over each curve.
// docs/capacity.md shows what it prints.
func TestSimulation(t *testing.T) {
	limits := Limits{Table: acu.Postgres, Min: 2, Max: 16, AfterUp: 15 * time.Minute, AfterDown: 310 * time.Second}
	scaled := func(now time.Time, load Load, past History) Decision { return Decide(now, load, limits, past) }
	fixed := func(_ time.Time, _ Load, past History) Decision { return Decision{Capacity: past.Capacity} }
	var table strings.Builder
	for _, c := range curves {
		auto, large, small := simulate(c, 2, scaled), simulate(c, 16, fixed), simulate(c, 4, fixed)
		for _, row := range []struct {
			way string
			outcome
		}{{"autoscaled, 2 to 16", auto}, {"fixed at 16", large}, {"fixed at 4", small}} {
			fmt.Fprintf(&table, "| %s | %s | %.0f | %v | %d |\n", c.name, row.way, row.acuSeconds, row.over, row.changes)
		}
		if auto.acuSeconds >= large.acuSeconds {
			t.Errorf("%s: autoscaled costs %.0f ACU-seconds, the largest size %.0f", c.name, auto.acuSeconds, large.acuSeconds)
		}
		if auto.over > c.runs/100 {
			t.Errorf("%s: over the threshold for %v of %v", c.name, auto.over, c.runs)
		}
		if auto.over >= small.over {
			t.Errorf("%s: over the threshold for %v, at a quarter of the largest size for %v", c.name, auto.over, small.over)
		}
	}
	t.Logf("\n%s", table.String())
	text, err := os.ReadFile("../docs/capacity.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), table.String()) {
		t.Errorf("docs/capacity.md does not have this table:\n%s", table.String())
	}
}
