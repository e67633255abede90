package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"serverlessproxy/acu"
)

// record is what of a cluster outlives the proxy: state.json.
type record struct {
	State        State        `json:"state"`
	Capacity     acu.Capacity `json:"capacity"` // that it has, or resumes to
	PausedSince  time.Time    `json:"paused_since,omitzero"`
	LastActivity time.Time    `json:"last_activity,omitzero"` // the pausing clock
	LastError    string       `json:"last_error,omitempty"`
	ACUSeconds   float64      `json:"acu_seconds"`            // until metered_at, if the engine runs
	MeteredAt    time.Time    `json:"metered_at,omitzero"`    // the engine ran then
	MeteredRate  acu.Capacity `json:"metered_rate,omitempty"` // at this capacity
	MeteredFrom  time.Time    `json:"metered_from,omitzero"`  // days are kept since then
	Days         []Day        `json:"days,omitempty"`
	Fixed        acu.Capacity `json:"fixed_capacity,omitempty"` // the size that it was converted to
	RaisedAt     time.Time    `json:"raised_at,omitzero"`       // for the cool-downs
	LoweredAt    time.Time    `json:"lowered_at,omitzero"`
}

// meter goes on where the record's was: still counting if the engine was
// running, since it may have outlived the proxy.
func (r record) meter() meter {
	return meter{total: r.ACUSeconds, since: r.MeteredAt, rate: r.MeteredRate}
}

// ledger goes on where the record's was. What was metered before days were kept
// belongs to none.
func (r record) ledger(now time.Time) *ledger {
	l := &ledger{from: r.MeteredFrom, booked: r.ACUSeconds, at: r.MeteredAt, days: r.Days}
	if l.from.IsZero() {
		l.from = now
	}
	return l
}

// readRecord returns an empty record where there is none.
func readRecord(path string) (record, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, nil
	}
	if err != nil {
		return record{}, fmt.Errorf("read state: %w", err)
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return record{}, fmt.Errorf("read state: %s: %w", path, err)
	}
	return r, nil
}

// writeRecord leaves the old record or the new one whole at path, whatever
// happens meanwhile.
func writeRecord(path string, r record) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".state.json.*")
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	defer os.Remove(file.Name()) // fails once it has been renamed
	_, err = file.Write(append(text, '\n'))
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	directory, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	if err := errors.Join(directory.Sync(), directory.Close()); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

// write saves how the cluster stands now, and has the events that led to it
// survive a power failure. That it cannot be written keeps nobody from being
// served; the log says so.
func (c *Cluster) write() {
	now := time.Now()
	c.written = now
	status := c.Status()
	days := c.ledger.Load().book(c.meter.at(now), now)
	c.ledger.Store(&days)
	r := record{
		State:        status.State,
		Capacity:     status.ResumeCapacity,
		PausedSince:  status.PausedSince,
		LastActivity: now.Add(-c.idle(now)),
		LastError:    status.LastError,
		ACUSeconds:   c.meter.at(now),
		MeteredFrom:  days.from,
		Days:         days.days,
		Fixed:        c.fixed,
		RaisedAt:     c.past.RaisedAt,
		LoweredAt:    c.past.LoweredAt,
	}
	if c.running {
		r.MeteredAt, r.MeteredRate = now, c.meter.rate
	}
	if err := errors.Join(c.journal.sync(), writeRecord(c.statePath(), r)); err != nil {
		c.log.Error("the cluster's state cannot be kept over a restart of the proxy", "error", err)
	}
}
