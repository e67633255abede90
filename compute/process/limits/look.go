package limits

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

var errNone = errors.New("this machine shows no control groups of CPU and memory (is /sys/fs/cgroup mounted?)")

// look finds where this process may make groups: within its own group, so that
// what holds it holds its engines, too.
func look() (*kernel, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	trees := treesIn(string(mounts), string(own))
	cpu, memory, both := trees["cpu"], trees["memory"], trees[""]
	if cpu.at != "" && memory.at != "" {
		return usable(&kernel{&version1, cpu.at, memory.at})
	}
	if both.at == "" {
		return nil, errNone
	}
	at, err := both.delegated()
	if err != nil {
		return nil, err
	}
	return usable(&kernel{&version2, at, at})
}

func usable(k *kernel) (*kernel, error) {
	for _, dir := range []string{k.cpu, k.memory} {
		if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
			return nil, fmt.Errorf("control groups cannot be made in %s (%w): run as root, or have it given to this user", dir, err)
		}
	}
	return k, nil
}

// tree is where this process is in one tree of groups, and where that tree is
// mounted.
type tree struct{ at, mount string }

// treesIn are the trees by controller; that of version 2 by "".
func treesIn(mountinfo, own string) map[string]tree {
	at := map[string]string{} // by controller
	for line := range strings.Lines(own) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) == 3 {
			for controller := range strings.SplitSeq(fields[1], ",") {
				at[controller] = fields[2]
			}
		}
	}
	trees := map[string]tree{}
	for line := range strings.Lines(mountinfo) {
		mount, system, found := strings.Cut(line, " - ")
		left, right := strings.Fields(mount), strings.Fields(system)
		if !found || len(left) < 5 || len(right) < 3 {
			continue
		}
		for _, controller := range controllers(right[0], right[2]) {
			if path, ok := at[controller]; ok {
				trees[controller] = tree{at: filepath.Join(left[4], below(path, left[3])), mount: left[4]}
			}
		}
	}
	return trees
}

// controllers are those of a mounted file system; [""] for version 2.
func controllers(system, options string) []string {
	switch system {
	case "cgroup":
		return slices.DeleteFunc(strings.Split(options, ","), func(o string) bool { return o != "cpu" && o != "memory" })
	case "cgroup2":
		return []string{""}
	}
	return nil
}

// below is path from root on; a path that lies elsewhere (this process was
// moved out of what its container shows) is taken for root itself.
func below(path, root string) string {
	if root == "/" {
		return path
	}
	if rest, ok := strings.CutPrefix(path, root); ok {
		return rest
	}
	return "/"
}

// delegated is the nearest directory whose groups may have limits. A group of
// version 2 that has processes of its own, as that of this process, cannot pass
// its controllers on, unless it is the root of all.
func (t tree) delegated() (string, error) {
	for dir := t.at; strings.HasPrefix(dir, t.mount); dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
		on := strings.Fields(string(text))
		if err == nil && slices.Contains(on, "cpu") && slices.Contains(on, "memory") {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no control group at or above %s passes CPU and memory on (cgroup.subtree_control): write \"+cpu +memory\" into it", t.at)
}
