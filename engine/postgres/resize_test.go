package postgres

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"serverlessproxy/acu"
	"serverlessproxy/compute/process"
)

// TestPlan: what runs is kept, whatever the cluster was scaled to meanwhile.
func TestPlan(t *testing.T) {
	size := func(c acu.Capacity) acu.Size { return acu.Postgres.Size(c, acu.DefaultUnit, OwnConnections) }
	for _, tt := range []struct {
		name              string
		started, from, to acu.Capacity
		live, atStart     int
	}{
		{"up", 2, 2, 8, 3, 2},
		{"down", 8, 8, 2, 3, 2},
		{"up again", 8, 2, 8, 3, 0},
		{"further up", 8, 2, 16, 3, 2},
		{"nowhere", 4, 4, 4, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := New(Config{Memory: 1 << 40})
			p := process.Place{Run: t.TempDir(), Data: t.TempDir()}
			write(t, p, configFile(p, append(capacity(size(tt.started), e.machine), memory(size(tt.started), e.machine)...), nil))
			steps := e.Plan(p, size(tt.from), size(tt.to))
			if steps.Restart || len(steps.Live) != tt.live || len(steps.AtStart) != tt.atStart {
				t.Errorf("%+v", steps)
			}
			if sessions := e.Sessions(p); sessions != acu.Postgres.Ceiling(tt.started) {
				t.Errorf("room for %d sessions", sessions)
			}
			reload, err := e.Adjust(t.Context(), p, size(tt.to))
			if err != nil || reload.Signal != syscall.SIGHUP || len(reload.Files) != 1 {
				t.Fatalf("%+v, %v", reload, err)
			}
			before, after := startedWith(p), settingsIn(reload.Files[0].Content)
			for _, kept := range []string{"shared_buffers", "max_connections"} {
				if before[kept] == "" || after[kept] != before[kept] {
					t.Errorf("%s: %q after %q", kept, after[kept], before[kept])
				}
			}
			if want := memory(size(tt.to), e.machine)[2].value; after["work_mem"] != want {
				t.Errorf("work_mem: %q, want %q", after["work_mem"], want)
			}
		})
	}
}

// TestPlanOfAnUnknownServer: where it cannot be told what runs, nothing is done
// to it but a restart.
func TestPlanOfAnUnknownServer(t *testing.T) {
	e, p := New(Config{Memory: 1 << 40}), process.Place{Run: t.TempDir()}
	if !e.Plan(p, acu.Size{}, acu.Size{MaxConnections: 10}).Restart {
		t.Error("it is to be changed in place")
	}
	if _, err := e.Adjust(t.Context(), p, acu.Size{}); err == nil || !strings.Contains(err.Error(), "shared_buffers") {
		t.Errorf("%v", err)
	}
}

func write(t *testing.T, p process.Place, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.Run, configName), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
