package e2e

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestAutoscales saturates a cluster, which climbs, and leaves it alone, and
// it comes down and pauses. What it used is what its events say.
func TestAutoscales(t *testing.T) {
	for method, within := range map[string]time.Duration{"auto": 15 * time.Second, "restart": 30 * time.Second} { // of which the restart is a part
		if method == "restart" && !full(t, "autoscaling by restarts") {
			continue
		}
		t.Run(method, func(t *testing.T) {
			p := quickstart(t, "--engine", "postgres", "--max-capacity", "4", "--seconds-until-auto-pause", "15")
			p.edit(func(config string) string {
				return strings.ReplaceAll(config, "      auto_pause: true\n", "      auto_pause: true\n      cooldown_after_up: 5s\n      cooldown_after_down: 5s\n      method: "+method+"\n")
			})
			if out, code := p.command("pause", postgres.cluster); code != 0 {
				t.Fatalf("pause: exit %d: %s", code, out)
			}
			began, before := time.Now(), p.metric("serverlessproxy_acu_seconds_total")
			p.climbsUnderLoad(t, within)
			p.wait("the cluster has come down", time.Minute, func() error { return p.atCapacity(postgres, 2) })
			p.waitState(postgres, "paused", time.Minute)
			metered, counted := p.metric("serverlessproxy_acu_seconds_total")-before, p.acuSecondsSince(began)
			t.Logf("metered %.2f ACU-seconds, by the events %.2f", metered, counted)
			if method == "auto" && math.Abs(metered-counted) > counted/100 { // a restart's stop and start are not in the events
				t.Errorf("metered %.2f ACU-seconds, by the events %.2f", metered, counted)
			}
			changes := p.metric("serverlessproxy_capacity_changes_total", `result="done"`, map[string]string{"auto": `mode="inplace"`, "restart": `mode="restart"`}[method])
			if changes < 2 {
				t.Errorf("%v changes", changes)
			}
		})
	}
}

// climbsUnderLoad is 20 s of work for more than 2 ACU, none of which fails.
func (p *proxy) climbsUnderLoad(t *testing.T, within time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	load := make(chan error, 1)
	script := filepath.Join(t.TempDir(), "work.sql") // it is the engine that works, whoever else does on this machine
	if err := os.WriteFile(script, []byte("select sum(i) from generate_series(1, 100000) i;\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		out, err := p.tool(ctx, postgres, "pgbench", "-n", "-f", script, "-M", "prepared", "-c", "16", "-j", "2", "-T", "20")
		if err == nil && !strings.Contains(out, "number of failed transactions: 0") {
			err = errors.New(out)
		}
		load <- err
	}()
	p.wait("the load works", 20*time.Second, func() error {
		if n := p.cluster(postgres).Sessions.Total; n < 16 {
			return fmt.Errorf("%d sessions", n)
		}
		return nil
	})
	saturated := time.Now()
	p.wait("the cluster has climbed", within, func() error { return p.atCapacity(postgres, 4) })
	t.Logf("it climbed %v after its saturation", time.Since(saturated).Round(time.Millisecond))
	for _, name := range []string{"serverlessproxy_engine_cpu_utilization_ratio", "serverlessproxy_engine_freeable_memory_bytes", "serverlessproxy_volume_bytes"} {
		// An engine that has just been started anew is measured at the next look.
		p.wait(name+" is told", 20*time.Second, func() error {
			if v := p.metric(name, `cluster="pg"`); v <= 0 {
				return fmt.Errorf("it is %v", v)
			}
			return nil
		})
	}
	if err := <-load; err != nil {
		t.Errorf("the load failed over the change: %v", err)
	}
}

var scaledTo = regexp.MustCompile(`has scaled from .* to (\d+) capacity unit`)

// acuSecondsSince is what a cluster that was paused then, with 2 ACU to resume
// to, and is paused now has used by the times of its events.
func (p *proxy) acuSecondsSince(began time.Time) (used float64) {
	p.t.Helper()
	var events []struct {
		Time        time.Time
		ID, Message string
	}
	p.mustCommand(&events, "events", postgres.cluster)
	capacity, present, since := 2.0, 0.0, began
	for _, e := range events {
		if e.Time.Before(began) {
			continue
		}
		used += present * e.Time.Sub(since).Seconds()
		since = e.Time
		switch to := scaledTo.FindStringSubmatch(e.Message); {
		case e.ID == "RDS-EVENT-0147":
			present = capacity
		case e.ID == "RDS-EVENT-0145":
			present = 0
		case to != nil:
			capacity, _ = strconv.ParseFloat(to[1], 64)
			present = capacity
		}
	}
	return used
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
