package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"serverlessproxy/acu"
)

// launch starts a new server on the volume. It is not yet ready.
func (c *Compute) launch(size acu.Size) (*instance, error) {
	version, err := c.engine.Existing(c.place)
	if err != nil {
		return nil, err
	}
	if version == "" {
		return nil, fmt.Errorf("%w: %s is missing or empty; nothing is made in its place: restore it, or delete the cluster and create it anew", ErrNoData, c.place.db())
	}
	if err := c.place.prepare(); err != nil {
		return nil, err
	}
	if err := c.clear(); err != nil {
		return nil, err
	}
	command := c.engine.Serve(c.place, size)
	for _, file := range command.Files {
		if err := writeRun(c.place, file); err != nil {
			return nil, err
		}
	}
	return c.spawn(command)
}

// spawn starts the command as the engine's user and has its end waited for.
func (c *Compute) spawn(command Command) (*instance, error) {
	log := &engineLog{at: c.place, limit: c.logLimit}
	file, err := log.begin()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	child := c.command(command)
	child.Stdout, child.Stderr = file, file
	if err := child.Start(); err != nil {
		return nil, fmt.Errorf("start engine: %w", err)
	}
	engine := newInstance(child.Process, log)
	engine.attend.Go(func() { engine.waitChild(child) })
	engine.attend.Go(func() { c.keepLog(engine) })
	if err := c.remember(engine); err != nil {
		return nil, errors.Join(err, c.halt(engine))
	}
	return engine, nil
}

// remember writes down which process the engine is. One that has ended
// already has nothing to be remembered by, and await says why.
func (c *Compute) remember(engine *instance) error {
	p, err := readProc(engine.pid)
	if err != nil || p.dead() {
		return nil
	}
	return writeRecord(c.place, recordOf(p))
}

// keepLog keeps an engine's log short until the engine's end.
func (c *Compute) keepLog(engine *instance) {
	if err := engine.log.keepShort(engine.ended); err != nil {
		c.log.Warn("the engine's log may now grow without limit", "error", err)
	}
}

// command is what runs a program as the engine's user: in a session of its
// own, so that Ctrl-C at a terminal reaches the proxy alone; without a death
// signal, since a killed proxy must not kill a database; and with nothing of
// the proxy's own environment.
func (c *Compute) command(from Command) *exec.Cmd {
	inheritFiles()
	cmd := exec.Command(from.Path, from.Args...)
	cmd.Env = append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C.UTF-8",
		"LC_ALL=C.UTF-8",
	}, c.environment...)
	cmd.Env = append(cmd.Env, from.Env...)
	cmd.Dir = c.place.Data
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if c.place.becomes() {
		cmd.SysProcAttr.Credential = &syscall.Credential{
			Uid: uint32(c.place.UID), Gid: uint32(c.place.GID), Groups: groups(c.place.UID),
		}
	}
	return cmd
}

// groups are the further groups of a user: an engine may need one of them to
// read its certificate.
func groups(uid int) []uint32 {
	account, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return nil
	}
	names, err := account.GroupIds()
	if err != nil {
		return nil
	}
	var ids []uint32
	for _, name := range names {
		if id, err := strconv.ParseUint(name, 10, 32); err == nil {
			ids = append(ids, uint32(id))
		}
	}
	return ids
}

// inheritFiles has engines inherit a limit of open files as high as it may be.
// Go gives a child the soft limit that the proxy itself was started with,
// unless the proxy has set one; to set it between fork and exec is not
// possible, and after exec is too late, since a server reads it at once.
var inheritFiles = sync.OnceFunc(func() {
	const wanted = 1 << 20
	if syscall.Setrlimit(unix.RLIMIT_NOFILE, &syscall.Rlimit{Cur: wanted, Max: wanted}) == nil {
		return
	}
	var limit syscall.Rlimit
	if syscall.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		limit.Cur = limit.Max
		_ = syscall.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	}
})

// Owner is the user whom a cluster's engine runs as: the one that is named
// where the proxy is root, the proxy's own user otherwise.
func Owner(name string) (uid, gid int, err error) {
	if os.Geteuid() != 0 {
		return os.Geteuid(), os.Getegid(), nil
	}
	account, err := user.Lookup(name)
	if err != nil {
		return 0, 0, fmt.Errorf("the engine's user %q does not exist: install the engine's package, which makes it, or set compute.user: %w", name, err)
	}
	uid, err = strconv.Atoi(account.Uid)
	if err != nil {
		return 0, 0, fmt.Errorf("look up user %q: %w", name, err)
	}
	gid, err = strconv.Atoi(account.Gid)
	if err != nil {
		return 0, 0, fmt.Errorf("look up user %q: %w", name, err)
	}
	return uid, gid, nil
}
