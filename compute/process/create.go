package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"serverlessproxy/acu"
)

const (
	// unfinished is where a new cluster is made, inside the volume. It becomes
	// the cluster by a rename, so that a crash leaves all of it or nothing.
	unfinished = ".creating"

	createTimeout = 5 * time.Minute
)

// creating is the size with which a new cluster runs while it gets its master.
var creating = acu.Size{Capacity: 1, Memory: 1 << 30, CPU: 1, MaxConnections: 20}

// Create makes a new cluster with its master, and tells whether it did: a data
// directory that is there already is used, if its version can be served. A
// failure removes whatever it had made.
func (c *Compute) Create(ctx context.Context, m Master) (created bool, err error) {
	version, err := c.engine.Existing(c.place)
	if err != nil {
		return false, fmt.Errorf("look at data directory: %w", err)
	}
	if version != "" {
		return false, c.place.prepare()
	}
	findings := c.Check(ctx)
	if ctx.Err() != nil {
		return false, fmt.Errorf("check what a cluster needs: %w", ctx.Err())
	}
	if err := Preflight(findings); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	undo := c.place.absent()
	if err := c.create(ctx, m); err != nil {
		return false, errors.Join(fmt.Errorf("create cluster: %w", err), undo())
	}
	return true, nil
}

func (c *Compute) create(ctx context.Context, m Master) error {
	if err := c.place.prepare(); err != nil {
		return err
	}
	maker := *c
	maker.current = nil
	maker.place.Data = filepath.Join(c.place.Data, unfinished)
	if err := maker.discard(ctx); err != nil {
		return err
	}
	if err := maker.fill(ctx, m); err != nil {
		return errors.Join(err, maker.discard(context.WithoutCancel(ctx)))
	}
	return c.keep(maker.place)
}

// fill makes the cluster: its files, its first start, its master, and a clean
// stop.
func (c *Compute) fill(ctx context.Context, m Master) error {
	if err := c.place.prepare(); err != nil {
		return err
	}
	if err := c.place.own(c.place.db()); err != nil {
		return err
	}
	if err := c.run(ctx, c.engine.Initialize(c.place)); err != nil {
		return fmt.Errorf("initialize data directory: %w", err)
	}
	backend, err := c.Start(ctx, creating)
	if err != nil {
		return err
	}
	if err := c.engine.Provision(ctx, backend.Network, backend.Address, m); err != nil {
		return fmt.Errorf("give the cluster its master: %w", err)
	}
	return c.Stop(ctx)
}

// discard removes a cluster that was not finished, in this run of the proxy or
// in one that was killed; what runs of it is ended first.
func (c *Compute) discard(ctx context.Context) error {
	if _, err := os.Stat(c.place.Data); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := c.Stop(ctx); err != nil {
		return fmt.Errorf("discard unfinished cluster: %w", err)
	}
	if err := os.RemoveAll(c.place.Data); err != nil {
		return fmt.Errorf("discard unfinished cluster: %w", err)
	}
	return nil
}

// keep makes what was made the cluster's own.
func (c *Compute) keep(made Place) error {
	if err := os.Rename(filepath.Join(made.Data, logName), filepath.Join(c.place.Data, logName)); err != nil {
		return fmt.Errorf("keep log: %w", err)
	}
	if err := os.Rename(made.db(), c.place.db()); err != nil {
		return fmt.Errorf("keep data directory: %w", err)
	}
	if err := os.RemoveAll(made.Data); err != nil {
		return fmt.Errorf("tidy up: %w", err)
	}
	return syncDir(c.place.Data)
}

// run runs a command to its end, as the engine's user. When ctx ends, so do
// the command and all that it has started.
func (c *Compute) run(ctx context.Context, command Command) error {
	_, err := c.outputOf(ctx, command)
	return err
}

// outputOf runs a command as run does, and returns all that it wrote.
func (c *Compute) outputOf(ctx context.Context, command Command) (string, error) {
	cmd := c.command(command)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = hardStop
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("run %s: %w", command.Path, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer stop()
	err := cmd.Wait()
	if ctx.Err() != nil {
		c.gone(cmd.Process.Pid)
		return "", fmt.Errorf("run %s: %w", command.Path, ctx.Err())
	}
	if err != nil {
		err = fmt.Errorf("run %s: %w:%s", command.Path, err, lastLines(output.String()))
	}
	return output.String(), err
}

// gone waits until the last process of a killed group is.
func (c *Compute) gone(group int) {
	for deadline := time.Now().Add(hardStop); time.Now().Before(deadline); time.Sleep(firstLook) {
		if errors.Is(syscall.Kill(-group, 0), syscall.ESRCH) {
			return
		}
	}
	c.log.Warn("processes of an initialization that was given up do not end", "group", group)
}

// absent notes which of a place's directories are not there, and returns what
// removes them again, with all that is in them by then.
func (p Place) absent() (undo func() error) {
	var missing []string
	for _, dir := range []string{p.Data, p.Run} {
		for ; !exists(dir); dir = filepath.Dir(dir) {
			missing = append(missing, dir)
		}
	}
	own := []string{p.Data, p.Run}
	return func() error {
		var failed error
		for _, dir := range missing {
			remove := os.Remove // a parent: only if nobody else uses it by now
			if slices.Contains(own, dir) {
				remove = os.RemoveAll
			}
			if err := remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
				failed = errors.Join(failed, err)
			}
		}
		return failed
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
