package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The versions of PostgreSQL that are served.
const (
	oldestServed    = 11 // with a warning up to oldestSupported
	oldestSupported = 13
	newestSupported = 18
)

// Supported names the versions that are supported in full.
const Supported = "PostgreSQL 13 to 18"

// placesOfPrograms are where the distributions put them, and PostgreSQL's own
// build.
var placesOfPrograms = []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin", "/usr/local/bin", "/usr/bin"}

// programs is one installed PostgreSQL.
type programs struct {
	dir     string
	major   int
	version string // "15.18"
}

func (p programs) path(name string) string { return filepath.Join(p.dir, name) }

// installed are the PostgreSQLs on this machine that may be used, the newest
// first. What was found is remembered, since to ask a program for its version
// takes longer than all else before a start.
func (e *Engine) installed(ctx context.Context) ([]programs, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.found != nil {
		return e.found, nil
	}
	found, err := e.look(ctx)
	if err == nil {
		e.found = found
	}
	return found, err
}

func (e *Engine) look(ctx context.Context) ([]programs, error) {
	var dirs []string
	for _, place := range e.places {
		matches, _ := filepath.Glob(place)
		dirs = append(dirs, matches...)
	}
	var found []programs
	for _, dir := range dirs {
		p, err := inspect(ctx, dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, p)
	}
	if found == nil {
		return nil, fmt.Errorf("%w in %s: install the package postgresql, or set compute.bin_dir to the folder that has initdb and postgres", ErrNoPrograms, strings.Join(e.places, ", "))
	}
	slices.SortStableFunc(found, func(a, b programs) int { return b.major - a.major })
	return found, nil
}

// inspect looks at the PostgreSQL in a folder.
func inspect(ctx context.Context, dir string) (programs, error) {
	p := programs{dir: dir}
	for _, name := range []string{"postgres", "initdb"} {
		if _, err := os.Stat(p.path(name)); err != nil {
			return p, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.path("postgres"), "--version")
	cmd.Env = []string{"LC_ALL=C"}
	text, err := cmd.Output()
	if err != nil {
		return p, fmt.Errorf("ask %s for its version: %w", p.path("postgres"), err)
	}
	p.version, p.major, err = parseVersion(string(text))
	return p, err
}

// parseVersion reads what postgres --version prints, such as
// "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)".
func parseVersion(text string) (version string, major int, err error) {
	_, rest, ok := strings.Cut(text, "(PostgreSQL) ")
	if fields := strings.Fields(rest); ok && len(fields) > 0 {
		version = fields[0]
	}
	major = leading(version)
	if major == 0 {
		return "", 0, fmt.Errorf("no PostgreSQL version in %q", strings.TrimSpace(text))
	}
	return version, major, nil
}

// leading is the number that a version begins with: 15 of "15.18", 18 of
// "18beta1", 9 of "9.6.24".
func leading(version string) int {
	end := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(version)
	}
	n, _ := strconv.Atoi(version[:end])
	return n
}

// servable is an error for a version that is no longer served.
func servable(major int) error {
	if major < oldestServed {
		return fmt.Errorf("%w: PostgreSQL %d is no longer served (%s are supported): first upgrade it, by dump and restore or pg_upgrade, to 13 or newer", ErrDeprecated, major, Supported)
	}
	return nil
}

// newest is the newest supported PostgreSQL of those found, or else the
// newest that is served at all.
func newest(found []programs) (programs, error) {
	for _, p := range found {
		if p.major >= oldestSupported && p.major <= newestSupported {
			return p, nil
		}
	}
	for _, p := range found {
		if servable(p.major) == nil {
			return p, nil
		}
	}
	return programs{}, servable(found[0].major)
}

// matching is the PostgreSQL for data of this major version.
func matching(found []programs, major int, data string) (programs, error) {
	if err := servable(major); err != nil {
		return programs{}, fmt.Errorf("%s: %w", data, err)
	}
	var versions []string
	for _, p := range found {
		if p.major == major {
			return p, nil
		}
		versions = append(versions, p.version)
	}
	return programs{}, fmt.Errorf("%w: %s is of PostgreSQL %d, and the programs found are of %s: install postgresql-%d, or set compute.bin_dir to its programs; to move to another version, dump the data with the old one and restore them into a new cluster", ErrOtherVersion, data, major, strings.Join(versions, ", "), major)
}

// dataVersion is the major version of a data directory, 0 if there is none.
func dataVersion(dir string) (int, error) {
	text, err := os.ReadFile(filepath.Join(dir, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
			return 0, nil
		}
		if err != nil {
			return 0, fmt.Errorf("read data directory: %w", err)
		}
		return 0, fmt.Errorf("%s is not empty and no data directory of PostgreSQL (it has no file PG_VERSION): move it away, or set compute.data_dir to another", dir)
	}
	if err != nil {
		return 0, fmt.Errorf("read data directory: %w", err)
	}
	major := leading(strings.TrimSpace(string(text)))
	if major == 0 {
		return 0, fmt.Errorf("read data directory: %s/PG_VERSION holds no version: restore the directory from a copy", dir)
	}
	return major, nil
}
