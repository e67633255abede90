package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	// idlePace is how many sessions are read in a second once they are idle.
	idlePace = 64
	// idleParked bounds how long it takes to park them all and stop the engine.
	idleParked = 10 * time.Second
	// idleMemory bounds what one of them costs the proxy while nobody works.
	idleMemory = 12 << 10
	// idleCrowd is a crowd that is measured: beside it the proxy's own memory
	// does not matter.
	idleCrowd = 1000
	// idleCeiling lets them in at any capacity.
	idleCeiling = "connections: {ceilings: {1: 2100, 2: 2100, 4: 2100, 8: 2100, 16: 2100}}"
)

// idleClients is how many there are; `make e2e` has 2,000 of them.
func idleClients(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("IDLE_CLIENTS"))
	if err != nil && os.Getenv("IDLE_CLIENTS") != "" {
		t.Fatal("IDLE_CLIENTS:", err)
	}
	if n == 0 {
		return 200
	}
	return n
}

// idleState is what a client sets up and what it finds after the pause. %[1]d
// is the client's number, so that nobody can be given another's unnoticed.
type idleState struct{ set, ask, want string }

var idleStates = map[string][]idleState{
	"postgres": {
		{"", "select %[1]d", "%[1]d"},
		{"set work_mem = '%[1]dkB'", "select setting from pg_settings where name = 'work_mem'", "%[1]d"},
		{"set my_app.tenant = 'tenant %[1]d'", "show my_app.tenant", "tenant %[1]d"},
		{"prepare mine as select %[1]d", "execute mine", "%[1]d"},
	},
	"mariadb": {
		{"", "select %[1]d", "%[1]d"},
		{"set @mine = %[1]d", "select @mine", "%[1]d"},
		{"set @mine = 'client %[1]d'", "select @mine", "client %[1]d"},
		{"set session group_concat_max_len = %[1]d", "select @@group_concat_max_len", "%[1]d"},
	},
}

// idleClient is one of the crowd. Its number is at least what work_mem takes.
type idleClient struct {
	idleState
	number int
	conn   *sql.Conn
}

func (c idleClient) text(of string) string {
	if !strings.Contains(of, "%[1]d") {
		return of
	}
	return fmt.Sprintf(of, c.number)
}

// TestIdleCrowd: a crowd that is only connected lets the engine stop, costs
// next to nothing, and is served whole when it comes back at once.
func TestIdleCrowd(t *testing.T) {
	clients := idleClients(t)
	for _, e := range engines {
		for _, secure := range []string{"plain", "tls"} {
			if secure == "tls" && !full(t, "a crowd behind TLS") {
				continue
			}
			t.Run(e.name+"/"+secure, func(t *testing.T) {
				p := quickstart(t, "--engine", e.name)
				p.secure = secure == "tls"
				p.edit(func(config string) string { return p.amendClusters(config, idleCeiling) })
				p.mustTool(e, p.shell(e, "select 1")...)
				before := p.resident()
				began := time.Now()
				crowd := p.crowd(t, e, clients)
				connected := time.Since(began)
				measured := clients >= idleCrowd
				if measured { // they are idle for as long as it takes to look at each of them once
					time.Sleep(3*time.Second + time.Second*time.Duration(clients/idlePace))
				}

				begin := time.Now()
				if out, code := p.command("pause", e.cluster); code != 0 {
					t.Fatalf("pause: exit %d %s", code, out)
				}
				took := time.Since(begin)
				if c := p.cluster(e); c.State != "paused" || c.Sessions.Parked != clients {
					t.Errorf("after the pause: %+v", c)
				}
				if n := len(p.engines()); n != 0 {
					t.Errorf("%d engines run", n)
				}
				if measured && took > idleParked {
					t.Errorf("parking and stopping took %v, want at most %v", took, idleParked)
				}
				each := p.memoryEach(before, clients)
				if measured && !p.secure {
					each = p.settledMemory(before, clients)
				}

				resumes := p.metric("serverlessproxy_resumes_total")
				begin = time.Now()
				askAll(t, crowd, 2*time.Minute+2*connected)
				answered := time.Since(begin)
				if n := p.metric("serverlessproxy_resumes_total") - resumes; n != 1 {
					t.Errorf("%v resumes, want one", n)
				}
				t.Logf("%d clients: connected in %v; parked and stopped in %v; %d bytes each; all answered %v after they asked",
					clients, connected.Round(time.Millisecond), took.Round(time.Millisecond), each, answered.Round(time.Millisecond))
			})
		}
	}
}

// crowd connects the clients, a few at a time, and sets up their states.
func (p *proxy) crowd(t *testing.T, e engine, n int) []idleClient {
	t.Helper()
	states := idleStates[e.name]
	clients := make([]idleClient, n)
	together(n, 16, func(i int) {
		c := idleClient{idleState: states[i%len(states)], number: 64 + i}
		var err error
		if c.conn, err = p.tryConnect(e, nil); err != nil {
			t.Errorf("client %d: %v", i, err)
			return
		}
		if c.set != "" {
			if _, err := c.conn.ExecContext(context.Background(), c.text(c.set)); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		}
		clients[i] = c
	})
	if t.Failed() {
		t.FailNow()
	}
	return clients
}

// askAll has them all ask at once.
func askAll(t *testing.T, crowd []idleClient, limit time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	together(len(crowd), len(crowd), func(i int) {
		c := crowd[i]
		var got string
		if err := c.conn.QueryRowContext(ctx, c.text(c.ask)).Scan(&got); err != nil || got != c.text(c.want) {
			t.Errorf("client %d, %s: %q, want %q: %v", i, c.text(c.ask), got, c.text(c.want), err)
		}
	})
}

// settledMemory is what a client costs once the runtime has collected what the
// logins and the parking used, and given it back, which it does in its own time.
func (p *proxy) settledMemory(before, clients int) int {
	p.t.Helper()
	var each int
	p.wait(fmt.Sprintf("at most %d bytes a client", idleMemory), 4*time.Minute, func() error {
		if each = p.memoryEach(before, clients); each > idleMemory {
			return fmt.Errorf("%d bytes; heap in use %.0f, idle %.0f, stacks %.0f, goroutines %.0f", each, p.metric("go_memstats_heap_inuse_bytes"),
				p.metric("go_memstats_heap_idle_bytes")-p.metric("go_memstats_heap_released_bytes"), p.metric("go_memstats_stack_inuse_bytes"), p.metric("go_goroutines"))
		}
		return nil
	})
	return each
}

// memoryEach is by how much the proxy has grown for each client.
func (p *proxy) memoryEach(before, clients int) int { return (p.resident() - before) / clients }

// resident is the proxy's memory in bytes.
func (p *proxy) resident() int {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				p.t.Fatal(err)
			}
			return kib << 10
		}
	}
	p.t.Fatal("no VmRSS")
	return 0
}
