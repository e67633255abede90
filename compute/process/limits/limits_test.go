package limits

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestUnder(t *testing.T) {
	const giB = 1 << 30
	all := float64(runtime.NumCPU())
	for _, tt := range []struct {
		policy Policy
		amount Amount
		want   Amount
	}{
		{All, Amount{4 * giB, 0.5}, Amount{4 * giB, 0.5}},
		{All, Amount{4 * giB, all}, Amount{4 * giB, 0}}, // all there is: no limit
		{All, Amount{1 << 20, 0.5}, Amount{leastMemory, 0.5}},
		{All, Amount{}, Amount{}},
		{Memory, Amount{4 * giB, 0.5}, Amount{4 * giB, 0}},
		{Off, Amount{4 * giB, 0.5}, Amount{}},
	} {
		if got := tt.policy.under(tt.amount); got != tt.want {
			t.Errorf("%s of %+v: %+v, want %+v", tt.policy, tt.amount, got, tt.want)
		}
	}
}

func TestMax(t *testing.T) {
	for _, tt := range []struct{ a, b, want Amount }{
		{Amount{1, 4}, Amount{2, 3}, Amount{2, 4}},
		{Amount{0, 4}, Amount{2, 3}, Amount{0, 4}}, // no limit is the largest
		{Amount{1, 4}, Amount{2, 0}, Amount{2, 0}},
	} {
		if got := tt.a.Max(tt.b); got != tt.want {
			t.Errorf("%+v and %+v: %+v, want %+v", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestTreesIn(t *testing.T) {
	for name, tt := range map[string]struct {
		mounts, own string
		want        map[string]string
	}{
		"version 1": {
			`30 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
31 25 0:27 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
`, "4:memory:/jobs/a\n1:cpu,cpuacct:/\n", map[string]string{"cpu": "/sys/fs/cgroup/cpu,cpuacct", "memory": "/sys/fs/cgroup/memory/jobs/a"},
		},
		"version 2": {
			"30 25 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n", "0::/system.slice/x.service\n",
			map[string]string{"": "/sys/fs/cgroup/system.slice/x.service"},
		},
		"a container's part of it": {
			"30 25 0:26 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n", "4:memory:/docker/abc/in\n",
			map[string]string{"memory": "/sys/fs/cgroup/memory/in"},
		},
		"moved out of what the container shows": {
			"30 25 0:26 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n", "4:memory:/elsewhere\n",
			map[string]string{"memory": "/sys/fs/cgroup/memory"},
		},
		"none": {"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", "0::/\n", map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			got := treesIn(tt.mounts, tt.own)
			if len(got) != len(tt.want) {
				t.Errorf("%v", got)
			}
			for controller, at := range tt.want {
				if got[controller].at != at {
					t.Errorf("%q is at %q, want %q", controller, got[controller].at, at)
				}
			}
		})
	}
}

func TestDelegated(t *testing.T) {
	root := t.TempDir()
	own := filepath.Join(root, "system.slice", "x.service")
	if err := os.MkdirAll(own, 0o755); err != nil {
		t.Fatal(err)
	}
	for dir, on := range map[string]string{own: "", filepath.Dir(own): "pids memory cpu\n", root: "cpu memory\n"} {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(on), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	at, err := tree{own, root}.delegated()
	if err != nil || at != filepath.Dir(own) {
		t.Errorf("%q, %v", at, err)
	}
	if _, err := (tree{root + "/elsewhere", root + "/elsewhere"}).delegated(); err == nil {
		t.Error("a tree without controllers is used")
	}
}

// TestWordsOfVersion2 writes into plain files, since a machine has one version.
func TestWordsOfVersion2(t *testing.T) {
	at := t.TempDir()
	dir := filepath.Join(at, "g")
	k := &kernel{&version2, at, at}
	if err := k.make("g", Amount{}); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"cpu.max": "", "cpu.weight": "", "memory.max": "", "cgroup.procs": "", "memory.stat": "anon 800\nfile 5000\nshmem 0\nkernel_stack 0\nslab_unreclaimable 0\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) string {
		text, _ := os.ReadFile(filepath.Join(dir, name))
		_ = os.Truncate(filepath.Join(dir, name), 0)
		return string(text)
	}
	for _, tt := range []struct {
		cores float64
		want  string
	}{{0.5, "50000 100000"}, {0.001, "1000 100000"}, {0, "max 100000"}} {
		if err := k.limitCPU("g", tt.cores); err != nil {
			t.Fatal(err)
		}
		if got := read("cpu.max"); got != tt.want {
			t.Errorf("%v cores: %q, want %q", tt.cores, got, tt.want)
		}
	}
	for _, tt := range []struct {
		limit int64
		above bool
		want  string
	}{{4000, false, "4000"}, {700, true, "900"}, {0, false, "max"}} {
		above, err := k.limitMemory("g", tt.limit)
		if got := read("memory.max"); err != nil || above != tt.above || got != tt.want {
			t.Errorf("%d bytes: %q (above: %v), %v; want %q", tt.limit, got, above, err, tt.want)
		}
	}
	if err := k.add("g", []int{77}); err != nil || read("cgroup.procs") != "77" {
		t.Error(err)
	}
}

func TestChoose(t *testing.T) {
	var allowed unix.CPUSet
	for _, cpu := range []int{1, 3, 5} {
		allowed.Set(cpu)
	}
	for _, tt := range []struct {
		cores, spread int
		want          []int
	}{{1, 0, []int{1}}, {1, 4, []int{3}}, {2, 2, []int{5, 1}}, {3, 1, []int{1, 3, 5}}, {0, 1, []int{1, 3, 5}}, {9, 0, []int{1, 3, 5}}} {
		got := choose(allowed, tt.cores, tt.spread)
		if got.Count() != len(tt.want) {
			t.Errorf("%d from %d: %d processors", tt.cores, tt.spread, got.Count())
		}
		for _, cpu := range tt.want {
			if !got.IsSet(cpu) {
				t.Errorf("%d from %d: not processor %d", tt.cores, tt.spread, cpu)
			}
		}
	}
}

// busy is a process that uses all the CPU that it gets.
func busy(t *testing.T) (pid int) {
	t.Helper()
	child := exec.Command("/bin/sh", "-c", "while :; do :; done")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = child.Process.Kill(); _ = child.Wait() })
	return child.Process.Pid
}

func TestAffinityWithoutGroups(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("one processor: there is nothing to choose from")
	}
	g := New(All, "shop", t.Name())
	g.without(errNone)
	pid := busy(t)
	for _, tt := range []struct {
		cpu  float64
		want int
	}{{0.5, 1}, {float64(runtime.NumCPU()), runtime.NumCPU()}} {
		if err := g.Hold(Amount{CPU: tt.cpu}, pid); err != nil {
			t.Fatal(err)
		}
		var has unix.CPUSet
		if err := unix.SchedGetaffinity(pid, &has); err != nil || has.Count() != tt.want {
			t.Errorf("%v cores: %d processors (%v), want %d", tt.cpu, has.Count(), err, tt.want)
		}
	}
	if !strings.HasPrefix(g.Way(), "CPU by affinity") || !strings.Contains(g.Way(), errNone.Error()) {
		t.Error(g.Way())
	}
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
}

// TestHeldByTheKernel: a real group slows a process down and goes with it.
func TestHeldByTheKernel(t *testing.T) {
	g := New(All, "shop", t.Name()+strconv.Itoa(os.Getpid()))
	if g.kernel == nil {
		t.Skip("no control groups here: " + g.Way())
	}
	if runtime.NumCPU() < 2 {
		t.Skip("one processor: half of it is hard to measure")
	}
	t.Logf("by %s", g.Way())
	child := exec.Command("/bin/sh", "-c", "while :; do :; done")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if err := g.Hold(Amount{Memory: 1 << 30, CPU: 0.2}, child.Process.Pid); err != nil {
		t.Fatal(err)
	}
	limit, err := os.ReadFile(filepath.Join(g.kernel.memory, g.name, g.kernel.words.memoryFile))
	if err != nil || strings.TrimSpace(string(limit)) != strconv.Itoa(1<<30) {
		t.Errorf("the memory limit is %s, %v", limit, err)
	}
	time.Sleep(2 * time.Second) // what is measured is time
	_ = child.Process.Kill()
	_ = child.Wait()
	used := child.ProcessState.UserTime() + child.ProcessState.SystemTime()
	if used > 700*time.Millisecond {
		t.Errorf("at 0.2 cores for 2 s it had %v of CPU", used)
	}
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
	if g.kernel.has(g.name) {
		t.Error("the group is still there")
	}
}

// TestOffTouchesNothing, but lifts what an earlier run has left.
func TestOffTouchesNothing(t *testing.T) {
	g := New(Off, "shop", t.Name()+strconv.Itoa(os.Getpid()))
	if err := g.Hold(Amount{Memory: 1 << 30, CPU: 0.2}); err != nil {
		t.Fatal(err)
	}
	if g.kernel != nil && g.kernel.has(g.name) {
		t.Error("a group was made")
	}
	if g.Way() != "off" {
		t.Error(g.Way())
	}
}

// TestMemoryAlone makes no group of CPU, and one that an earlier run made holds
// nothing any more.
func TestMemoryAlone(t *testing.T) {
	name := t.Name() + strconv.Itoa(os.Getpid())
	g := New(Memory, "shop", name)
	if g.kernel == nil || g.kernel.cpu == g.kernel.memory {
		t.Skip("one tree, or none: " + g.Way())
	}
	pid := busy(t)
	if err := g.Hold(Amount{Memory: 1 << 30, CPU: 0.2}, pid); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(g.kernel.cpu, g.name)
	if exists(dir) {
		t.Error("there is a group of CPU")
	}
	if err := New(All, "shop", name).Hold(Amount{Memory: 1 << 30, CPU: 0.2}, pid); err != nil {
		t.Fatal(err)
	}
	if err := g.Hold(Amount{Memory: 1 << 30, CPU: 0.2}, pid); err != nil {
		t.Fatal(err)
	}
	if quota, err := os.ReadFile(filepath.Join(dir, g.kernel.words.cpuFile)); err != nil || strings.TrimSpace(string(quota)) != "-1" {
		t.Errorf("the quota of an earlier run is %s, %v", quota, err)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	if err := g.Remove(); err != nil || exists(dir) {
		t.Errorf("a group is left: %v", err)
	}
}
