// Package process runs an engine on this machine: it is cluster.Compute for
// driver "process".
//
// It owns the engine's process: start, readiness, adoption of one that
// outlived a killed proxy, clean stop, the tail of its log. It never knows
// which engine it runs: that is an Engine's. It takes no lock; the cluster's
// goroutine alone calls it.
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
	Path string
	Args []string
	Env  []string
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
	// Serve is the command that runs the server, for a size.
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
