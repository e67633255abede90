package main

import (
	"sync"
	"time"

	"serverlessproxy/compute/process"
)

// volumeEvery is how old a volume's size may be: to know it, every file of the
// volume is looked at.
const volumeEvery = time.Minute

// volumeBytes tells what the volume takes on its disk; nil where it is not
// ours to look at. It is safe for concurrent use.
func (m *member) volumeBytes() func() int64 {
	if m.works.local == nil {
		return nil
	}
	place := m.works.place
	var (
		mu     sync.Mutex // protects following
		size   int64
		at     time.Time
		warned bool
	)
	return func() int64 {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(at) < volumeEvery {
			return size
		}
		now, err := process.VolumeBytes(place)
		at = time.Now()
		if err != nil && !warned {
			m.log.Warn("the size of the volume cannot be told", "error", err)
		}
		if warned = err != nil; !warned {
			size = now
		}
		return size
	}
}
