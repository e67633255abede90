package limits

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// period is over what the kernel measures CPU, in microseconds: its default.
const period = 100_000

// kernel is where groups are made, and in which words. Version 1 has a tree for
// each controller, version 2 one for both.
type kernel struct {
	words       *version
	cpu, memory string // directories in which groups are made
}

// version is what the two versions call the same things.
type version struct {
	name                string
	cpuFile, memoryFile string
	cpu                 func(quota int64) string // 0: no limit
	noMemory            string
	weightFile, weight  string   // of CPU, 16 times that of a task
	held                []string // lines of memory.stat: what the kernel cannot take back
	inUse               string   // the file that says how much is
}

var (
	version1 = version{
		name: "cgroup v1", cpuFile: "cpu.cfs_quota_us", memoryFile: "memory.limit_in_bytes", noMemory: "-1", weightFile: "cpu.shares", weight: "16384",
		cpu: func(quota int64) string {
			if quota == 0 {
				return "-1"
			}
			return strconv.FormatInt(quota, 10)
		},
		held: []string{"total_rss", "total_shmem"}, inUse: "memory.usage_in_bytes",
	}
	version2 = version{
		name: "cgroup v2", cpuFile: "cpu.max", memoryFile: "memory.max", noMemory: "max", weightFile: "cpu.weight", weight: "1600",
		cpu: func(quota int64) string {
			if quota == 0 {
				return fmt.Sprintf("max %d", period)
			}
			return fmt.Sprintf("%d %d", quota, period)
		},
		held: []string{"anon", "shmem", "kernel_stack", "slab_unreclaimable"}, inUse: "memory.current",
	}
)

func (k *kernel) String() string { return k.words.name }

// directories are those of a group: one for each tree.
func (k *kernel) directories(name string) []string {
	if k.cpu == k.memory {
		return []string{filepath.Join(k.cpu, name)}
	}
	return []string{filepath.Join(k.cpu, name), filepath.Join(k.memory, name)}
}

func (k *kernel) has(name string) bool { return exists(filepath.Join(k.memory, name)) }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// make makes a group where an amount needs it. Without a limit of CPU it has
// none in that tree: a group counts there as one against each task outside of
// it, and a server with many processes would starve beside its clients.
func (k *kernel) make(name string, amount Amount) error {
	needed := []string{filepath.Join(k.memory, name)}
	if amount.CPU > 0 {
		needed = append(needed, filepath.Join(k.cpu, name))
	}
	for _, dir := range needed {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// add moves processes into the group. Those that have ended are not missed.
func (k *kernel) add(name string, pids []int) error {
	for _, dir := range k.directories(name) {
		if !exists(dir) {
			continue
		}
		for _, pid := range pids {
			err := put(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid))
			if err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
		}
	}
	return nil
}

// limitCPU is no limit for 0. Where a group above allows less, its limit is
// the one that holds. The group's weight is high, so that its limit is what
// holds it and not its neighbours.
func (k *kernel) limitCPU(name string, cores float64) error {
	dir := filepath.Join(k.cpu, name)
	if !exists(dir) {
		return nil
	}
	if err := put(filepath.Join(dir, k.words.weightFile), k.words.weight); err != nil {
		return err
	}
	quota := int64(cores * period)
	if cores > 0 {
		quota = max(quota, 1000) // the kernel's least
	}
	file := filepath.Join(dir, k.words.cpuFile)
	err := put(file, k.words.cpu(quota))
	if errors.Is(err, syscall.EINVAL) && quota > 0 {
		return put(file, k.words.cpu(0))
	}
	return err
}

// limitMemory is no limit for 0. It is never set below what is in use: above
// says that it is higher than asked for that reason.
func (k *kernel) limitMemory(name string, limit int64) (above bool, err error) {
	dir := filepath.Join(k.memory, name)
	file := filepath.Join(dir, k.words.memoryFile)
	if limit == 0 {
		return false, put(file, k.words.noMemory)
	}
	stat, err := os.ReadFile(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return false, err
	}
	floor := k.floor(string(stat))
	err = put(file, strconv.FormatInt(max(limit, floor), 10))
	if !errors.Is(err, syscall.EBUSY) {
		return floor > limit, err
	}
	text, err := os.ReadFile(filepath.Join(dir, k.words.inUse))
	if err != nil {
		return false, err
	}
	return true, put(file, strings.TrimSpace(string(text)))
}

// floor is what the kernel could not take back from a group, and an eighth for
// what is asked for next.
func (k *kernel) floor(stat string) (bytes int64) {
	for line := range strings.Lines(stat) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		for _, held := range k.words.held {
			if n, err := strconv.ParseInt(value, 10, 64); err == nil && name == held {
				bytes += n
			}
		}
	}
	return bytes + bytes/8
}

// removal is how long the kernel may take to notice the end of a group's last
// process.
const removal = time.Second

func (k *kernel) remove(name string) error {
	for _, dir := range k.directories(name) {
		for deadline := time.Now().Add(removal); ; time.Sleep(5 * time.Millisecond) {
			err := syscall.Rmdir(dir)
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				break
			}
			if !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
				return fmt.Errorf("remove control group %s: %w", dir, err)
			}
		}
	}
	return nil
}

func put(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
