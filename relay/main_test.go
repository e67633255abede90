package relay

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	before := openDescriptors()
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 && !descriptorsFallTo(before) {
		fmt.Fprintf(os.Stderr, "descriptors leaked: %d before, %d after\n", before, openDescriptors())
		code = 1
	}
	os.Exit(code)
}

// descriptorsFallTo waits for descriptors to be closed. Go's own poller may
// have been started meanwhile, with two of its own, and go test's fuzz worker
// and profiles with a few.
func descriptorsFallTo(n int) bool {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if openDescriptors() <= n+3 {
			return true
		}
		runtime.GC() // io.Copy between sockets keeps pipes in a pool
	}
	return false
}

func openDescriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0 // no such list on this system
	}
	return len(entries)
}
