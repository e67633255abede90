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
	"sync/atomic"
	"testing"
	"time"
)

var (
	failed       = regexp.MustCompile(`(failed transactions|ignored errors|reconnects): +[1-9]`)
	latencyMax   = regexp.MustCompile(`max: +([0-9.]+)`)
	transactions = regexp.MustCompile(`(number of transactions actually processed|transactions): +[0-9]+`)
)

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

// scaleFor is how long each load runs: SCALE_SECONDS, else 10 s.
func scaleFor(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("SCALE_SECONDS")
	if text == "" {
		return 10 * time.Second
	}
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds < 10 {
		t.Fatalf("SCALE_SECONDS=%s: at least 10", text)
	}
	return time.Duration(seconds) * time.Second
}

// TestScaleUnderLoad: pgbench and sysbench run through changes of capacity by
// both methods with no failed transaction, and the sums are right.
func TestScaleUnderLoad(t *testing.T) {
	for _, method := range []string{"auto", "restart"} {
		t.Run(method, func(t *testing.T) {
			p := scalable(t, method)
			for _, e := range engines {
				p.scaleTo(e, 2)
			}
			p.pgbenchThroughSizes(t)
			p.sysbenchThroughSizes(t)
		})
	}
}

// pgbenchThroughSizes: each transaction in all three ways of asking, at once.
func (p *proxy) pgbenchThroughSizes(t *testing.T) {
	const sums = "select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history) and " +
		"(select sum(bbalance) from pgbench_branches) = (select sum(delta) from pgbench_history) and " +
		"(select sum(tbalance) from pgbench_tellers) = (select sum(delta) from pgbench_history)"
	p.mustTool(postgres, "pgbench", "-i", "-q", "-s", "16")
	seconds := strconv.Itoa(int(scaleFor(t).Seconds()))
	for _, script := range []string{"tpcb-like", "select-only"} {
		if script == "select-only" && !full(t, "pgbench -S through changes of capacity") {
			continue
		}
		logs := t.TempDir()
		var loads [][]string
		for _, mode := range []string{"simple", "extended", "prepared"} {
			loads = append(loads, []string{"pgbench", "-n", "-b", script, "-M", mode, "-c", "16", "-j", "2", "-T", seconds,
				"-l", "--log-prefix=" + filepath.Join(logs, mode)})
		}
		for i, out := range p.throughSizes(postgres, loads) {
			mode := loads[i][5]
			if failed.MatchString(out) || strings.Contains(out, "FATAL") || !strings.Contains(out, "number of failed transactions: 0 ") {
				t.Errorf("pgbench -M %s -b %s:\n%s", mode, script, out)
			}
			t.Logf("pgbench -b %s -M %s: longest transaction %v, %s", script, mode, longestIn(t, filepath.Join(logs, mode)), transactions.FindString(out))
		}
		if out := p.mustTool(postgres, p.shell(postgres, sums)...); strings.TrimSpace(out) != "t" {
			t.Errorf("after %s the sums differ", script)
		}
	}
}

func (p *proxy) sysbenchThroughSizes(t *testing.T) {
	const rows = 25000
	// Far apart, or the engine's own deadlocks end it.
	on := []string{"--table-size=" + strconv.Itoa(rows), "--rand-type=uniform"}
	p.mustTool(mariadb, p.sysbench(append(on, "prepare")...)...)
	run := append(on, "--threads=16", "--time="+strconv.Itoa(int(scaleFor(t).Seconds())), "--mysql-ignore-errors=", "run")
	out := p.throughSizes(mariadb, [][]string{p.sysbench(run...)})[0]
	if failed.MatchString(out) || !strings.Contains(out, "reconnects:                          0 ") {
		t.Errorf("sysbench:\n%s", out)
	}
	for _, longest := range latencyMax.FindAllStringSubmatch(out, -1) {
		t.Logf("sysbench: longest transaction %s ms, %s", longest[1], transactions.FindString(out))
	}
	for i := range 4 {
		count := p.mustTool(mariadb, p.shell(mariadb, fmt.Sprintf("select count(*) from sbtest%d", i+1))...)
		if strings.TrimSpace(count) != strconv.Itoa(rows) {
			t.Errorf("sbtest%d has %s rows", i+1, strings.TrimSpace(count))
		}
	}
}

// throughSizes has loads run, which must not fail, while the cluster goes from
// 2 ACU to 8, 4 and 2, at equal distances, and returns what they said. A load
// that ends before the last change is run again.
func (p *proxy) throughSizes(e engine, loads [][]string) []string {
	p.t.Helper()
	lasts := scaleFor(p.t)
	ctx, cancel := context.WithTimeout(context.Background(), lasts+4*time.Minute)
	defer cancel()
	said := make([]string, len(loads))
	var changed atomic.Bool
	var running sync.WaitGroup
	for i, load := range loads {
		running.Go(func() {
			for again := true; again; again = !changed.Load() {
				out, err := p.tool(ctx, e, load...)
				if said[i] += out; err != nil {
					p.t.Errorf("%v: %v\n%s", load, err, out)
					return
				}
			}
		})
	}
	defer running.Wait()
	defer changed.Store(true)
	p.wait("the load works", 60*time.Second, func() error {
		if n := p.cluster(e).Sessions.Total; n < 16 {
			return fmt.Errorf("%d sessions", n)
		}
		return nil
	})
	next := time.NewTicker(lasts / 4)
	defer next.Stop()
	for _, size := range []int{8, 4, 2} {
		<-next.C
		p.scaleTo(e, size)
	}
	changed.Store(true)
	running.Wait()
	return said
}

// scaleTo changes a cluster's capacity, and says how long that took.
func (p *proxy) scaleTo(e engine, size int) {
	p.t.Helper()
	began := time.Now()
	if out, code := p.command("scale", e.cluster, "--capacity", strconv.Itoa(size), "--seconds-before-timeout", "60"); code != 0 {
		p.t.Errorf("scale to %d: exit %d: %s", size, code, out)
	}
	p.t.Logf("%s to %d ACU: %v", e.cluster, size, time.Since(began).Round(time.Millisecond))
}

// longestIn reads the longest transaction from pgbench's logs.
func longestIn(t *testing.T, prefix string) (longest time.Duration) {
	t.Helper()
	files, _ := filepath.Glob(prefix + ".*")
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
	if longest == 0 {
		t.Errorf("pgbench logged nothing to %s", prefix)
	}
	return longest
}

// TestScaleTimesOut: a transaction that is held open has a change given up, or
// is ended for it, and is named either way.
func TestScaleTimesOut(t *testing.T) {
	t.Parallel() // it waits, for the most part
	p := scalable(t, "restart")
	words := map[string]string{
		postgres.name: "terminating connection due to serverless scale event timeout",
		mariadb.name:  "The last transaction was aborted due to Seamless Scaling. Please retry.",
	}
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			ctx := context.Background()
			do(t, p.connect(e), "create table kept (n int)")
			holder := p.connect(e)
			session := p.sessionIn(e, "in_transaction", func() { do(t, holder, "begin", "insert into kept values (1)") })
			if out, code := p.command("scale", e.cluster, "--capacity", "8", "--seconds-before-timeout", "10"); code != 1 {
				t.Errorf("exit %d: %s", code, out)
			}
			do(t, holder, "commit")
			if got := one(t, holder, "select count(*) from kept"); got != "1" {
				t.Errorf("after a change that was given up there are %s rows", got)
			}
			if !strings.Contains(p.lastEvent(e, "RDS-EVENT-0143"), session+" [transaction]") {
				t.Errorf("who held it up is not named: %q", p.lastEvent(e, "RDS-EVENT-0143"))
			}
			do(t, holder, "begin", "insert into kept values (2)")
			if out, code := p.command("scale", e.cluster, "--capacity", "8", "--seconds-before-timeout", "10", "--timeout-action", "ForceApplyCapacityChange"); code != 0 {
				t.Errorf("exit %d: %s", code, out)
			}
			var n int
			err := holder.QueryRowContext(ctx, "select 42").Scan(&n)
			if err == nil || !strings.Contains(err.Error(), words[e.name]) {
				t.Errorf("after a forced change: %v", err)
			}
			if !strings.Contains(p.lastEvent(e, "RDS-EVENT-0149"), session+" [transaction]") {
				t.Errorf("who was ended is not named: %q", p.lastEvent(e, "RDS-EVENT-0149"))
			}
			if got := one(t, p.connect(e), "select count(*) from kept"); got != "1" {
				t.Errorf("after a forced change there are %s rows", got)
			}
			if p.countEvents(e, "RDS-EVENT-0149") != 1 || p.cluster(e).Capacity != 8 {
				t.Errorf("%+v", p.cluster(e))
			}
		})
	}
}

// sessionIn is the id of the session that enters a phase by what is done.
func (p *proxy) sessionIn(e engine, phase string, by func()) (id string) {
	p.t.Helper()
	by()
	p.wait("a session is "+phase, 10*time.Second, func() error {
		var sessions []struct{ ID, Phase string }
		p.mustCommand(&sessions, "sessions", e.cluster)
		for _, s := range sessions {
			if s.Phase == phase {
				id = s.ID
				return nil
			}
		}
		return fmt.Errorf("%+v", sessions)
	})
	return id
}

// lastEvent is the reason of the latest event of a kind.
func (p *proxy) lastEvent(e engine, id string) (reason string) {
	p.t.Helper()
	var events []struct{ ID, Reason string }
	p.mustCommand(&events, "events", e.cluster)
	for _, e := range events {
		if e.ID == id {
			reason = e.Reason
		}
	}
	return reason
}
