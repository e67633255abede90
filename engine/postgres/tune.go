package postgres

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
	"serverlessproxy/compute/process"
)

var _ process.Tunable = (*Engine)(nil)

// Examine has the server's program read the configuration and say one of its
// settings: it reads all of it first. What a setting needs that lies elsewhere
// (a library, memory) only a start finds out.
func (e *Engine) Examine(_ context.Context, p process.Place, scratch string) process.Command {
	return process.Command{
		Path:  e.programs(p).path("postgres"),
		Args:  []string{"-D", scratch, "-c", "config_file=" + filepath.Join(scratch, configName), "-C", "data_directory"},
		Files: []process.File{{Name: configName, Content: configFile(p, nil, e.Parameters())}},
	}
}

// A line of the server's log, and where it says that a setting stands, which is
// a file that nobody else sees.
var (
	logLine = regexp.MustCompile(`\b(LOG|FATAL): +(.*)`)
	inFile  = regexp.MustCompile(` in file "[^"]*" line \d+`)
)

// Complaint is why a server did not start, of what it wrote: its last word, or,
// where that is of its configuration, what it found there before.
func (e *Engine) Complaint(output string) string {
	said := map[string][]string{}
	for line := range strings.Lines(output) {
		match := logLine.FindStringSubmatch(strings.TrimSpace(line))
		switch {
		case match == nil || strings.HasPrefix(match[2], "skipping missing "):
		case strings.HasPrefix(match[2], "configuration file "):
			return strings.Join(said["LOG"], "; ")
		default:
			said[match[1]] = append(said[match[1]], inFile.ReplaceAllString(match[2], ""))
		}
	}
	return strings.Join(said["FATAL"], "; ")
}

// Tune has the server read a configuration with its present parameters again,
// and names those of the changes that it takes only at a start.
func (e *Engine) Tune(ctx context.Context, p process.Place, size acu.Size, changes []process.ParameterChange) (process.Tuned, error) {
	network, address := e.Address(p)
	d := Dial{Network: network, Address: address}
	waiting, loaded, err := d.waiting(ctx, changes)
	if err != nil {
		return process.Tuned{}, err
	}
	reload, err := e.Adjust(ctx, p, size)
	reload.Confirm = func(ctx context.Context) error { return d.confirm(ctx, loaded) }
	return process.Tuned{Waiting: waiting, Reload: reload}, err
}

// waiting asks the server which of the changes need a start, and when it has
// read its configuration last.
func (d Dial) waiting(ctx context.Context, changes []process.ParameterChange) (waiting []cluster.SettingChange, loaded time.Time, err error) {
	conn, err := d.control(ctx)
	if err != nil {
		return nil, loaded, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	names := make([]string, len(changes))
	for i, change := range changes {
		names[i] = strings.ToLower(change.Name)
	}
	var fixed map[string]string
	err = conn.QueryRow(ctx, `SELECT pg_conf_load_time(), coalesce(json_object_agg(lower(name), current_setting(name)), '{}')
		FROM pg_settings WHERE lower(name) = ANY ($1) AND context IN ('internal', 'postmaster')`, names).Scan(&loaded, &fixed)
	if err != nil {
		return nil, loaded, fmt.Errorf("ask which parameters need a restart: %w", err)
	}
	for _, change := range changes {
		if from, found := fixed[strings.ToLower(change.Name)]; found {
			waiting = append(waiting, cluster.SettingChange{Setting: change.Name, From: from, To: change.To()})
		}
	}
	return waiting, loaded, nil
}

const (
	confirmLimit = 10 * time.Second
	confirmEvery = 10 * time.Millisecond
)

// confirm waits until a new session finds that the configuration was read after
// that time. An answer that lets nobody in any more, such as that of a library
// to be loaded which is not there, is an error; that the server has not come to
// it yet is none.
func (d Dial) confirm(ctx context.Context, loaded time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, confirmLimit)
	defer cancel()
	for ctx.Err() == nil {
		read, err := d.loadedAfter(ctx, loaded)
		if read || shutsOut(err) {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(confirmEvery):
		}
	}
	return nil
}

func (d Dial) loadedAfter(ctx context.Context, loaded time.Time) (read bool, err error) {
	conn, err := d.control(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = conn.QueryRow(ctx, "SELECT pg_conf_load_time() > $1", loaded).Scan(&read)
	return read, err
}

// shutsOut tells whether a server that runs and is not full refused a session.
func shutsOut(err error) bool {
	var sent *pgconn.PgError
	return errors.As(err, &sent) && !strings.HasPrefix(sent.Code, "53") && !strings.HasPrefix(sent.Code, "57")
}
