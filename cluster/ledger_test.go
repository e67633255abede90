package cluster

import (
	"math"
	"testing"
	"testing/synctest"
	"time"
)

func TestLedger(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	midnight := noon.Add(12 * time.Hour)
	tests := map[string]struct {
		last  time.Time // booked; zero: never
		now   time.Time
		count float64
		want  []Day
	}{
		"nothing used":                {noon, noon.Add(time.Hour), 0, nil},
		"within a day":                {noon, noon.Add(time.Hour), 7200, []Day{{"2026-03-01", 7200}}},
		"over midnight":               {midnight.Add(-10 * time.Second), midnight.Add(30 * time.Second), 80, []Day{{"2026-03-01", 20}, {"2026-03-02", 60}}},
		"over two midnights":          {midnight.Add(-time.Hour), midnight.Add(25 * time.Hour), 26 * 3600, []Day{{"2026-03-01", 3600}, {"2026-03-02", 86400}, {"2026-03-03", 3600}}},
		"exactly until midnight":      {midnight.Add(-10 * time.Second), midnight, 20, []Day{{"2026-03-01", 20}}},
		"from midnight on":            {midnight, midnight.Add(10 * time.Second), 20, []Day{{"2026-03-02", 20}}},
		"asleep for days before":      {noon, noon.Add(72 * time.Hour), 4, []Day{{"2026-03-04", 4}}},
		"never booked before":         {time.Time{}, noon, 4, []Day{{"2026-03-01", 4}}},
		"the clock was set back":      {midnight, noon, 4, nil},
		"another zone's day is UTC's": {noon, noon.In(time.FixedZone("", 14*3600)).Add(time.Second), 4, []Day{{"2026-03-01", 4}}},
		"in less time than it can be": {noon, noon, 4, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := ledger{from: noon, at: tt.last}.book(tt.count, tt.now)
			if len(got.days) != len(tt.want) {
				t.Fatalf("days %+v, want %+v", got.days, tt.want)
			}
			for i, d := range got.days {
				if d.Day != tt.want[i].Day || math.Abs(d.ACUSeconds-tt.want[i].ACUSeconds) > 1e-6 {
					t.Errorf("day %+v, want %+v", d, tt.want[i])
				}
			}
		})
	}
}

func TestLedgerIsBounded(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	l := ledger{from: now}
	for i := range 100 {
		l = l.book(float64(i), now.AddDate(0, 0, i))
	}
	m := l.metered()
	if len(l.days) != meteredDays || m.ACUSeconds != meteredDays {
		t.Errorf("%d days, %v ACU-seconds in them", len(l.days), m.ACUSeconds)
	}
	if first := m.To.AddDate(0, 0, 1-meteredDays).Format(time.DateOnly); m.From.Format(time.DateTime) != first+" 00:00:00" || l.days[0].Day != first {
		t.Errorf("from %v, the first day is %s", m.From, l.days[0].Day)
	}
}

// TestMeteredByDay runs, pauses, is killed with its engine and without, and
// compares the sum of the days with a hand calculation.
func TestMeteredByDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(h *house) { h.config.PauseAfter = 24 * time.Hour })
		began := time.Now()
		h.wake() // at 2 ACU
		time.Sleep(90 * time.Second)
		h.kill() // the engine goes on
		time.Sleep(10 * time.Minute)
		h.open()
		time.Sleep(30 * time.Second)
		if err := h.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := 2 * time.Since(began).Seconds()
		time.Sleep(48 * time.Hour) // asleep
		if got := h.Metered(); math.Abs(got.ACUSeconds-want) > 1 || math.Abs(h.ACUSeconds()-want) > 1 {
			t.Errorf("metered %v by day, %v in all, want %v", got.ACUSeconds, h.ACUSeconds(), want)
		}
		h.close()
		h.open()
		if got := h.Metered(); math.Abs(got.ACUSeconds-want) > 1 {
			t.Errorf("after a restart %v, want %v", got.ACUSeconds, want)
		}
		h.close()
	})
}
