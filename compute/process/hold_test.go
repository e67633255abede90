package process_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"serverlessproxy/acu"
	"serverlessproxy/compute/process"
	"serverlessproxy/compute/process/limits"
)

// groupsOf are the directories of a cluster's control group.
func groupsOf(t *testing.T, cluster string) (dirs []string) {
	t.Helper()
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), "serverlessproxy-"+cluster+"-") {
			dirs = append(dirs, path)
		}
		return nil
	})
	return dirs
}

// TestHeldToItsSize: a real engine is in a group from its start on, whose
// limits follow its size and which goes with it.
func TestHeldToItsSize(t *testing.T) {
	at := filled(t)
	name := fmt.Sprintf("held%d", os.Getpid())
	held := limits.New(limits.All, name, at.Data)
	if !strings.Contains(held.Way(), "cgroup") {
		t.Skip("no control groups here: " + held.Way())
	}
	c := process.New(process.Config{Name: name, Engine: engine(nil), Place: at, Log: quiet, Limits: held})
	size := func(capacity acu.Capacity) acu.Size {
		return acu.Postgres.Size(capacity, acu.Unit{Memory: 1 << 30, CPU: 0.1}, 10)
	}
	if _, err := c.Start(limited(t), size(2)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, c) })
	limit := func() string {
		for _, dir := range groupsOf(t, name) {
			for _, file := range []string{"memory.limit_in_bytes", "memory.max"} {
				if text, err := os.ReadFile(filepath.Join(dir, file)); err == nil {
					return strings.TrimSpace(string(text))
				}
			}
		}
		return "none"
	}
	if got := limit(); got != fmt.Sprint(2<<30) {
		t.Errorf("at 2 ACU the memory limit is %s", got)
	}
	family, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", engine(nil).PID(at)))
	if err != nil || !strings.Contains(string(family), "serverlessproxy-"+name) {
		t.Errorf("the engine is in %s, %v", family, err)
	}
	for _, capacity := range []acu.Capacity{4, 2} {
		if _, err := c.Resize(limited(t), size(capacity)); err != nil {
			t.Fatal(err)
		}
		if got := limit(); got != fmt.Sprint(int64(capacity)<<30) {
			t.Errorf("at %d ACU the memory limit is %s", capacity, got)
		}
	}
	stop(t, c)
	if left := groupsOf(t, name); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
