// Package limits holds an engine's processes to the CPU and memory of their
// size: by a control group of their own, version 2 or 1, where this process may
// make one; else by CPU affinity.
//
// It owns that group: its name, its making, what is written to it, its removal.
// It never knows what an engine is or when it starts. Its lock: Group.way is
// atomic, so that anybody may ask how an engine is held; everything else is its
// caller's, one call at a time.
package limits

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"runtime"
	"sync/atomic"
)

// Policy is what is limited; the words are the configuration's.
type Policy string

const (
	All    Policy = "all"    // CPU and memory, as well as this machine can
	Memory Policy = "memory" // memory alone
	Off    Policy = "off"
)

// Amount is what an engine may use. 0 is no limit.
type Amount struct {
	Memory int64   // bytes
	CPU    float64 // cores
}

// Max is the larger of each: what holds neither of two sizes up.
func (a Amount) Max(b Amount) Amount {
	if a.Memory == 0 || b.Memory == 0 {
		a.Memory, b.Memory = 0, 0
	}
	if a.CPU == 0 || b.CPU == 0 {
		a.CPU, b.CPU = 0, 0
	}
	return Amount{Memory: max(a.Memory, b.Memory), CPU: max(a.CPU, b.CPU)}
}

// leastMemory is what any engine starts with; a smaller limit would have the
// kernel end it.
const leastMemory = 512 << 20

// under is what of an amount a policy has held to.
func (p Policy) under(a Amount) Amount {
	switch p {
	case Off:
		return Amount{}
	case Memory:
		a.CPU = 0
	}
	if a.CPU >= float64(runtime.NumCPU()) {
		a.CPU = 0
	}
	if a.Memory > 0 {
		a.Memory = max(a.Memory, leastMemory)
	}
	return a
}

// Group is what holds one engine.
type Group struct {
	policy Policy
	kernel *kernel // nil: control groups cannot be had
	made   *kernel // where the group may be
	name   string
	spread int // where in the list of processors it begins, without a group
	wanted Amount
	above  bool // the memory limit is higher than wanted, since more is in use
	way    atomic.Pointer[string]
}

// New is a Group for the engine whose data are at a path. It looks what this
// machine has, and changes nothing.
func New(policy Policy, cluster, path string) *Group {
	hash := sha256.Sum256([]byte(path))
	g := &Group{policy: policy, name: "serverlessproxy-" + cluster + "-" + hex.EncodeToString(hash[:4]), spread: int(hash[0])}
	found, err := look()
	if err != nil {
		g.without(err)
		return g
	}
	g.kernel = found
	g.say(policy.words() + " by " + found.String())
	return g
}

func (p Policy) words() string {
	if p == Memory {
		return "memory"
	}
	return "CPU and memory"
}

// Way says how the engine is held, for people.
func (g *Group) Way() string { return *g.way.Load() }

func (g *Group) say(way string) {
	if g.policy == Off {
		way = "off"
	}
	g.way.Store(&way)
}

// without is the way that is left where a control group cannot be had.
func (g *Group) without(why error) {
	g.kernel = nil
	if g.policy == Memory {
		g.say(fmt.Sprintf("none: %v", why))
		return
	}
	g.say(fmt.Sprintf("CPU by affinity, in whole cores; memory is not limited: %v", why))
}

// Hold holds processes, and what they start from now on, to an amount. Without
// processes it prepares for those to come. An error: control groups could not
// be had after all, and Way says how the engine is held now.
func (g *Group) Hold(a Amount, pids ...int) error {
	g.wanted = g.policy.under(a)
	if g.kernel == nil {
		return g.pin(pids)
	}
	if g.policy == Off && !g.kernel.has(g.name) {
		return nil
	}
	err := g.write(pids)
	if err != nil {
		g.without(err)
		_ = g.pin(pids)
	}
	return err
}

func (g *Group) write(pids []int) (err error) {
	g.made = g.kernel
	if err := g.kernel.make(g.name, g.wanted); err != nil {
		return err
	}
	if g.above, err = g.kernel.limitMemory(g.name, g.wanted.Memory); err != nil {
		return err
	}
	if err := g.kernel.limitCPU(g.name, g.wanted.CPU); err != nil {
		return err
	}
	return g.kernel.add(g.name, pids)
}

// Settle lowers a memory limit that could not be as low as wanted when it was
// set, if it can be by now.
func (g *Group) Settle() {
	if g.above && g.kernel != nil {
		if above, err := g.kernel.limitMemory(g.name, g.wanted.Memory); err == nil {
			g.above = above
		}
	}
}

// Remove removes the group. Its processes have ended.
func (g *Group) Remove() error {
	g.above = false
	if g.made == nil {
		return nil
	}
	return g.made.remove(g.name)
}

// pin is CPU by affinity.
func (g *Group) pin(pids []int) error {
	if g.policy != All {
		return nil
	}
	cores := int(math.Ceil(g.wanted.CPU))
	for _, pid := range pids {
		if err := affine(pid, cores, g.spread); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("hold process %d to %d cores: %w", pid, cores, err)
		}
	}
	return nil
}
