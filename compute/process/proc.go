package process

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// procfs is what the kernel tells of one process at one moment.
type procfs struct {
	pid     int
	parent  int
	state   byte   // 'Z' and 'X' are dead
	started uint64 // clock ticks since the machine started; with pid, which process it is
	uid     uint32
	worked  uint64 // clock ticks of CPU, by the process itself
	reaped  uint64 // clock ticks of CPU, by its children that have ended
}

// readProc is an error when there is no such process.
func readProc(pid int) (procfs, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	info, err := os.Stat(dir)
	if err != nil {
		return procfs{}, err
	}
	text, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return procfs{}, err
	}
	p, err := parseStat(text)
	if err != nil {
		return procfs{}, fmt.Errorf("read %s/stat: %w", dir, err)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		p.uid = owner.Uid
	}
	return p, nil
}

// parseStat reads /proc/PID/stat. The second field is the program's name in
// parentheses and may itself hold spaces and parentheses.
func parseStat(text []byte) (procfs, error) {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return procfs{}, fmt.Errorf("no program name in %q", text)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text[:open])))
	if err != nil {
		return procfs{}, fmt.Errorf("no process id in %q", text)
	}
	fields := strings.Fields(string(text[end+1:]))
	if len(fields) < 20 || len(fields[0]) != 1 {
		return procfs{}, fmt.Errorf("too few fields in %q", text)
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return procfs{}, fmt.Errorf("no parent in %q", text)
	}
	started, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return procfs{}, fmt.Errorf("no start time in %q", text)
	}
	p := procfs{pid: pid, parent: parent, state: fields[0][0], started: started}
	for i, into := range []*uint64{&p.worked, &p.worked, &p.reaped, &p.reaped} {
		ticks, err := strconv.ParseUint(fields[11+i], 10, 64)
		if err != nil {
			return procfs{}, fmt.Errorf("no CPU time in %q", text)
		}
		*into += ticks
	}
	return p, nil
}

func (p procfs) dead() bool { return p.state == 'Z' || p.state == 'X' }

// program is the file that the process runs. An upgrade may have replaced it.
func (p procfs) program() string {
	path, err := os.Readlink("/proc/" + strconv.Itoa(p.pid) + "/exe")
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(path, " (deleted)")
}

// worksIn tells whether dir is the process's working directory, which for a
// database server is its data directory.
func (p procfs) worksIn(dir string) bool {
	at, err := os.Stat("/proc/" + strconv.Itoa(p.pid) + "/cwd")
	if err != nil {
		return false
	}
	want, err := os.Stat(dir)
	return err == nil && os.SameFile(at, want)
}

// processes calls f for every living process.
func processes(f func(procfs)) error {
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(filepath.Base(entry))
		if err != nil {
			continue
		}
		if p, err := readProc(pid); err == nil && !p.dead() {
			f(p)
		}
	}
	return nil
}

// bootID differs between two starts of the machine.
func bootID() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text))
}

// oomKills is how many processes the kernel has ended for want of memory.
func oomKills() int {
	text, _ := os.ReadFile("/proc/vmstat")
	for line := range strings.Lines(string(text)) {
		if number, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(number))
			return n
		}
	}
	return 0
}
