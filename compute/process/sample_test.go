package process_test

import (
	"testing"
	"time"

	"serverlessproxy/compute/process"
)

// TestSample compares what is measured of a real server with what it was made
// to do: nothing, then one session's worth of CPU.
func TestSample(t *testing.T) {
	at := filled(t)
	c := compute(at)
	if _, _, err := c.Sample(t.Context()); err == nil {
		t.Error("an engine that does not run was measured")
	}
	b := start(t, c)
	defer stop(t, c)
	if usage, ok, err := c.Sample(t.Context()); ok || err != nil {
		t.Errorf("the first look has nothing to compare with: %+v, %v", usage, err)
	}
	conn := dial(t, b)
	began := time.Now()
	run(t, conn, "do $$ declare n bigint := 0; begin for i in 1..20000000 loop n := n + i; end loop; end $$")
	busy := time.Since(began)
	usage, ok, err := c.Sample(t.Context())
	if err != nil || !ok {
		t.Fatalf("measured: %v, %v", ok, err)
	}
	// The machine may be shared: the session had its core for a part of the time.
	if usage.CPU < 0.05 || usage.CPU > 1.5 {
		t.Errorf("one busy session for %v is %.2f cores", busy, usage.CPU)
	}
	if usage.Memory < 1<<20 || usage.Kept <= 0 || usage.Kept > usage.Memory || usage.Memory > 2<<30 {
		t.Errorf("memory %d, of which kept %d", usage.Memory, usage.Kept)
	}
	t.Logf("busy for %v: %+v", busy, usage)

	// What a session used does not vanish with its process.
	run(t, conn, "do $$ declare n bigint := 0; begin for i in 1..20000000 loop n := n + i; end loop; end $$")
	conn.Close(t.Context())
	eventually(t, "the session's process has been waited for", func() bool {
		later, ok, err := c.Sample(t.Context())
		return err == nil && ok && later.CPU >= 0
	})
	size, err := process.VolumeBytes(at)
	if err != nil || size < 1<<20 {
		t.Errorf("the volume takes %d bytes: %v", size, err)
	}
}
