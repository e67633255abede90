package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// socketPath is how long the path of a Unix socket may be, in bytes.
	socketPath = 107
	// leastDisk is what a new cluster and its first log segments need.
	leastDisk = 512 << 20
)

// Finding is the outcome of one check before a cluster is made or started.
type Finding struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"`

	permission bool // what fails is a permission
}

// Check looks whether the engine could be run here. It changes nothing.
func (c *Compute) Check(ctx context.Context) []Finding {
	return []Finding{
		c.checkProgram(ctx),
		c.checkData(),
		c.checkUser(),
		c.checkPermission(),
		c.checkSocket(),
		c.checkDisk(),
		c.checkLimits(),
	}
}

func (c *Compute) checkProgram(ctx context.Context) Finding {
	version, err := c.engine.Check(ctx)
	if err != nil {
		return Finding{Name: "engine", Detail: err.Error(), Remedy: "install the engine, or set compute.bin_dir to the folder of its programs"}
	}
	return Finding{Name: "engine", OK: true, Detail: "version " + version}
}

func (c *Compute) checkData() Finding {
	version, err := c.engine.Existing(c.place)
	switch {
	case err != nil:
		return Finding{Name: "data", Detail: err.Error(), Remedy: "install programs of the data's version, or set compute.data_dir to another directory"}
	case version == "":
		return Finding{Name: "data", OK: true, Detail: "will be made at " + c.place.db()}
	}
	return Finding{Name: "data", OK: true, Detail: "version " + version + " at " + c.place.db()}
}

func (c *Compute) checkUser() Finding {
	if os.Geteuid() != 0 && os.Geteuid() != c.place.UID {
		return Finding{
			Name: "user", permission: true,
			Detail: fmt.Sprintf("the engine is to run as user %s, which only root may make it do", userName(c.place.UID)),
			Remedy: "run serverlessproxy as root or as that user, or leave compute.user out",
		}
	}
	if c.place.UID == 0 {
		return Finding{Name: "user", permission: true, Detail: "the engine would run as root, which it refuses", Remedy: "set compute.user to another user, such as postgres or mysql"}
	}
	return Finding{Name: "user", OK: true, Detail: "runs as " + userName(c.place.UID)}
}

// checkPermission looks whether the engine's user can get at its directories,
// and whether the proxy can make those that are missing.
func (c *Compute) checkPermission() Finding {
	for _, path := range []string{c.place.Data, c.place.Run} {
		barred, err := c.barred(path)
		if err != nil {
			return Finding{Name: "permission", permission: true, Detail: err.Error(), Remedy: "choose another state directory"}
		}
		if barred != "" {
			return Finding{
				Name: "permission", permission: true,
				Detail: fmt.Sprintf("user %s cannot enter %s, which %s is in", userName(c.place.UID), barred, path),
				Remedy: fmt.Sprintf("chmod o+x %s, or choose a state directory elsewhere, such as /var/lib/serverlessproxy", barred),
			}
		}
		there := nearest(path)
		if err := unix.Access(there, unix.W_OK|unix.X_OK); err != nil {
			return Finding{
				Name: "permission", permission: true,
				Detail: fmt.Sprintf("user %s cannot write in %s: %v", userName(os.Geteuid()), there, err),
				Remedy: fmt.Sprintf("give %s to user %s, or choose another state directory", there, userName(os.Geteuid())),
			}
		}
	}
	return Finding{Name: "permission", OK: true, Detail: "the directories can be made and entered"}
}

// barred is the first directory above path that the engine's user may not
// enter, "" if there is none.
func (c *Compute) barred(path string) (string, error) {
	ids := append(groups(c.place.UID), uint32(c.place.GID))
	for dir := range above(path) {
		info, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it will be made, with a mode that lets the user in
		}
		if err != nil {
			return "", err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			continue
		}
		if !mayEnter(info.Mode(), stat, uint32(c.place.UID), ids) {
			return dir, nil
		}
	}
	return "", nil
}

// above yields every directory that path is in, from the root on.
func above(path string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		var dirs []string
		for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
			dirs = append(dirs, dir)
			if dir == filepath.Dir(dir) {
				break
			}
		}
		for _, dir := range slices.Backward(dirs) {
			if !yield(dir) {
				return
			}
		}
	}
}

// mayEnter is the kernel's rule for a directory: the owner's bit for the
// owner, the group's for the group, the last one for everybody else.
func mayEnter(mode fs.FileMode, owner *syscall.Stat_t, uid uint32, groups []uint32) bool {
	switch {
	case uid == 0:
		return true
	case owner.Uid == uid:
		return mode&0o100 != 0
	case slices.Contains(groups, owner.Gid):
		return mode&0o010 != 0
	}
	return mode&0o001 != 0
}

func (c *Compute) checkSocket() Finding {
	network, address := c.engine.Address(c.place)
	if network == "unix" && len(address) > socketPath {
		return Finding{
			Name:   "socket",
			Detail: fmt.Sprintf("the path of the engine's socket is %d bytes long, and the system allows %d: %s", len(address), socketPath, address),
			Remedy: "choose a state directory with a shorter path, or a shorter name for the cluster",
		}
	}
	return Finding{Name: "socket", OK: true, Detail: address}
}

func (c *Compute) checkDisk() Finding {
	there := nearest(c.place.Data)
	var fsys unix.Statfs_t
	if err := unix.Statfs(there, &fsys); err != nil {
		return Finding{Name: "disk", Detail: fmt.Sprintf("look at the file system of %s: %v", there, err), Remedy: "choose another state directory"}
	}
	free := fsys.Bavail * uint64(fsys.Bsize)
	detail := fmt.Sprintf("%d MiB are free at %s", free>>20, there)
	if free < leastDisk {
		return Finding{Name: "disk", Detail: fmt.Sprintf("only %s, and at least %d are needed", detail, leastDisk>>20), Remedy: "free some space, or choose another state directory"}
	}
	return Finding{Name: "disk", OK: true, Detail: detail}
}

// nearest is path, or the directory above it that exists.
func nearest(path string) string {
	for !exists(path) && path != filepath.Dir(path) {
		path = filepath.Dir(path)
	}
	return path
}

func userName(uid int) string {
	if account, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return account.Username
	}
	return strconv.Itoa(uid)
}

// noPermission is how Aurora begins to say that a permission is missing.
const noPermission = "Unable to create the resource. Verify that you have permission to create service linked role. Otherwise wait and try again later."

// PreflightError says what stands in the way of a cluster, all of it.
type PreflightError struct{ Failed []Finding }

func (e *PreflightError) Error() string {
	var b strings.Builder
	if slices.ContainsFunc(e.Failed, func(f Finding) bool { return f.permission }) {
		b.WriteString(noPermission + " ")
	}
	for i, f := range e.Failed {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s: %s: %s", f.Name, f.Detail, f.Remedy)
	}
	return b.String()
}

// Preflight is a *PreflightError if a check has failed.
func Preflight(findings []Finding) error {
	var failed []Finding
	for _, f := range findings {
		if !f.OK {
			failed = append(failed, f)
		}
	}
	if failed == nil {
		return nil
	}
	return &PreflightError{Failed: failed}
}
