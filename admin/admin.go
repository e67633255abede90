// Package admin is the operator's view from above: the HTTP API, the status
// page, and the client that the commands use.
//
// It owns the shapes of the API and who may call what: reading is open,
// whatever changes something needs the token, unless it comes over the socket
// in the state directory. It never knows an engine or a
// wire protocol, and asking it wakes nobody. Its one lock counts followers of
// events and is never held while anything is called.
package admin

import (
	"context"
	"crypto/sha256"
	"iter"
	"log/slog"
	"net/http"
	"time"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
	"serverlessproxy/pool"
)

// Machine is a cluster as an operator sees and steers it: *cluster.Cluster.
type Machine interface {
	Status() *cluster.Status
	// Pause stops the engine once every session has given up its backend.
	Pause(ctx context.Context) error
	Resume(ctx context.Context, trigger cluster.Trigger) error
	// Scale changes the capacity.
	Scale(ctx context.Context, request cluster.Request) error
	// Plan says what a change to a capacity would do.
	Plan(ctx context.Context, to acu.Capacity) (cluster.Plan, error)
	// Convert makes it one of a fixed size; 0: its configuration holds again.
	Convert(ctx context.Context, to acu.Capacity) error
	// CheckSize returns nil for a capacity that the engine has.
	CheckSize(size acu.Capacity) error
	// Metered is what it has used in the last 30 days.
	Metered() cluster.Metered
	// Events are the latest, oldest first.
	Events() []cluster.Event
	// Follow yields the latest events and then each new one until ctx ends.
	Follow(ctx context.Context) iter.Seq[cluster.Event]
}

// Occupants are a cluster's sessions as an operator sees them: *pool.Pool.
type Occupants interface {
	Sessions() []pool.View
	// Kill ends a session; pool.ErrNoSession where it is not here.
	Kill(id string) error
	Counts() map[pool.Phase]int
	Pins() map[string]int
	Pinned() int
	Backends() int
	Ceiling() int
}

// Managed is one cluster that the API shows and steers.
type Managed struct {
	Name, Engine, Endpoint string
	Version                func() string // of the engine; "" while unknown
	Encryption             string
	Limits                 func() string // what holds the engine to its size, for people; nil: it is not ours
	Machine                Machine
	Occupants              Occupants
}

// Config is what the API is made of.
type Config struct {
	Clusters func() []Managed // in the order in which they are shown
	Metrics  http.Handler
	Ready    func() error // why clients are not accepted; nil: they are
	Token    string
	Cost     Cost
	Hosts    []string // names by which it is reached, beside localhost and addresses
	Version  string   // of the proxy
	Log      *slog.Logger
}

// API answers at the admin address and at the socket. It is an http.Handler.
type API struct {
	Config
	token   [sha256.Size]byte
	hosts   map[string]bool
	routes  http.Handler
	origins *http.CrossOriginProtection
	follows chan struct{} // one place for each follower of events
}

const (
	maxBody      = 64 << 10
	maxFollowers = 100
	writeLimit   = 30 * time.Second // of one answer, from its first byte on
	actionLimit  = 10 * time.Minute // of a pause or a resume, where a request names none
	longestLimit = time.Hour
)

// New makes the API.
func New(c Config) *API {
	a := &API{
		Config:  c,
		token:   sha256.Sum256([]byte(c.Token)),
		hosts:   hostSet(c.Hosts),
		origins: http.NewCrossOriginProtection(),
		follows: make(chan struct{}, maxFollowers),
	}
	a.routes = a.mux()
	return a
}

func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	extend(w)
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	a.routes.ServeHTTP(w, r)
}

// extend gives the next write its time. A recorder in a test has no deadline.
func extend(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeLimit))
}

// find returns the cluster of that name.
func (a *API) find(name string) (Managed, error) {
	for _, m := range a.Clusters() {
		if m.Name == name {
			return m, nil
		}
	}
	return Managed{}, fail(http.StatusNotFound, "not_found", "there is no cluster %q", name)
}
