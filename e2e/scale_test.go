package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var latencyMax = regexp.MustCompile(`max: +([0-9.]+)`)

// scaleThrough scales through sizes while a load runs, and returns how long
// each change took.
func (p *proxy) scaleThrough(e engine, sizes ...int) {
	p.t.Helper()
	for _, size := range sizes {
		began := time.Now()
		if out, code := p.command("scale", e.cluster, "--capacity", strconv.Itoa(size), "--seconds-before-timeout", "60"); code != 0 {
			p.t.Errorf("scale to %d: exit %d: %s", size, code, out)
		}
		p.t.Logf("%s to %d ACU: %v", e.cluster, size, time.Since(began).Round(time.Millisecond))
	}
}

// scalable is a proxy whose clusters take up to 8 ACU, when they are told to.
func scalable(t *testing.T, method string) *proxy {
	t.Helper()
	p := quickstart(t)
	p.edit(func(config string) string {
		config = regexp.MustCompile(`max_capacity: \d+`).ReplaceAllString(config, "max_capacity: 8")
		return strings.ReplaceAll(config, "scaling:\n", "scaling:\n      autoscale: false\n      method: "+method+"\n")
	})
	return p
}

// TestScaleUnderLoad: pgbench and sysbench run through changes of capacity by
// both methods with no failed transaction, and the sums are right.
func TestScaleUnderLoad(t *testing.T) {
	for _, method := range []string{"auto", "restart"} {
		t.Run(method, func(t *testing.T) {
			p := scalable(t, method)
			for _, e := range engines {
				p.scaleThrough(e, 2)
			}
			logs := t.TempDir()
			p.mustTool(postgres, "pgbench", "-i", "-q", "-s", "4")
			p.underLoad(postgres, "pgbench", "-n", "-c", "16", "-j", "2", "-T", "10", "-M", "prepared", "-l", "--log-prefix="+filepath.Join(logs, "log"))
			t.Logf("pgbench: longest transaction %v", longestIn(t, logs))
			sums := p.mustTool(postgres, p.shell(postgres, "select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history) and (select sum(bbalance) from pgbench_branches) = (select sum(delta) from pgbench_history)")...)
			if strings.TrimSpace(sums) != "t" {
				t.Errorf("the sums differ: %s", sums)
			}
			apart := []string{"--table-size=25000", "--rand-type=uniform"} // or the engine's own deadlocks end it
			p.mustTool(mariadb, p.sysbench(append(apart, "prepare")...)...)
			p.underLoad(mariadb, p.sysbench(append(apart, "--threads=16", "--time=10", "--mysql-ignore-errors=", "run")...)...)
		})
	}
}

// longestIn reads the longest transaction from pgbench's logs.
func longestIn(t *testing.T, dir string) (longest time.Duration) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "log*"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) > 2 {
				took, _ := strconv.Atoi(fields[2])
				longest = max(longest, time.Duration(took)*time.Microsecond)
			}
		}
	}
	return longest
}

// underLoad scales while a load runs that must not fail.
func (p *proxy) underLoad(e engine, load ...string) {
	p.t.Helper()
	var running sync.WaitGroup
	running.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		out, err := p.tool(ctx, e, load...)
		if err != nil || strings.Contains(out, "FATAL") || e.driver == "pgx" && !strings.Contains(out, "number of failed transactions: 0 ") {
			p.t.Errorf("%s: %v\n%s", load[0], err, out)
		}
		if longest := latencyMax.FindStringSubmatch(out); longest != nil {
			p.t.Logf("%s: longest transaction %s ms", load[0], longest[1])
		}
	})
	p.wait("the load works", 20*time.Second, func() error {
		if n := p.cluster(e).Sessions.Total; n < 16 {
			return fmt.Errorf("%d sessions", n)
		}
		return nil
	})
	p.scaleThrough(e, 8, 4, 2)
	running.Wait()
}

// TestScaleTimesOut: a transaction that is held open has a change given up, or
// is ended for it, and is named either way.
func TestScaleTimesOut(t *testing.T) {
	p := scalable(t, "restart")
	words := map[string]string{
		postgres.name: "terminating connection due to serverless scale event timeout",
		mariadb.name:  "The last transaction was aborted due to Seamless Scaling. Please retry.",
	}
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			ctx := context.Background()
			holder := p.connect(e)
			if _, err := holder.ExecContext(ctx, "BEGIN"); err != nil {
				t.Fatal(err)
			}
			if out, code := p.command("scale", e.cluster, "--capacity", "8", "--seconds-before-timeout", "10"); code != 1 {
				t.Errorf("exit %d: %s", code, out)
			}
			var n int
			if err := holder.QueryRowContext(ctx, "select 42").Scan(&n); err != nil || n != 42 {
				t.Errorf("after a change that was given up: %d, %v", n, err)
			}
			if p.countEvents(e, "RDS-EVENT-0143") != 1 {
				t.Error("no event of a failed change")
			}
			if out, code := p.command("scale", e.cluster, "--capacity", "8", "--seconds-before-timeout", "10", "--timeout-action", "ForceApplyCapacityChange"); code != 0 {
				t.Errorf("exit %d: %s", code, out)
			}
			err := holder.QueryRowContext(ctx, "select 42").Scan(&n)
			if err == nil || !strings.Contains(err.Error(), words[e.name]) {
				t.Errorf("after a forced change: %v", err)
			}
			if p.countEvents(e, "RDS-EVENT-0149") != 1 || p.cluster(e).Capacity != 8 {
				t.Errorf("%+v", p.cluster(e))
			}
		})
	}
}
