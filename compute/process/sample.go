package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"serverlessproxy/cluster"
)

// ticksPerSecond is the unit of /proc's CPU times: Linux shows 100 to every
// program, whatever it counts in.
const ticksPerSecond = 100

// look is what an engine had used at one moment.
type look struct {
	at    time.Time // zero: never
	pid   int
	ticks uint64
}

// Sample is what the engine used since the last Sample: CPU of all of its
// processes, also of those that have ended meanwhile, and memory that is
// theirs alone or shared between them.
func (c *Compute) Sample(context.Context) (cluster.Usage, bool, error) {
	if c.current == nil || !c.current.alive() {
		return cluster.Usage{}, false, errors.New("sample engine: it does not run")
	}
	if c.limits != nil {
		c.limits.Settle()
	}
	family, err := familyOf(c.current.pid)
	if err != nil {
		return cluster.Usage{}, false, fmt.Errorf("sample engine: %w", err)
	}
	now, last := look{time.Now(), c.current.pid, ticksOf(family, c.current.pid)}, c.looked
	c.looked = now
	if last.pid != now.pid || now.ticks < last.ticks || !now.at.After(last.at) {
		return cluster.Usage{}, false, nil
	}
	own, shared := memoryOf(family)
	return cluster.Usage{
		CPU:    float64(now.ticks-last.ticks) / ticksPerSecond / now.at.Sub(last.at).Seconds(),
		Memory: own + shared,
		Kept:   shared,
	}, true, nil
}

// familyOf is a process and all that descend from it.
func familyOf(pid int) ([]procfs, error) {
	children := map[int][]procfs{}
	var root procfs
	err := processes(func(p procfs) {
		children[p.parent] = append(children[p.parent], p)
		if p.pid == pid {
			root = p
		}
	})
	if err == nil && root.pid == 0 {
		err = os.ErrProcessDone
	}
	if err != nil {
		return nil, err
	}
	family := []procfs{root}
	for i := 0; i < len(family); i++ {
		family = append(family, children[family[i].pid]...)
	}
	return family, nil
}

// ticksOf is the CPU time of a family. What its ended members used is the
// root's to tell, once it has waited for them.
func ticksOf(family []procfs, root int) (ticks uint64) {
	for _, p := range family {
		ticks += p.worked
		if p.pid == root {
			ticks += p.reaped
		}
	}
	return ticks
}

// memoryOf is what a family has for itself alone, and what is shared between
// its members, of which each maps a part of the same. Files that are mapped
// are not counted: the kernel can drop them.
func memoryOf(family []procfs) (own, shared int64) {
	for _, p := range family {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/status")
		if err != nil {
			continue // it has ended meanwhile
		}
		own += kilobytes(text, "RssAnon:")
		shared = max(shared, kilobytes(text, "RssShmem:"))
	}
	return own, shared
}

// kilobytes is the value of a line such as "RssAnon:   1234 kB", in bytes.
func kilobytes(text []byte, key string) int64 {
	for line := range bytes.Lines(text) {
		value, found := strings.CutPrefix(string(line), key)
		if !found {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
		if err != nil {
			return 0
		}
		return n << 10
	}
	return 0
}
