package mysql

import (
	"context"
	"fmt"

	"serverlessproxy/acu"
	"serverlessproxy/compute/process"
)

const (
	mebibyte = 1 << 20
	// startingPool bounds the buffer pool that a server starts with: preparing
	// a large one is what a start takes longest for. Settle makes it whole.
	startingPool = 256 * mebibyte
	smallestPool = 64 * mebibyte
)

// Serve is the command that runs the server, with the init file that restores
// the control account. It makes the folder for temporary files; a server that
// does not find it says so, and so does the log.
func (e *Engine) Serve(p process.Place, size acu.Size) process.Command {
	programs, err := e.found()
	if err != nil {
		return e.unfound(err)
	}
	if err := makeTemporary(p); err != nil {
		e.config.Log.Error("the server has no folder for its temporary files", "error", err)
	}
	_, socket := e.Address(p)
	args := []string{
		"--no-defaults",
		"--datadir=" + dataDirectory(p),
		"--tmpdir=" + temporaryDirectory(p),
		"--socket=" + socket,
		"--pid-file=" + pidFile(p),
		"--skip-networking",
		"--init-file=" + initFile(p),
		fmt.Sprintf("--innodb-buffer-pool-size=%d", min(bufferPool(size.Memory, machineMemory()), startingPool)),
	}
	if size.MaxConnections > 0 {
		args = append(args, fmt.Sprintf("--max-connections=%d", size.MaxConnections))
	}
	args = append(args, programs.Flavor.settings(programs.Version)...)
	args = append(args, programs.layout()...)
	files := controlFiles(p)
	if secure, err := certificateFiles(); err != nil {
		e.config.Log.Error("the server speaks no TLS: accounts with REQUIRE SSL cannot log in", "error", err)
	} else {
		files = append(files, secure...)
		args = append(args, certificateOptions(p)...)
	}
	parameters := e.Parameters()
	args = append(args, programs.plugins(parameter(parameters, "plugin_dir"))...)
	args = append(args, options(parameters)...)
	return process.Command{Path: programs.Server, Args: args, Files: files}
}

// bufferPool is three quarters of a size's memory, as RDS has it, but never
// more than a quarter of the machine's (0: unknown), which others need too.
func bufferPool(memory, machine int64) int64 {
	pool := memory / 4 * 3
	if machine > 0 {
		pool = min(pool, machine/4)
	}
	pool = max(pool, smallestPool)
	return pool / mebibyte * mebibyte
}

// Settle gives a running server the settings of a size: what Serve left small
// for the sake of a fast start, and what a change of size asks. It may be
// repeated, and clients may be served meanwhile.
func (e *Engine) Settle(ctx context.Context, address string, size acu.Size) error {
	login, err := controlLogin(address)
	if err != nil {
		return fmt.Errorf("settle the server: %w", err)
	}
	c, err := dial(ctx, "unix", address, login)
	if err != nil {
		return fmt.Errorf("settle the server: %w", err)
	}
	defer c.quit()
	var statements []string
	for _, s := range sized(size) {
		if s.value != "0" {
			statements = append(statements, "SET GLOBAL "+s.name+" = "+s.value)
		}
	}
	if err := c.run(ctx, statements...); err != nil {
		return fmt.Errorf("settle the server: %w", err)
	}
	return nil
}
