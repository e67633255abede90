package e2e

import (
	"context"
	"database/sql"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// TestCeilingIsWhatIsAdmitted: at every size up to 8 ACU as many clients get
// in as status says, and all of them are served, though the PostgreSQL server,
// which has grown in place, has room for fewer.
func TestCeilingIsWhatIsAdmitted(t *testing.T) {
	p := scalable(t, "auto")
	p.edit(func(config string) string {
		return regexp.MustCompile(`min_capacity: \d+`).ReplaceAllString(config, "min_capacity: 1")
	})
	ceilings := map[string][]int{postgres.name: {189, 400, 823, 1669}, mariadb.name: {90, 180, 270, 1000}}
	eachEngine(t, func(t *testing.T, e engine) {
		c := &clients{t: t, p: p, e: e}
		defer c.leave()
		for i, ceiling := range ceilings[e.name] {
			if i > 1 && !full(t, "more than 2 ACU") {
				break
			}
			p.scaleTo(e, 1<<i)
			if got := p.cluster(e).Ceiling; got != ceiling {
				t.Errorf("at %d ACU the ceiling is %d, not %d", 1<<i, got, ceiling)
			}
			began := time.Now()
			c.fill(ceiling)
			t.Logf("%s at %d ACU: %d sessions after %v", e.name, 1<<i, ceiling, time.Since(began).Round(time.Millisecond))
			if _, err := p.tryConnect(e, nil); err == nil || !strings.Contains(err.Error(), e.toolBusy) {
				t.Errorf("one more than %d: %v", ceiling, err)
			}
		}
		began := time.Now()
		c.askAll()
		t.Logf("%s: all were answered after %v; %+v", e.name, time.Since(began).Round(time.Millisecond), p.cluster(e).Sessions)
	})
}

// clients are sessions that stay in.
type clients struct {
	t *testing.T
	p *proxy
	e engine

	mu    sync.Mutex // protects following
	conns []*sql.Conn
}

const clientsAtOnce = 16

// fill has clients come in until there are n.
func (c *clients) fill(n int) {
	c.t.Helper()
	var coming errgroup.Group
	coming.SetLimit(clientsAtOnce)
	for range n - len(c.conns) {
		coming.Go(func() error {
			conn, err := c.p.tryConnect(c.e, nil)
			if err == nil {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.conns = append(c.conns, conn)
			}
			return err
		})
	}
	if err := coming.Wait(); err != nil {
		c.t.Fatalf("%d of %d came in: %v", len(c.conns), n, err)
	}
}

// askAll has each of them answered.
func (c *clients) askAll() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var asking errgroup.Group
	asking.SetLimit(clientsAtOnce)
	for i, conn := range c.conns {
		asking.Go(func() error {
			var n int
			err := conn.QueryRowContext(ctx, "select 42").Scan(&n)
			if err != nil || n != 42 {
				c.t.Errorf("client %d: %d, %v", i, n, err)
			}
			return err
		})
	}
	_ = asking.Wait()
}

func (c *clients) leave() {
	for _, conn := range c.conns {
		conn.Close()
	}
}
