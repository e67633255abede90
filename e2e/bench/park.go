package main

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
)

// What a park and a restore cost: how long the proxy talks to the engine to read
// a session's state and to reset its backend, how long a query takes that finds
// its session parked, and how often proxy and engine wait for one another. A tap
// between the two counts that.

// parkedAfter is long enough for a park not to begin before the client has its
// answer.
const parkedAfter = "20ms"

// burdens are what sessions carry.
var burdens = []struct {
	name       string
	statements int // that are prepared by the protocol
	set        map[string][]string
}{
	{name: "nothing"},
	{name: "3 settings, 3 prepared statements", statements: 3, set: map[string][]string{
		"pgx":   {"set work_mem = '5MB'", "set timezone = 'UTC'", "set application_name = 'x'"},
		"mysql": {"set session group_concat_max_len = 2000", "set time_zone = '+00:00'", "set @tenant = 'x'"},
	}},
}

// parks measures and returns a table.
func parks(ctx context.Context, o options, dir string) (string, error) {
	b := &bed{dir: dir}
	defer b.stop()
	pg, err := b.startPostgres(ctx)
	if err != nil {
		return "", err
	}
	my, err := b.startMariaDB(ctx)
	if err != nil {
		return "", err
	}
	taps := map[string]*tap{}
	for protocol, engine := range map[string]string{"postgres": pg, "mysql": my} {
		if taps[protocol], err = newTap(engine); err != nil {
			return "", err
		}
		defer taps[protocol].listener.Close()
	}
	addresses, err := b.startParking(ctx, taps, o.binary)
	if err != nil {
		return "", err
	}
	var t strings.Builder
	fmt.Fprintf(&t, "%d parks and restores each; milliseconds.\n\n| engine | the session carries | park p50 | p99 | round trips | query of a parked session p50 | p99 | round trips beside its own | query of another p50 |\n|---|---|---|---|---|---|---|---|---|\n", 40*o.rounds)
	for _, client := range []parker{
		{"PostgreSQL", "pgx", fmt.Sprintf("postgres://app:%s@%s/app?sslmode=disable", password, addresses["postgres"]), taps["postgres"]},
		{"MariaDB", "mysql", mysqlName(addresses["mysql"]), taps["mysql"]},
	} {
		for i := range burdens {
			line, err := client.measure(ctx, i, 40*o.rounds)
			if err != nil {
				return "", fmt.Errorf("%s, %s: %w", client.name, burdens[i].name, err)
			}
			log.Print(line)
			t.WriteString(line + "\n")
		}
	}
	return t.String(), nil
}

func mysqlName(address string) string {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.DBName, c.Net, c.Addr = "app", password, "app", "tcp", address
	return c.FormatDSN()
}

// startParking starts a proxy before the taps, and returns where it listens.
func (b *bed) startParking(ctx context.Context, taps map[string]*tap, binary string) (map[string]string, error) {
	behind := target{addresses: map[string]string{}}
	for protocol, tap := range taps {
		behind.addresses[protocol+release0] = tap.listener.Addr().String()
	}
	secret := b.file("app.password", password+"\n")
	_ = os.Chmod(secret, 0o600)
	at := map[string]string{"postgres": fmt.Sprintf("127.0.0.1:%d", freePort()), "mysql": fmt.Sprintf("127.0.0.1:%d", freePort())}
	clusters := clusterOf("pg", "postgres"+release0, behind, secret) + clusterOf("my", "mysql"+release0, behind, secret)
	conf := b.file("parking.yaml", fmt.Sprintf(`state_dir: %s
admin: {address: "127.0.0.1:%d"}
listeners:
  - {protocol: postgres, address: "%s", cluster: pg}
  - {protocol: mysql, address: "%s", cluster: my}
clusters:
%s`, filepath.Join(b.dir, "parking"), freePort(), at["postgres"], at["mysql"], strings.ReplaceAll(clusters, `release_after: "0"`, fmt.Sprintf("release_after: %q", parkedAfter))))
	if _, err := b.start("parking", exec.Command(binary, "serve", "--config", conf)); err != nil {
		return nil, err
	}
	return at, await(ctx, "serverlessproxy does not listen", listening(at["mysql"]))
}

// parker is a client whose session is parked again and again.
type parker struct {
	name, driver, source string
	tap                  *tap
}

func (p parker) measure(ctx context.Context, burden, times int) (string, error) {
	db, err := sql.Open(p.driver, p.source)
	if err != nil {
		return "", err
	}
	defer db.Close()
	c, err := db.Conn(ctx)
	if err != nil {
		return "", err
	}
	defer c.Close()
	load := burdens[burden]
	for _, text := range load.set[p.driver] {
		if _, err := c.ExecContext(ctx, text); err != nil {
			return "", fmt.Errorf("%s: %w", text, err)
		}
	}
	for i := range load.statements {
		st, err := c.PrepareContext(ctx, fmt.Sprintf("select %d", i))
		if err != nil {
			return "", err
		}
		defer st.Close()
	}
	var parked, restored, idle, parkTrips, restoreTrips []float64
	if err := p.tap.quiet(ctx); err != nil {
		return "", err
	}
	for i := range times + 2 {
		took, trips, err := p.ask(ctx, c)
		if err != nil {
			return "", err
		}
		direct, _, err := p.ask(ctx, c)
		if err != nil {
			return "", err
		}
		p.tap.mark()
		if err := p.tap.quiet(ctx); err != nil {
			return "", err
		}
		park := p.tap.mark()
		if i < 2 { // what is learnt once
			continue
		}
		parked, parkTrips = append(parked, ms(park.last.Sub(park.first))), append(parkTrips, float64(park.turns))
		restored, restoreTrips = append(restored, ms(took)), append(restoreTrips, float64(trips-1))
		idle = append(idle, ms(direct))
	}
	p50, p99 := func(v []float64) float64 { return median(sorted(v)) }, func(v []float64) float64 { return sorted(v)[len(v)*99/100] }
	return fmt.Sprintf("| %s | %s | %.2f | %.2f | %.0f | %.2f | %.2f | %.0f | %.2f |", p.name, load.name,
		p50(parked), p99(parked), p50(parkTrips), p50(restored), p99(restored), p50(restoreTrips), p50(idle)), nil
}

// ask sends one query, and tells how often it was the engine's turn for it.
func (p parker) ask(ctx context.Context, c *sql.Conn) (took time.Duration, trips int, err error) {
	p.tap.mark()
	begin := time.Now()
	var answer int
	err = c.QueryRowContext(ctx, "select 42").Scan(&answer)
	took = time.Since(begin)
	if err == nil && answer != 42 {
		err = fmt.Errorf("the answer is %d", answer)
	}
	return took, p.tap.mark().turns, err
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// tap passes on what proxy and engine say to each other.
type tap struct {
	listener net.Listener
	engine   string

	mu   sync.Mutex // protects following
	seen talk
}

// talk is what was said since the last mark.
type talk struct {
	turns       int // of the engine's, that is round trips
	first, last time.Time
}

func newTap(engine string) (*tap, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &tap{listener: listener, engine: engine}
	go t.accept()
	return t, nil
}

func (t *tap) accept() {
	for {
		proxy, err := t.listener.Accept()
		if err != nil {
			return
		}
		engine, err := net.Dial("tcp", t.engine)
		if err != nil {
			proxy.Close()
			continue
		}
		asked := false // protected by mu: the engine's turn has begun
		go t.pass(engine, proxy, func() {
			if !asked {
				t.seen.turns++
			}
			asked = true
		})
		go t.pass(proxy, engine, func() { asked = false })
	}
}

// pass copies until an end; note is called with mu held before each write.
func (t *tap) pass(to, from net.Conn, note func()) {
	defer to.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			t.mu.Lock()
			note()
			t.seen.last = time.Now()
			if t.seen.first.IsZero() {
				t.seen.first = t.seen.last
			}
			t.mu.Unlock()
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return // an end, or ours
		}
	}
}

// mark begins anew, and returns what was said since the last time.
func (t *tap) mark() talk {
	t.mu.Lock()
	defer t.mu.Unlock()
	said := t.seen
	t.seen = talk{}
	return said
}

// quiet waits until something was said, and nothing more for a while.
func (t *tap) quiet(ctx context.Context) error {
	const while, limit = 60 * time.Millisecond, 5 * time.Second
	for begin := time.Now(); time.Since(begin) < limit && ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		t.mu.Lock()
		still := !t.seen.last.IsZero() && time.Since(t.seen.last) > while
		t.mu.Unlock()
		if still {
			return nil
		}
	}
	return fmt.Errorf("the session is not parked")
}
