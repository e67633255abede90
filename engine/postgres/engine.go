// Package postgres is what the proxy says to a PostgreSQL server as its
// operator: which programs run it, how it is initialised, started for a size,
// found ready and stopped, what its users are, and what its master gets.
//
// It owns the server's settings and the control connection. It never knows a
// cluster's state, a session or the wire protocol of clients. An Engine's lock
// protects what it remembers of the installed programs; a Source's turn, a
// channel of one, is held by whoever uses its connection.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"serverlessproxy/acu"
	"serverlessproxy/compute/process"
)

var (
	// ErrNoPrograms: no PostgreSQL is installed where it was looked for.
	ErrNoPrograms = errors.New("no PostgreSQL programs")
	// ErrOtherVersion: the data are of a version that is not installed.
	ErrOtherVersion = errors.New("data directory of another version")
	// ErrDeprecated: the version is too old to be served.
	ErrDeprecated = errors.New("deprecated version")
	// ErrNoVerifiers: the control connection's user may not read pg_authid.
	ErrNoVerifiers = errors.New("cannot read the users' password verifiers")
)

const (
	// superuser is the one that initdb makes: the proxy's, and the operator's.
	superuser = "postgres"
	// home is the database of the control connection, refuge where it goes if
	// that was dropped.
	home   = "postgres"
	refuge = "template1"

	port       = 5432
	configName = "postgresql.conf"
	hbaName    = "pg_hba.conf"
)

// hba lets in whoever reaches the socket, which lies in a directory that only
// the engine's user and root may enter: the proxy has checked the client.
const hba = `# Written by serverlessproxy at each start.
local all all trust
local replication all trust
`

// Config is what an Engine is made of.
type Config struct {
	Name       string            // of the cluster; the server's cluster_name
	BinDir     string            // "": what the distribution has installed
	Parameters map[string]string // those that CheckParameters accepts
	Memory     int64             // bytes that this machine has; 0: find out
	Log        *slog.Logger
}

// Engine is a process.Engine for PostgreSQL.
type Engine struct {
	*process.Configured
	name    string
	places  []string
	machine int64
	log     *slog.Logger

	mu     sync.Mutex   // protects following
	found  []programs   // nil until looked for
	warned map[int]bool // of these major versions
}

var (
	_ process.Engine    = (*Engine)(nil)
	_ process.Litterer  = (*Engine)(nil)
	_ process.Announcer = (*Engine)(nil)
)

// New is an Engine. It looks for nothing yet.
func New(cfg Config) *Engine {
	e := &Engine{name: cfg.Name, places: placesOfPrograms, Configured: process.NewConfigured(cfg.Parameters, CheckParameters), machine: cfg.Memory, log: cfg.Log, warned: map[int]bool{}}
	if cfg.BinDir != "" {
		e.places = []string{cfg.BinDir}
	}
	if e.machine <= 0 {
		e.machine = machineMemory()
	}
	return e
}

// Check finds the programs and names their version.
func (e *Engine) Check(ctx context.Context) (string, error) {
	found, err := e.installed(ctx)
	if err != nil {
		return "", err
	}
	p, err := newest(found)
	if err != nil {
		return "", err
	}
	e.warn(p)
	return p.version, nil
}

// warn says once of a version that it is not supported in full.
func (e *Engine) warn(p programs) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p.major >= oldestSupported && p.major <= newestSupported || e.warned[p.major] {
		return
	}
	e.warned[p.major] = true
	e.log.Warn("this version of PostgreSQL works as far as is known, but is not supported", "version", p.version, "supported", Supported)
}

// Existing is the version of the data directory, "" if there is none.
func (e *Engine) Existing(p process.Place) (string, error) {
	data := dataDir(p)
	major, err := dataVersion(data)
	if err != nil || major == 0 {
		return "", err
	}
	found, err := e.installed(context.Background())
	if err != nil {
		return "", err
	}
	match, err := matching(found, major, data)
	if err != nil {
		return "", err
	}
	e.warn(match)
	return strconv.Itoa(major), nil
}

// Initialize makes a data directory with checksums, so that a page which the
// disk has spoilt is an error and never a wrong row.
func (e *Engine) Initialize(p process.Place) process.Command {
	return process.Command{
		Path: e.programs(p).path("initdb"),
		Args: []string{
			"--pgdata=" + dataDir(p), "--username=" + superuser, "--auth=trust",
			"--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums",
		},
	}
}

// Serve runs the server. What must hold is said on the command line, which
// nothing overrides; what a reload may change is in the configuration file. So
// is the size's part of the former again: else a reload would find the values
// of initdb there and ask for a restart.
func (e *Engine) Serve(p process.Place, size acu.Size) process.Command {
	args := []string{"-D", dataDir(p)}
	sized := capacity(size, e.machine)
	for _, s := range append(fixed(p, e.name), sized...) {
		args = append(args, "-c", s.name+"="+s.value)
	}
	return process.Command{
		Path: e.programs(p).path("postgres"),
		Args: args,
		Files: []process.File{
			{Name: configName, Content: configFile(p, append(sized, memory(size, e.machine)...), e.Parameters())},
			{Name: hbaName, Content: hba},
		},
	}
}

// programs are those for the data at p, or the newest where there are none
// yet. Existing and Check have found them before; if they are gone since, the
// start says that the file is missing.
func (e *Engine) programs(p process.Place) programs {
	found, err := e.installed(context.Background())
	if err != nil {
		return programs{dir: e.places[0]}
	}
	if major, err := dataVersion(dataDir(p)); err == nil && major != 0 {
		if match, err := matching(found, major, ""); err == nil {
			return match
		}
	}
	if best, err := newest(found); err == nil {
		return best
	}
	return found[0]
}

// Address is the server's socket.
func (e *Engine) Address(p process.Place) (network, address string) {
	return "unix", filepath.Join(p.Run, fmt.Sprintf(".s.PGSQL.%d", port))
}

// PID is the process that the data directory says serves it.
func (e *Engine) PID(p process.Place) int {
	pid, _ := readPostmaster(p)
	return pid
}

// Announced tells whether the server has written down that it accepts
// connections. Each question that comes earlier costs it a fork.
func (e *Engine) Announced(p process.Place, pid int) bool {
	writer, status := readPostmaster(p)
	return writer == pid && status == "ready"
}

// Litter is the lock that a killed server leaves. If another process has its
// id by now, the next server would take that for a living one.
func (e *Engine) Litter(p process.Place) []string {
	return []string{filepath.Join(dataDir(p), "postmaster.pid")}
}

// readPostmaster reads postmaster.pid: the process in its first line, 0 for
// none, and the status in its eighth.
func readPostmaster(p process.Place) (pid int, status string) {
	text, err := os.ReadFile(filepath.Join(dataDir(p), "postmaster.pid"))
	if err != nil {
		return 0, ""
	}
	return parsePostmaster(string(text))
}

func parsePostmaster(text string) (pid int, status string) {
	lines := strings.Split(text, "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil || pid < 0 { // negative: a server without connections, as initdb runs it
		return 0, ""
	}
	if len(lines) > 7 {
		status = strings.TrimSpace(lines[7])
	}
	return pid, status
}

// StopSignal asks for a fast stop: connections end, and a checkpoint is taken.
func (e *Engine) StopSignal() syscall.Signal { return syscall.SIGINT }

func dataDir(p process.Place) string { return filepath.Join(p.Data, "db") }
