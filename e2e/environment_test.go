package e2e

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestForeignEnvironment: variables that are meant for somebody's own clients
// do not reach the proxy's connections to its engines; TZ reaches the engines.
func TestForeignEnvironment(t *testing.T) {
	foreign := map[string]string{
		"PGSERVICE": "elsewhere", "PGSERVICEFILE": "/nowhere", "PGSSLMODE": "verify-full", "PGOPTIONS": "-c search_path=evil -c statement_timeout=1",
		"PGHOST": "192.0.2.1", "PGPORT": "1", "PGUSER": "nobody", "PGDATABASE": "nowhere", "PGPASSFILE": "/nowhere", "PGTZ": "Asia/Tokyo",
		"PGTARGETSESSIONATTRS": "standby", "PGDATA": "/nowhere", "TZ": "Asia/Tokyo",
	}
	for name, value := range foreign {
		t.Setenv(name, value)
	}
	p := quickstart(t)
	p.stop()
	p.start() // the first may have been a copy, made without them
	for name := range foreign {
		_ = os.Unsetenv(name) // this test's own clients
	}
	eachEngine(t, func(t *testing.T, e engine) {
		for range 2 {
			if got := one(t, p.open(e), "select 1 + 1"); got != "2" {
				t.Errorf("answered %q", got)
			}
			if _, code := p.command("pause", e.cluster); code != 0 {
				t.Errorf("pause: exit %d", code)
			}
		}
	})
	if got := one(t, p.open(mariadb), "select @@system_time_zone"); got != "JST" {
		t.Errorf("the server's time zone is %s, want that of TZ", got)
	}
}

// TestSecondInterrupt: who presses Ctrl-C twice does not wait for what runs.
func TestSecondInterrupt(t *testing.T) {
	p := quickstart(t)
	running := make(chan error, 1)
	conn := p.connect(postgres)
	go func() {
		_, err := conn.ExecContext(context.Background(), "select pg_sleep(50)")
		running <- err
	}()
	p.wait("the query runs", 10*time.Second, func() error {
		if p.cluster(postgres).Sessions.Active == 0 {
			return context.DeadlineExceeded
		}
		return nil
	})
	began := time.Now()
	p.signal(syscall.SIGINT)
	p.wait("it drains", 10*time.Second, func() error {
		if !strings.Contains(p.said(), "what runs may finish") {
			return context.DeadlineExceeded
		}
		return nil
	})
	select {
	case err := <-running:
		t.Errorf("the first Ctrl-C already ended what ran: %v", err)
	case <-time.After(500 * time.Millisecond):
	}
	p.signal(syscall.SIGINT)
	<-p.ended
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("stopped after %v", took)
	}
	if !strings.Contains(p.said(), "stopping at once") || !strings.Contains(p.said(), "msg=stopped") {
		t.Error("it does not say so")
	}
	if pids := p.engines(); len(pids) > 0 {
		t.Errorf("engines %v still run", pids)
	}
	if err := <-running; err == nil {
		t.Error("the query was not cut")
	}
}
