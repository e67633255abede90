// Package metrics is the Prometheus view of the clusters: what happened to
// them, told by cluster.Observer and pool.Observer, and how they stand, read
// at each scrape.
//
// It owns the names, the help texts and the closed sets of label values: each
// series of them is there from the moment a cluster is added, at 0, so that
// rate() sees the first count. Nothing that a client sends becomes a label. It
// never knows an engine or a wire protocol, and a scrape wakes nobody. Its
// mutex protects the list of clusters and is not held while one is read.
package metrics

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"serverlessproxy/cluster"
	"serverlessproxy/pool"
)

// Machine is a cluster as it is read: *cluster.Cluster.
type Machine interface {
	Status() *cluster.Status
	ACUSeconds() float64
	Measured() cluster.Measured
}

// Occupants are a cluster's sessions as they are read: *pool.Pool.
type Occupants interface {
	// Counts is how many sessions are in each phase.
	Counts() map[pool.Phase]int
	// Pins is how many sessions each reason pins.
	Pins() map[string]int
	// Backends is how many sessions have a backend.
	Backends() int
	Ceiling() int
}

// Cluster is what is measured of one cluster.
type Cluster struct {
	Name, Engine, Driver, Protocol string
	Version                        func() string // of the engine; "" while unknown
	Machine                        Machine
	Occupants                      Occupants
	Tally                          *pool.Tally
	Volume                         func() int64 // bytes; nil: not ours to look at
}

// View is everything that Prometheus sees of this process. It is a
// cluster.Observer and a pool.Observer.
type View struct {
	registry *prometheus.Registry
	counts   counts

	mu       sync.Mutex // protects following
	clusters []*entry
	strays   []stray
}

// entry is a cluster and what is remembered of it between scrapes.
type entry struct {
	Cluster
	engine engineClock
}

// stray counts connections whose cluster is not known.
type stray struct {
	protocol string
	tally    *pool.Tally
}

var (
	_ cluster.Observer = (*View)(nil)
	_ pool.Observer    = (*View)(nil)
)

// New makes a view with a registry of its own, with the Go runtime's and the
// process's metrics in it.
func New() *View {
	v := &View{registry: prometheus.NewRegistry(), counts: newCounts()}
	v.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
		v,
	)
	v.counts.register(v.registry)
	return v
}

// Add begins to measure a cluster.
func (v *View) Add(c Cluster) {
	v.counts.start(c.Name)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.clusters = append(v.clusters, &entry{Cluster: c})
}

// Remove forgets a cluster and its series.
func (v *View) Remove(name string) {
	v.mu.Lock()
	v.clusters = slices.DeleteFunc(v.clusters, func(e *entry) bool { return e.Name == name })
	v.mu.Unlock()
	v.counts.drop(name)
}

// AddUnknown counts the connections of a protocol whose cluster is not known,
// under cluster="".
func (v *View) AddUnknown(protocol string, t *pool.Tally) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.strays = append(v.strays, stray{protocol, t})
}

// Handler serves the metrics.
func (v *View) Handler() http.Handler {
	return promhttp.HandlerFor(v.registry, promhttp.HandlerOpts{
		Registry:            v.registry,
		MaxRequestsInFlight: 8,
		Timeout:             10 * time.Second,
		EnableOpenMetrics:   true,
	})
}

// present is a copy of what there is to read.
func (v *View) present() ([]*entry, []stray) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.clusters), slices.Clone(v.strays)
}

// find returns the cluster of that name, nil when it was never added.
func (v *View) find(name string) *entry {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, e := range v.clusters {
		if e.Name == name {
			return e
		}
	}
	return nil
}

// engineClock is since when the present run of an engine is known to answer.
type engineClock struct {
	mu         sync.Mutex // protects following
	generation uint64
	since      time.Time
	told       bool // since is a start whose generation is not known yet
}

// start notes a start that was told.
func (c *engineClock) start(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since, c.told = now, true
}

// uptime is how long the engine behind b has been known to run, 0 without one.
// A start that nobody told, such as that of an engine which was found running,
// is when it is first seen.
func (c *engineClock) uptime(b cluster.Backend, now time.Time) time.Duration {
	if b == (cluster.Backend{}) {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation != b.Generation || c.since.IsZero() {
		c.generation = b.Generation
		if !c.told {
			c.since = now
		}
	}
	c.told = false
	return now.Sub(c.since)
}

// clean makes text of an engine's own fit for a label.
func clean(s string) string { return strings.ToValidUTF8(s, "?") }
