// Package process runs an engine on this machine: it is cluster.Compute for
// driver "process".
//
// It owns the engine's process: making a new cluster, start, readiness,
// adoption of one that outlived a killed proxy, clean stop, the engine's log
// and its tail. It never knows which engine it runs: that is an Engine's. It
// takes no lock; the cluster's goroutine alone calls it. Each running engine
// has two goroutines of ours, one that waits for its end and one that keeps
// its log short; both end with the engine.
package process

import (
	"context"
	"syscall"

	"serverlessproxy/acu"
	"serverlessproxy/credential"
)

// Place is where one cluster's engine lives.
type Place struct {
	Data     string // STATE_DIR/clusters/NAME/data: the volume; engine's data in Data/db, its log in Data/log
	Run      string // STATE_DIR/clusters/NAME/run: socket and pid, 0700
	UID, GID int    // the engine's user; the proxy's own where it is not root
}

// Command is how a server is run.
type Command struct {
	Path  string
	Args  []string
	Env   []string // besides PATH, LANG and LC_ALL; nothing else is inherited
	Files []File   // written into Place.Run before each run
}

// File is one that a server is to find in Place.Run: its configuration. It
// belongs to the engine's user, mode 0600.
type File struct {
	Name    string // without a directory
	Content string
}

// Master is the account that a new cluster gets, as RDS makes it: owner of
// its database, may create roles and databases, no superuser.
type Master struct {
	User, Database string
	Password       credential.Secret
}

// Engine is what process must be told of a kind of server; engine/postgres
// and engine/mysql implement it.
type Engine interface {
	// Check finds the programs and names the server's version, or says what
	// to install.
	Check(ctx context.Context) (version string, err error)
	// Existing reads the version of the data directory at p; "" when there is
	// none. An error: it is there but cannot be served, and why.
	Existing(p Place) (version string, err error)
	// Initialize is the command that fills an empty p.Data/db.
	Initialize(p Place) Command
	// Serve is the command that runs the server, for a size. The server stays
	// in the foreground and logs to its standard error, which is kept in
	// p.Data/log/engine.log.
	Serve(p Place, size acu.Size) Command
	// Address is where it will answer: "unix", path.
	Address(p Place) (network, address string)
	// PID is the process that the data directory says serves it, 0 if none is
	// recorded. It may be stale.
	PID(p Place) int
	// Ready returns nil when a server at that address answers a query.
	Ready(ctx context.Context, network, address string) error
	// Provision gives a new cluster its master, at its first start.
	Provision(ctx context.Context, network, address string, m Master) error
	// StopSignal asks the server for a clean, fast stop.
	StopSignal() syscall.Signal
}

// Litterer is an optional ability of an Engine: files outside p.Run that a
// server which was killed leaves behind and that could keep the next one from
// starting. They are removed when it is certain that no server runs.
type Litterer interface {
	Litter(p Place) []string
}

// Announcer is an optional ability of an Engine: whether the server that runs
// as this process has written down that it accepts connections. Until it has,
// Ready is not asked, since a question may cost a server that is still
// starting as much as a client does.
type Announcer interface {
	Announced(p Place, pid int) bool
}
