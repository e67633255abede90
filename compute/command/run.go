package command

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"serverlessproxy/acu"
)

// exitNo is the exit code by which status says "stopped", and resize "only by
// a restart"; it is that of init scripts and of systemctl.
const exitNo = 3

// afterTerm is how long a command that has been told to end may take to.
const afterTerm = 5 * time.Second

// order is one run of a command.
type order struct {
	action  string // "start", "stop", "resize" or "status"
	program []string
	size    acu.Size // zero where it says nothing
}

// runner runs commands and keeps their output.
type runner struct {
	dir         string
	limit       time.Duration
	environment []string
	began       int64 // where the output of the last start, stop or resize begins
}

// run runs a command to its end, within the limit and ctx. In a session of its
// own, so that Ctrl-C at a terminal reaches the proxy alone, and what it
// leaves in the background outlives the proxy.
func (r *runner) run(ctx context.Context, o order) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, o.program[0], o.arguments()...)
	cmd.Dir, cmd.Env = r.dir, append(r.environment[:len(r.environment):len(r.environment)], o.environment()...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = afterTerm
	// A question is asked often: its output is nobody's.
	if o.action != "status" {
		// A file, not a pipe: what the command leaves in the background may go
		// on writing, and is not waited for.
		output, err := r.begin()
		if err != nil {
			return err
		}
		defer output.Close()
		cmd.Stdout, cmd.Stderr = output, output
	}
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil && cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it began and did not end itself
		err = fmt.Errorf("not done within %v, and ended", time.Since(began).Round(100*time.Millisecond))
	}
	failure := fmt.Errorf("the %s command (%s) failed: %w", o.action, o.program[0], err)
	if o.action == "status" {
		return failure
	}
	return fmt.Errorf("%w%s", failure, r.ending())
}

// arguments are those of the configuration; a resize gets the capacity as its
// last.
func (o order) arguments() []string {
	arguments := o.program[1:len(o.program):len(o.program)]
	if o.action == "resize" {
		arguments = append(arguments, strconv.Itoa(int(o.size.Capacity)))
	}
	return arguments
}

// environment is what a command is told of this run.
func (o order) environment() []string {
	told := []string{"SERVERLESSPROXY_ACTION=" + o.action}
	if o.size.Capacity == 0 {
		return told
	}
	return append(told, variables(o.size)...)
}

// variables are what a command is told of a size.
func variables(size acu.Size) []string {
	return []string{
		fmt.Sprintf("SERVERLESSPROXY_CAPACITY=%d", size.Capacity),
		fmt.Sprintf("SERVERLESSPROXY_MEMORY=%d", size.Memory),
		"SERVERLESSPROXY_CPU=" + strconv.FormatFloat(size.CPU, 'f', -1, 64),
		fmt.Sprintf("SERVERLESSPROXY_MAX_CONNECTIONS=%d", size.MaxConnections),
	}
}

func saysNo(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.ExitCode() == exitNo
}
