package cluster

import (
	"slices"
	"time"
)

// Day is what a cluster used on one day, in UTC.
type Day struct {
	Day        string  `json:"day"` // "2026-03-01"
	ACUSeconds float64 `json:"acu_seconds"`
}

// Metered is what a cluster used in the latest days.
type Metered struct {
	From       time.Time // not before the cluster was first metered by day
	To         time.Time
	ACUSeconds float64
	Days       []Day // oldest first; days without use are left out
}

// meteredDays is how many days are kept, today among them.
const meteredDays = 30

// ledger spreads what the meter counts over days. It is a value, as meter is:
// book returns a new one and leaves the old one's days alone.
type ledger struct {
	from   time.Time // since when days are kept
	at     time.Time // when it was booked last
	booked float64   // the meter's count then
	days   []Day     // oldest first
}

// book enters what the meter has counted since the last time. A size is at
// least 1 ACU: so much cannot have been used in less than this many seconds,
// and not before the last booking.
func (l ledger) book(count float64, now time.Time) ledger {
	used := count - l.booked
	begin := now.Add(-time.Duration(used * float64(time.Second)))
	if l.at.After(begin) {
		begin = l.at
	}
	l.days = slices.Clone(l.days)
	if whole := now.Sub(begin); used > 0 && whole > 0 {
		for begin.Before(now) {
			end := earlier(nextMidnight(begin), now)
			l.enter(begin, used*float64(end.Sub(begin))/float64(whole))
			begin = end
		}
	}
	l.at, l.booked = now, count
	oldest := firstDay(now).Format(time.DateOnly)
	l.days = slices.DeleteFunc(l.days, func(d Day) bool { return d.Day < oldest })
	return l
}

func (l *ledger) enter(at time.Time, used float64) {
	day := at.UTC().Format(time.DateOnly)
	if n := len(l.days); n > 0 && l.days[n-1].Day == day {
		l.days[n-1].ACUSeconds += used
		return
	}
	l.days = append(l.days, Day{day, used})
}

// metered is the sum of the days that are kept.
func (l ledger) metered() Metered {
	m := Metered{From: l.from, To: l.at, Days: l.days}
	if first := firstDay(l.at); m.From.Before(first) {
		m.From = first
	}
	for _, d := range l.days {
		m.ACUSeconds += d.ACUSeconds
	}
	return m
}

// firstDay is the beginning of the oldest day that is kept.
func firstDay(now time.Time) time.Time {
	return midnight(now).AddDate(0, 0, 1-meteredDays)
}

func midnight(t time.Time) time.Time {
	year, month, day := t.UTC().Date()
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

func nextMidnight(t time.Time) time.Time { return midnight(t).AddDate(0, 0, 1) }

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Metered is what the cluster has used in the last 30 days, or since it has
// been metered by day.
func (c *Cluster) Metered() Metered {
	now := time.Now()
	return c.ledger.Load().book(c.Status().meter.at(now), now).metered()
}
