package mysql

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"serverlessproxy/compute/process"
)

// OwnConnections is how many connections the proxy itself may have at once:
// one of a Source, one that asks whether the server is ready, one that changes
// its settings. The server's max_connections must leave room for them.
const OwnConnections = 3

// Config describes the engine of one cluster.
type Config struct {
	BinDir     string            // where the programs are; "": PATH and the usual places
	Accept     []*Flavor         // the first that is installed; nil: MariaDB, then MySQL
	Parameters map[string]string // the operator's settings at first; see CheckParameters
	Log        *slog.Logger
}

// Engine is process.Engine for MariaDB and MySQL.
type Engine struct {
	*process.Configured
	config Config

	mu       sync.Mutex // protects programs
	programs *Programs  // once found
}

var _ process.Engine = (*Engine)(nil)

// New returns the engine; the programs are looked for when they are needed.
func New(config Config) *Engine {
	if len(config.Accept) == 0 {
		config.Accept = flavors
	}
	return &Engine{Configured: process.NewConfigured(config.Parameters, CheckParameters), config: config}
}

// Check finds the programs and names the server's version. A version outside
// those supported is warned of in the log.
func (e *Engine) Check(ctx context.Context) (string, error) {
	programs, err := find(ctx, e.config.BinDir, e.config.Accept)
	if err != nil {
		return "", err
	}
	warning, err := programs.Flavor.admit(programs.Version)
	if err != nil {
		return "", fmt.Errorf("check %s: %w", programs.Server, err)
	}
	if warning != "" {
		e.config.Log.Warn(warning, "program", programs.Server)
	}
	if err := CheckParameters(e.Parameters()); err != nil {
		return "", err
	}
	e.mu.Lock()
	e.programs = &programs
	e.mu.Unlock()
	return programs.Says, nil
}

// found returns the programs of the last Check, looking for them if there was
// none.
func (e *Engine) found() (Programs, error) {
	e.mu.Lock()
	programs := e.programs
	e.mu.Unlock()
	if programs != nil {
		return *programs, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), versionTimeout)
	defer cancel()
	if _, err := e.Check(ctx); err != nil {
		return Programs{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return *e.programs, nil
}

// Flavor is which of the accepted servers is installed.
func (e *Engine) Flavor() (*Flavor, error) {
	programs, err := e.found()
	return programs.Flavor, err
}

// Existing reads the version of the data directory.
func (e *Engine) Existing(p process.Place) (string, error) {
	data, err := inspect(dataDirectory(p))
	if err != nil || data.flavor == nil {
		return "", err
	}
	programs, err := e.found()
	if err != nil {
		return data.version.String(), err
	}
	return data.version.String(), data.servableBy(programs)
}

// Initialize is the command that fills an empty data directory.
func (e *Engine) Initialize(p process.Place) process.Command {
	programs, err := e.found()
	if err != nil {
		return e.unfound(err)
	}
	args := programs.Flavor.fill(programs, p)
	return process.Command{Path: programs.Filler, Args: append(args, birthOptions(e.Parameters())...)}
}

// unfound is a command that cannot be run, under the name of what is missing:
// who runs it gets the error, the log has the reason.
func (e *Engine) unfound(err error) process.Command {
	e.config.Log.Error("cannot find the server's programs", "error", err)
	return process.Command{Path: e.config.Accept[0].programs[0]}
}

// Address is the socket in p.Run.
func (e *Engine) Address(p process.Place) (network, address string) {
	return "unix", filepath.Join(p.Run, "mysqld.sock")
}

// PID is what the server's pid file says.
func (e *Engine) PID(p process.Place) int {
	text, err := os.ReadFile(pidFile(p))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}

// StopSignal is SIGTERM: sessions are ended, what is committed is flushed.
func (e *Engine) StopSignal() syscall.Signal { return syscall.SIGTERM }

func dataDirectory(p process.Place) string { return filepath.Join(p.Data, "db") }
func pidFile(p process.Place) string       { return filepath.Join(p.Run, "mysqld.pid") }
