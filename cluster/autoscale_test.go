package cluster

import (
	"testing"
	"time"

	"serverlessproxy/acu"
)

func TestDecideCapacity(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	measured := func(cpu float64, sessions int) Load { return Load{Measured: true, CPU: cpu, Sessions: sessions} }
	tests := map[string]struct {
		load   Load
		table  acu.Table
		at     acu.Capacity
		raised time.Duration // ago; 0: never
		lower  time.Duration // ago; 0: never
		want   acu.Capacity
		reason string
	}{
		"nothing to do between the thresholds":        {load: measured(0.5, 200), at: 4, want: 4},
		"CPU at the threshold stays":                  {load: measured(0.70, 10), at: 4, want: 4},
		"CPU over the threshold":                      {load: measured(0.71, 10), at: 4, want: 8, reason: "CPU at 71 %"},
		"CPU saturated is one size":                   {load: measured(1, 10), at: 2, want: 4, reason: "CPU at 100 %"},
		"CPU far over an unenforced limit":            {load: measured(3, 10), at: 2, want: 16, reason: "CPU at 300 %"},
		"up at once after an up":                      {load: measured(0.9, 10), at: 4, raised: time.Second, want: 8, reason: "CPU at 90 %"},
		"up at once after a down":                     {load: measured(0.9, 10), at: 4, lower: time.Second, want: 8, reason: "CPU at 90 %"},
		"never over max":                              {load: measured(9, 10), at: 16, want: 16},
		"several sizes end at max":                    {load: measured(50, 10), at: 2, want: 16, reason: "CPU at 5000 %"},
		"sessions at 90 % stay":                       {load: measured(0.5, 360), at: 2, want: 2},
		"sessions over 90 %":                          {load: measured(0.5, 361), at: 2, want: 4, reason: "sessions at 90 % of the ceiling"},
		"sessions of several sizes":                   {load: measured(0.5, 1600), at: 2, want: 16, reason: "sessions at 400 % of the ceiling"},
		"sessions alone, where nothing is measured":   {load: Load{Sessions: 361}, at: 2, want: 4, reason: "sessions at 90 % of the ceiling"},
		"no way down where nothing is measured":       {load: Load{}, at: 8, want: 8},
		"memory at the threshold stays":               {load: Load{Measured: true, CPU: 0.5, Memory: 0.90}, at: 4, want: 4},
		"memory over the threshold":                   {load: Load{Measured: true, CPU: 0.1, Memory: 0.91}, at: 4, want: 8, reason: "memory at 91 %"},
		"CPU is named before sessions":                {load: measured(0.8, 390), at: 2, want: 4, reason: "CPU at 80 %"},
		"CPU at 30 % stays":                           {load: measured(0.30, 10), at: 8, want: 8},
		"down one size":                               {load: measured(0.29, 10), at: 8, want: 4, reason: "CPU at 29 %, 10 sessions"},
		"down by one only, however little there is":   {load: measured(0, 0), at: 16, want: 8, reason: "CPU at 0 %, 0 sessions"},
		"sessions at 40 % of the lower ceiling stay":  {load: measured(0.1, 160), at: 4, want: 4},
		"sessions under it":                           {load: measured(0.1, 159), at: 4, want: 2, reason: "CPU at 10 %, 159 sessions"},
		"never below min":                             {load: measured(0, 0), at: 2, want: 2},
		"not so soon after an up":                     {load: measured(0, 0), at: 8, raised: 15*time.Minute - 1, want: 8},
		"long enough after an up":                     {load: measured(0, 0), at: 8, raised: 15 * time.Minute, want: 4, reason: "CPU at 0 %, 0 sessions"},
		"not so soon after a down":                    {load: measured(0, 0), at: 8, lower: 310*time.Second - 1, want: 8},
		"long enough after a down":                    {load: measured(0, 0), at: 8, lower: 310 * time.Second, want: 4, reason: "CPU at 0 %, 0 sessions"},
		"both cool-downs are kept":                    {load: measured(0, 0), at: 8, raised: time.Hour, lower: time.Minute, want: 8},
		"a third of the size would be too small":      {load: measured(0.25, 0), table: acu.Postgres, at: 192, want: 192},
		"a third of the size is enough":               {load: measured(0.23, 0), table: acu.Postgres, at: 192, want: 64, reason: "CPU at 23 %, 0 sessions"},
		"what is cached shrinks":                      {load: Load{Measured: true, Memory: 0.8}, at: 4, want: 2, reason: "CPU at 0 %, 0 sessions"},
		"what is kept does not":                       {load: Load{Measured: true, Memory: 0.8, Kept: 0.5}, at: 4, want: 4},
		"v1's MySQL ceilings, up":                     {load: measured(0.5, 244), table: acu.MySQL, at: 4, want: 8, reason: "sessions at 90 % of the ceiling"},
		"v1's MySQL ceilings, down":                   {load: measured(0.1, 107), table: acu.MySQL, at: 8, want: 4, reason: "CPU at 10 %, 107 sessions"},
		"v1's MySQL ceilings, too many for the lower": {load: measured(0.1, 108), table: acu.MySQL, at: 8, want: 8},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if len(tt.table.Sizes()) == 0 {
				tt.table = acu.Postgres
			}
			limits := Limits{Table: tt.table, Min: 2, Max: max(16, tt.at), AfterUp: 15 * time.Minute, AfterDown: 310 * time.Second}
			past := History{Capacity: tt.at, RaisedAt: ago(now, tt.raised), LoweredAt: ago(now, tt.lower)}
			got := Decide(now, tt.load, limits, past)
			if got.Capacity != tt.want || (tt.want != tt.at && got.Reason != tt.reason) {
				t.Errorf("Decide = %d ACU (%s), want %d (%s)", got.Capacity, got.Reason, tt.want, tt.reason)
			}
		})
	}
}

func ago(now time.Time, d time.Duration) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return now.Add(-d)
}

// TestDecideNeverFlaps takes every size down that Decide lowers, and asks
// whether the same work would have it raised again.
func TestDecideNeverFlaps(t *testing.T) {
	now := time.Now()
	for _, table := range []acu.Table{acu.MySQL, acu.Postgres} {
		sizes := table.Sizes()
		limits := Limits{Table: table, Min: sizes[0], Max: sizes[len(sizes)-1]}
		for _, size := range sizes {
			for cpu := 0.0; cpu < 0.31; cpu += 0.01 {
				for sessions := 0; sessions <= table.Ceiling(size); sessions += max(table.Ceiling(size)/50, 1) {
					load := Load{Measured: true, CPU: cpu, Sessions: sessions}
					down := Decide(now, load, limits, History{Capacity: size})
					if down.Capacity >= size {
						continue
					}
					load.CPU *= float64(size) / float64(down.Capacity)
					if again := Decide(now, load, limits, History{Capacity: down.Capacity, LoweredAt: now, RaisedAt: now}); again.Capacity > down.Capacity {
						t.Fatalf("%s: from %d to %d ACU with CPU %.2f and %d sessions, and up again: %s", table.Name(), size, down.Capacity, cpu, sessions, again.Reason)
					}
				}
			}
		}
	}
}
