package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// instance is one running engine: a child of ours, or one that an earlier run
// of the proxy started and that outlived it.
type instance struct {
	process *os.Process
	pid     int
	started uint64 // clock ticks; 0 for a child, which cannot be mistaken
	log     *engineLog
	kills   int            // the kernel's count of processes ended for want of memory, at the start
	asked   atomic.Bool    // to end; set before the signal
	ended   chan struct{}  // closed when the process is gone
	lost    chan struct{}  // closed after ended if nobody asked for it
	why     string         // how it ended; set before ended is closed
	attend  sync.WaitGroup // the goroutines that wait for its end and keep its log short
}

func newInstance(process *os.Process, log *engineLog) *instance {
	return &instance{
		process: process, pid: process.Pid, log: log, kills: oomKills(),
		ended: make(chan struct{}), lost: make(chan struct{}),
	}
}

// waitChild waits for the end of a child of ours.
func (i *instance) waitChild(child *exec.Cmd) {
	_ = child.Wait() // the state says more than the error
	i.finish(describe(child.ProcessState, oomKills() > i.kills))
}

// waitAdopted waits for the end of a process that is no child of ours, by its
// pidfd, which holds no thread while nothing happens.
func (i *instance) waitAdopted(pidfd *os.File) {
	defer pidfd.Close()
	conn, err := pidfd.SyscallConn()
	if err == nil {
		err = conn.Read(hasEnded)
	}
	for err != nil && i.listed() {
		time.Sleep(100 * time.Millisecond) // the poller does not take this descriptor: look
	}
	i.finish("ended; it was started by an earlier run, so its exit status is unknown")
}

// listed looks for the process in the kernel's list.
func (i *instance) listed() bool {
	p, err := readProc(i.pid)
	return err == nil && !p.dead() && p.started == i.started
}

// hasEnded is false until a pidfd's process is gone, and so has RawConn wait.
func hasEnded(fd uintptr) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
}

// finish closes ended first: whoever hears of the loss finds it ended.
func (i *instance) finish(why string) {
	i.why = why
	close(i.ended)
	if !i.asked.Load() {
		close(i.lost)
	}
}

func (i *instance) alive() bool {
	select {
	case <-i.ended:
		return false
	default:
		return true
	}
}

// signal tells the process something; that it is gone already is no error.
func (i *instance) signal(s syscall.Signal) error {
	if err := i.process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal engine (process %d): %w", i.pid, err)
	}
	return nil
}

// gone waits for the end, at most this long and no longer than ctx.
func (i *instance) gone(ctx context.Context, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-i.ended:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return !i.alive()
}

// describe says how a process ended, and whether memory was what it lacked.
func describe(state *os.ProcessState, memory bool) string {
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return state.String()
	}
	if status.Signal() != syscall.SIGKILL {
		return state.String()
	}
	if memory {
		return "was killed (137): the kernel ran out of memory for it; give the machine more or the cluster a smaller capacity"
	}
	return "was killed (137)"
}
