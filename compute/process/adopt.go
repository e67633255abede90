package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// find looks for the engine that an earlier run of the proxy started: the
// process that the record names, with its start time; or one that the data
// directory names, which works in it and answers where ours would (the proxy
// was killed before it could write the record). Any other server on the data
// directory is somebody else's, and never touched. The zero procfs: none runs.
func (c *Compute) find(ctx context.Context) (procfs, error) {
	written, err := readRecord(c.place)
	if err != nil {
		return procfs{}, err
	}
	if p, ok := written.process(c.place); ok {
		return p, nil
	}
	p, err := readProc(c.engine.PID(c.place))
	if err != nil || p.dead() || !p.worksIn(c.place.db()) {
		return procfs{}, nil
	}
	network, address := c.engine.Address(c.place)
	if err := c.ask(ctx, network, address); err != nil {
		return procfs{}, fmt.Errorf("%w: process %d serves %s, was not started by serverlessproxy and does not answer at %s; stop it first: %w", ErrForeign, p.pid, c.place.db(), address, err)
	}
	return p, nil
}

// adopt takes over the engine that find found; nil when there is none.
func (c *Compute) adopt(ctx context.Context) (*instance, error) {
	found, err := c.find(ctx)
	if err != nil || found.pid == 0 {
		return nil, err
	}
	process, err := os.FindProcess(found.pid)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", found.pid, err)
	}
	pidfd, err := unix.PidfdOpen(found.pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		if errors.Is(err, unix.ESRCH) {
			return nil, nil // it has ended meanwhile
		}
		return nil, fmt.Errorf("open process %d (Linux 5.10 or newer is needed): %w", found.pid, err)
	}
	// Only now that the descriptors are held can it not become another process.
	if again, err := readProc(found.pid); err != nil || again.dead() || again.started != found.started {
		_ = unix.Close(pidfd)
		return nil, nil
	}
	engine := newInstance(process, &engineLog{at: c.place, limit: c.logLimit})
	engine.started = found.started
	engine.attend.Go(func() { engine.waitAdopted(os.NewFile(uintptr(pidfd), "pidfd")) })
	engine.attend.Go(func() { c.keepLog(engine) })
	if err := writeRecord(c.place, recordOf(found)); err != nil {
		return nil, errors.Join(err, c.halt(engine))
	}
	return engine, nil
}

// clear makes the volume ready for a new server, after one that did not end
// cleanly: its last processes are ended, and its locks removed.
func (c *Compute) clear() error {
	if err := c.sweep(); err != nil {
		return err
	}
	var litter []string
	if l, ok := c.engine.(Litterer); ok {
		litter = l.Litter(c.place)
	}
	return c.place.clean(litter)
}

// sweep ends the processes that a server left behind when it was killed:
// those of the engine's user that run the recorded program and work in the
// data directory. Without a record there was a clean end, and there are none.
func (c *Compute) sweep() error {
	written, err := readRecord(c.place)
	if err != nil || written.Program == "" {
		return err
	}
	for _, s := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL} {
		if c.dismiss(written.Program, s) {
			removeRecord(c.place)
			return nil
		}
	}
	return fmt.Errorf("end what a killed engine left: processes on %s do not end even by SIGKILL: they wait for the disk, most likely", c.place.db())
}

// dismiss signals what is left of a killed server and tells whether all of it
// has gone in time.
func (c *Compute) dismiss(program string, s syscall.Signal) bool {
	for _, p := range c.left(program) {
		_ = p.signal(s)
	}
	for deadline := time.Now().Add(hardStop); time.Now().Before(deadline); time.Sleep(firstLook) {
		if len(c.left(program)) == 0 {
			return true
		}
	}
	return false
}

// left are the processes that a killed server left behind.
func (c *Compute) left(program string) []procfs {
	var left []procfs
	_ = processes(func(p procfs) {
		if int(p.uid) == c.place.UID && p.program() == program && p.worksIn(c.place.db()) {
			left = append(left, p)
		}
	})
	return left
}

// signal tells this process something, and never one that has its id by now.
func (p procfs) signal(s syscall.Signal) error {
	process, err := os.FindProcess(p.pid)
	if err != nil {
		return err
	}
	defer process.Release()
	if again, err := readProc(p.pid); err != nil || again.started != p.started {
		return nil
	}
	return process.Signal(s)
}
