// Package config turns the YAML file into validated, plain structs, or into a
// list of every mistake in it, each with its file, line and key and with what
// would be right.
//
// It owns the keys, their defaults and their limits; the file example.yaml
// shows them all. It never knows flags, the environment or anything that
// runs. Parse looks at the bytes alone; Load also looks at the files that they
// name. It takes no lock.
package config

import (
	"log/slog"
	"time"

	"serverlessproxy/acu"
)

// Off is the duration of what never happens ("off" in the file).
const Off = time.Duration(-1)

// Config is a configuration without mistakes. Paths in it are absolute, or
// relative to the working directory if the file's own path was.
type Config struct {
	File      string
	StateDir  string
	Admin     Admin
	Log       Log
	Limits    Limits
	Cost      Cost
	TLS       TLS
	Listeners []Listener
	Clusters  []Cluster
	Warnings  []Problem // what is legal but probably not meant

	lines map[string]int // where each key stands
}

// Admin is where an operator asks. The socket in StateDir is always there.
type Admin struct {
	Address string   // "" for the socket alone
	Hosts   []string // names by which it is reached, beside localhost and addresses
}

type Log struct {
	Level  slog.Level
	Format string // "text" or "json"
}

// Limits bound what strangers may use, and how long a stop may take.
type Limits struct {
	HandshakeTimeout time.Duration
	Unauthenticated  int // connections that have not authenticated yet
	DrainTimeout     time.Duration
	Keepalive        time.Duration // between TCP probes of an idle client
}

// Cost is what a conversion to a fixed size is compared with.
type Cost struct {
	ACUHour  float64
	Currency string
}

// TLS is how clients connect. Without Cert one is made in StateDir.
type TLS struct {
	Mode                string // "disable", "allow" or "require"
	Cert, Key, ClientCA string
}

type Listener struct {
	Protocol      string // "postgres" or "mysql"
	Address       string
	Cluster       string // for clients that name none
	Sole          bool   // Cluster alone is served here, whatever a client names
	Instance      string // refuses always, as this instance's address
	ProxyProtocol bool
}

type Cluster struct {
	Name               string
	Engine             string // "postgres", "mysql" or "mariadb"
	Protocol           string // "postgres" or "mysql"
	Endpoint           string
	Master             Master // driver process
	Compute            Compute
	Scaling            Scaling
	Parameters         map[string]string
	Table              acu.Table // with connections.ceilings in it
	Unit               acu.Unit
	DeletionProtection bool
	WakeOn             string // "connect" or "query"
	KeepaliveQueries   []string
	ResumeTimeout      time.Duration
	Connections        Connections
	Snapshot           Snapshot
	Encryption         Encryption
}

// Master is the account that a new cluster gets.
type Master struct{ User, Database, PasswordFile string }

// Compute is who runs the engine. Driver says which of the others counts:
// Process, Server for "fixed", Server and Commands for "command".
type Compute struct {
	Driver   string // "process", "fixed" or "command"
	Process  Process
	Server   Server
	Commands Commands
}

// Process is an engine on this machine.
type Process struct {
	BinDir  string // "" to look for it
	DataDir string // "" for StateDir/clusters/NAME/data
	User    string // the operating system's user that runs it when the proxy is root
	Limits  string // "memory", "all" (CPU too) or "off": what of its size it is held to
}

// Server is an engine that others run, and how to log in to it.
type Server struct {
	Network, Address   string // "tcp" or "unix"
	User, PasswordFile string // the service account that reads the users' verifiers
	UsersFile          string // users and passwords, where the server hides its verifiers
	TLS                ServerTLS
	ProxyProtocol      bool // send PROXY v2 with the client's address
}

type ServerTLS struct {
	Mode           string // "disable", "require" or "verify-full"
	CA, ServerName string
}

// Commands are an operator's own, each a program and its arguments.
type Commands struct {
	Start, Stop    []string
	Resize, Status []string      // may be empty
	Timeout        time.Duration // for each run of one
}

type Scaling struct {
	Min, Max             acu.Capacity
	Autoscale, AutoPause bool
	PauseAfter           time.Duration // seconds_until_auto_pause
	Timeout              time.Duration // seconds_before_timeout
	TimeoutAction        string
	CooldownAfterUp      time.Duration
	CooldownAfterDown    time.Duration
	Method               string // "auto" or "restart"
}

type Connections struct {
	Overflow      string // "reject" or "queue"
	QueueTimeout  time.Duration
	Reserved      int
	AdminRoles    []string
	ReleaseAfter  time.Duration // Off, or how long a session is idle before it gives its backend up
	PinnedTimeout time.Duration // Off, or how long a pinned session may idle
}

type Snapshot struct {
	After          time.Duration // 0: never
	RestoreTimeout time.Duration
	Store          string // a URL
	Keep           int
}

// Encryption is how a volume is encrypted, and where its key comes from: at
// most one of the three is set.
type Encryption struct {
	Method     string // "auto", "fscrypt", "gocryptfs" or "external"
	KeyFile    string
	KeyCommand []string
	KeyAge     string // an age identity file
}

// Cluster returns the cluster of that name, nil when there is none.
func (c *Config) Cluster(name string) *Cluster {
	for i := range c.Clusters {
		if c.Clusters[i].Name == name {
			return &c.Clusters[i]
		}
	}
	return nil
}

// Problem is a mistake that was found elsewhere, at the place of a key such
// as "clusters.shop.parameters.port".
func (c *Config) Problem(key, wrong, right string) Problem {
	return Problem{File: c.File, Line: c.lines[key], Key: key, Wrong: wrong, Right: right}
}
