package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestAutoscales saturates a cluster, which climbs, and leaves it alone, and
// it comes down.
func TestAutoscales(t *testing.T) {
	p := quickstart(t, "--engine", "postgres", "--max-capacity", "4")
	p.edit(func(config string) string {
		return strings.ReplaceAll(config, "      auto_pause: true\n", "      auto_pause: true\n      cooldown_after_up: 5s\n      cooldown_after_down: 5s\n      method: restart\n")
	})
	p.mustTool(postgres, "pgbench", "-i", "-q", "-s", "1")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	load := make(chan error, 1)
	go func() {
		out, err := p.tool(ctx, postgres, "pgbench", "-S", "-M", "prepared", "-c", "8", "-j", "2", "-T", "25")
		if err == nil && !strings.Contains(out, "number of failed transactions: 0") {
			err = errors.New(out)
		}
		load <- err
	}()
	p.wait("the cluster has climbed", 20*time.Second, func() error { return p.atCapacity(postgres, 4) })
	if busy := p.metric("serverlessproxy_engine_cpu_utilization_ratio", `cluster="pg"`); busy <= 0 {
		t.Errorf("the engine's CPU is at %v", busy)
	}
	if err := <-load; err != nil {
		t.Errorf("the load failed over the change: %v", err)
	}
	p.wait("the cluster has come down", time.Minute, func() error { return p.atCapacity(postgres, 2) })
	if p.countEvents(postgres, "RDS-EVENT-0142") < 2 {
		t.Error("no events of the changes")
	}
	for _, name := range []string{"serverlessproxy_engine_freeable_memory_bytes", "serverlessproxy_volume_bytes"} {
		if v := p.metric(name, `cluster="pg"`); v <= 0 {
			t.Errorf("%s is %v", name, v)
		}
	}
}

func (p *proxy) atCapacity(e engine, want int) error {
	if got := p.cluster(e); got.Capacity != want {
		return fmt.Errorf("%d ACU, %s, last error %q", got.Capacity, got.State, got.LastError)
	}
	return nil
}

// TestConvertToAFixedSize compares, converts a paused cluster, and finds it so
// after a restart.
func TestConvertToAFixedSize(t *testing.T) {
	p := quickstart(t, "--engine", "postgres", "--seconds-until-auto-pause", "2")
	type conversion struct {
		MeteredHours float64 `json:"metered_acu_hours"`
		FixedHours   float64 `json:"fixed_acu_hours"`
		Currency     string
		Cheaper      string
		Warnings     []string
		Converted    bool
	}
	p.mustTool(postgres, p.shell(postgres, "select 1")...)
	p.waitState(postgres, "paused", 20*time.Second)
	var dry conversion
	p.mustCommand(&dry, "convert", "pg", "--capacity", "4", "--burstable", "--dry-run")
	if dry.Converted || dry.MeteredHours <= 0 || dry.FixedHours <= 0 || dry.Currency != "USD" || len(dry.Warnings) != 2 {
		t.Errorf("dry run: %+v", dry)
	}
	if c := p.cluster(postgres); c.State != "paused" {
		t.Errorf("the dry run left it %s", c.State)
	}
	if out, code := p.command("convert", "pg", "--capacity", "3"); code == 0 {
		t.Errorf("3 ACU: %s", out)
	}
	if out, code := p.command("convert", "pg"); code != 2 {
		t.Errorf("without a capacity: exit %d: %s", code, out)
	}
	var done conversion
	p.mustCommand(&done, "convert", "pg", "--capacity", "4")
	if !done.Converted {
		t.Errorf("converted: %+v", done)
	}
	p.waitState(postgres, "available", 20*time.Second)
	p.stop()
	p.start()
	p.waitState(postgres, "available", 30*time.Second)
	if err := p.atCapacity(postgres, 4); err != nil {
		t.Error(err)
	}
	p.mustCommand(&done, "convert", "pg", "--undo")
	p.waitState(postgres, "paused", 30*time.Second)
}
