package cluster

import (
	"testing"
	"time"
)

func TestDecide(t *testing.T) {
	const s = time.Second
	tests := []struct {
		name string
		in   situation
		want step
		wait time.Duration
	}{
		{"paused, nobody", situation{state: Paused}, rest, forever},
		{"paused, somebody", situation{state: Paused, waiting: 1}, start, 0},
		{"paused by hand though it does not pause by itself", situation{state: Paused, alwaysOn: true}, rest, forever},
		{"failed, nobody", situation{state: Failed, retryIn: 3 * s}, rest, forever},
		{"failed, somebody, too soon", situation{state: Failed, waiting: 1, retryIn: 3 * s}, rest, 3 * s},
		{"failed, somebody", situation{state: Failed, waiting: 1}, start, 0},
		{"failed, an operator", situation{state: Failed, waiting: 1, urgent: true, retryIn: 3 * s}, start, 0},
		{"failed, always on, too soon", situation{state: Failed, alwaysOn: true, retryIn: s}, rest, s},
		{"failed, always on", situation{state: Failed, alwaysOn: true, retryIn: -s}, start, 0},
		{"available, busy", situation{state: Available, pauseAfter: 300 * s}, rest, lookEvery},
		{"available, idle for too short", situation{state: Available, pauseAfter: 300 * s, idle: 299*s + s/2}, rest, s / 2},
		{"available, idle", situation{state: Available, pauseAfter: 300 * s, idle: 300 * s}, pause, 0},
		{"available, idle, somebody on the way in", situation{state: Available, pauseAfter: 300 * s, idle: 300 * s, waiting: 1}, rest, lookEvery},
		{"available, idle, a pause failed", situation{state: Available, pauseAfter: 300 * s, idle: 400 * s, retryIn: s / 4}, rest, s / 4},
		{"available, idle, a pause failed long ago", situation{state: Available, pauseAfter: 300 * s, idle: 400 * s, retryIn: -s}, pause, 0},
		{"available, idle, always on", situation{state: Available, pauseAfter: 300 * s, idle: 400 * s, alwaysOn: true}, rest, lookEvery},
		{"available, dead", situation{state: Available, gone: true, idle: 400 * s, pauseAfter: 300 * s}, bury, 0},
		{"available, dead, always on", situation{state: Available, gone: true, alwaysOn: true}, bury, 0},
		{"available, parameters wait for a restart", situation{state: Available, renewal: true, idle: 400 * s, pauseAfter: 300 * s}, renew, 0},
		{"available, dead, parameters wait", situation{state: Available, gone: true, renewal: true}, bury, 0},
		{"paused, parameters waited", situation{state: Paused, renewal: true}, rest, forever},
		{"archived", situation{state: Archived}, rest, forever},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, wait := decide(tt.in); got != tt.want || wait != tt.wait {
				t.Errorf("decide = %d, %v; want %d, %v", got, wait, tt.want, tt.wait)
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	want := []time.Duration{
		0, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second,
		4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second,
	}
	for n, w := range want {
		if got := backoff(firstStartDelay, longestDelay, n); got != w {
			t.Errorf("after %d failures: %v, want %v", n, got, w)
		}
	}
	if got := backoff(firstStartDelay, longestDelay, 1<<30); got != longestDelay {
		t.Errorf("after very many: %v", got)
	}
}

func TestMeter(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	m := meter{}
	if got := m.at(at); got != 0 {
		t.Errorf("new: %v", got)
	}
	m = m.run(at, 4)
	if got := m.at(at.Add(10 * time.Second)); got != 40 {
		t.Errorf("10 s at 4 ACU: %v", got)
	}
	if got := m.at(at.Add(-time.Second)); got != 0 {
		t.Errorf("a clock that went back: %v", got)
	}
	m = m.run(at.Add(10*time.Second), 2).rest(at.Add(15 * time.Second))
	if got := m.at(at.Add(time.Hour)); got != 50 {
		t.Errorf("then 5 s at 2 ACU: %v", got)
	}
}
