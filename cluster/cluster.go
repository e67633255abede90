package cluster

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"serverlessproxy/acu"
)

// Settings are what a reload may change.
type Settings struct {
	Min, Max      acu.Capacity
	Changes       ChangeRules
	AutoPause     bool
	PauseAfter    time.Duration // without activity
	ResumeTimeout time.Duration // of one attempt
	Autoscale     bool
	AfterUp       time.Duration // no automatic decrease sooner than this after an increase
	AfterDown     time.Duration // no automatic decrease sooner than this after a decrease
}

// Config is what a cluster is made of.
type Config struct {
	Settings
	Name     string
	Dir      string // holds state.json and events.jsonl; made if missing
	Compute  Compute
	Sizer    func(acu.Capacity) acu.Size
	Legal    func(acu.Capacity) error // why there is no such size; nil: any will do
	Table    func() acu.Table         // what autoscaling chooses from; nil: it does not
	Hooks    Hooks
	Observer Observer     // nil: nobody
	Log      *slog.Logger // nil: nowhere

	ParkTimeout time.Duration // how long a pause may look for everybody's safe point; 0: 10 s
	StopTimeout time.Duration // of Compute.Stop and of Hooks.Stopping, each; 0: 60 s
}

// Cluster is one database server that sleeps when nobody is there.
type Cluster struct {
	name        string
	dir         string
	compute     Compute
	watcher     Watcher // nil where compute has no such ability
	adopter     Adopter // likewise
	planner     Planner // likewise
	tuner       Tuner   // likewise
	cannotPause string  // why, where compute cannot
	sizer       func(acu.Capacity) acu.Size
	checkSize   func(acu.Capacity) error // nil: any will do
	table       func() acu.Table         // nil: no autoscaling
	hooks       Hooks
	observer    Observer
	log         *slog.Logger
	parkTimeout time.Duration
	stopTimeout time.Duration

	status   atomic.Pointer[Status] // replaced whole, by Run alone
	lobby    lobby
	journal  *journal
	commands chan command // to Run
	life     life
	ledger   atomic.Pointer[ledger] // replaced whole, by Run alone
	sampling sampling

	// What follows belongs to Run.
	asked     Settings     // as configured
	fixed     acu.Capacity // the size that it was converted to; 0: none
	settings  Settings     // what of these holds
	occupants Occupants
	past      History         // Capacity in it is not kept
	running   bool            // an engine may be there
	renewal   bool            // it is to be restarted for its parameters
	exited    <-chan struct{} // closed when it ends unasked; nil where nobody can tell
	since     time.Time       // when it was last made available
	active    time.Time       // when somebody was last busy, as far as the occupants don't know better
	meter     meter
	starts    attempts
	pauses    attempts
	written   time.Time // when state.json was written last
}

// Limits where a Config names none, and how often a running cluster is looked at.
const (
	defaultParkTimeout   = 10 * time.Second
	defaultStopTimeout   = time.Minute
	defaultResumeTimeout = time.Minute
	lookEvery            = time.Second
	writeEvery           = 10 * time.Second // bounds what a kill of proxy and engine together can lose of the meter
)

// New reads what an earlier run left in config.Dir. The cluster does nothing
// until Run.
func New(config Config) (*Cluster, error) {
	c := &Cluster{
		name:        config.Name,
		dir:         config.Dir,
		compute:     config.Compute,
		sizer:       config.Sizer,
		checkSize:   config.Legal,
		table:       config.Table,
		hooks:       config.Hooks,
		observer:    config.Observer,
		log:         config.Log,
		parkTimeout: cmp.Or(config.ParkTimeout, defaultParkTimeout),
		stopTimeout: cmp.Or(config.StopTimeout, defaultStopTimeout),
		asked:       config.Settings.complete(),
		lobby:       lobby{nudge: make(chan struct{}, 1)},
		commands:    make(chan command),
		life:        life{ended: make(chan struct{})},
	}
	if c.observer == nil {
		c.observer = nobody{}
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.log = c.log.With("cluster", c.name)
	c.watcher, _ = c.compute.(Watcher)
	c.adopter, _ = c.compute.(Adopter)
	c.planner, _ = c.compute.(Planner)
	c.tuner, _ = c.compute.(Tuner)
	c.sampling.sampler, _ = c.compute.(Sampler)
	if u, ok := c.compute.(Unpausable); ok {
		c.cannotPause = u.CannotPause()
	}
	if err := c.recall(); err != nil {
		return nil, fmt.Errorf("open cluster %s: %w", c.name, err)
	}
	return c, nil
}

// recall makes the first Status of what an earlier run wrote.
func (c *Cluster) recall() error {
	if err := os.MkdirAll(c.dir, 0o711); err != nil { // the engine's user passes through
		return err
	}
	past, err := readRecord(c.statePath())
	if err != nil {
		aside := c.statePath() + ".damaged"
		c.log.Warn("the state file is damaged: it is set aside and the cluster begins anew", "error", err, "aside", aside)
		if err := os.Rename(c.statePath(), aside); err != nil {
			return err
		}
	}
	if c.journal, err = openJournal(filepath.Join(c.dir, "events.jsonl")); err != nil {
		return err
	}
	c.meter = past.meter()
	c.ledger.Store(past.ledger(time.Now()))
	c.past = History{RaisedAt: past.RaisedAt, LoweredAt: past.LoweredAt}
	c.fixed = past.Fixed
	c.settings = c.asked.fixedAt(c.fixed)
	if !past.MeteredAt.IsZero() {
		c.active = past.LastActivity // the pausing clock goes on if the engine does
	}
	if past.State != Paused {
		past.PausedSince = time.Now() // Run finds out whether it still runs
	}
	capacity := c.settings.clamp(cmp.Or(past.Capacity, c.settings.Min))
	changed := make(chan struct{})
	c.status.Store(&Status{
		Name:           c.name,
		State:          Paused,
		ResumeCapacity: capacity,
		TargetCapacity: capacity,
		Min:            c.settings.Min,
		Max:            c.settings.Max,
		AutoPause:      c.pausesItself(),
		Fixed:          c.fixed,
		PausedSince:    past.PausedSince,
		LastError:      past.LastError,
		Changed:        changed,
		changed:        changed,
		meter:          meter{total: past.ACUSeconds},
	})
	return nil
}

// Status is how the cluster stands. It never blocks.
func (c *Cluster) Status() *Status { return c.status.Load() }

// ACUSeconds is what the cluster has used since it was made: its capacity
// times the time that its engine ran.
func (c *Cluster) ACUSeconds() float64 { return c.Status().meter.at(time.Now()) }

// publish puts a newer Status in the present one's place. Run alone calls it.
func (c *Cluster) publish(change func(*Status)) {
	old := c.status.Load()
	next := *old
	change(&next)
	next.meter = c.meter
	changed := make(chan struct{})
	next.Changed, next.changed = changed, changed
	c.status.Store(&next)
	close(old.changed)
}

// pausesItself tells whether the cluster pauses when nobody is busy.
func (c *Cluster) pausesItself() bool { return c.settings.AutoPause && c.cannotPause == "" }

func (c *Cluster) statePath() string { return filepath.Join(c.dir, "state.json") }

func (s Settings) complete() Settings {
	s.ResumeTimeout = cmp.Or(s.ResumeTimeout, defaultResumeTimeout)
	s.Max = max(s.Max, s.Min)
	return s
}

func (s Settings) clamp(c acu.Capacity) acu.Capacity { return min(max(c, s.Min), s.Max) }

// nobody observes where nobody was named.
type nobody struct{}

func (nobody) Resumed(string, Trigger, time.Duration, error) {}
func (nobody) Paused(string, string, time.Duration)          {}
func (nobody) Scaled(string, Change)                         {}
func (nobody) Happened(Event)                                {}
