package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// soakShort is how long `make test` soaks; SOAK=30m says otherwise.
	soakShort = time.Minute
	// soakSeed is its seed; SOAK_SEED gives another, SOAK without one a new one.
	soakSeed = 1
	// soakWorkers is how many sessions work on each engine.
	soakWorkers = 8
)

// TestSoak: sessions work while their cluster is paused, resumed and killed
// under them in random order. Each keeps a model of its own state and of what
// it committed; at the end every row is there exactly once, and the proxy holds
// no more goroutines and descriptors than before.
func TestSoak(t *testing.T) {
	length, seed := soakShort, uint64(soakSeed)
	if text := os.Getenv("SOAK"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("SOAK=%s: want a duration such as 30m", text)
		}
		seed = rand.Uint64()
	}
	if text := os.Getenv("SOAK_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("SOAK_SEED=%s: want a number", text)
		}
	}
	t.Logf("SOAK=%v SOAK_SEED=%d", length, seed)
	p := quickstart(t)
	if releaseAfter == "" {
		p.edit(func(config string) string { return p.amendClusters(config, `connections: {release_after: "500ms"}`) })
	}
	for _, e := range engines {
		db := p.open(e)
		do(t, db, "create table soaked (worker int, n int)")
		db.Close()
		p.wait("no session", 10*time.Second, func() error { return p.nobody(e) })
	}
	before := p.holdings()
	ctx, cancel := context.WithTimeout(context.Background(), length)
	defer cancel()
	together(len(engines)*(soakWorkers+1), len(engines)*(soakWorkers+1), func(i int) {
		e, who := engines[i%len(engines)], i/len(engines)
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		if who == soakWorkers {
			p.disturb(ctx, e, random)
			return
		}
		w := &soaker{t: t, p: p, engine: e, number: who, random: random}
		w.work(ctx)
		w.settle()
	})
	for _, e := range engines {
		p.wait("no session", 30*time.Second, func() error { return p.nobody(e) })
	}
	p.wait("as many goroutines and descriptors as before", 90*time.Second, func() error {
		// Engines that run now and did not then, spares, a scrape: a few.
		if now := p.holdings(); now.goroutines > before.goroutines+10 || now.descriptors > before.descriptors+20 {
			return fmt.Errorf("%+v, before %+v", now, before)
		}
		return nil
	})
}

func (p *proxy) nobody(e engine) error {
	if n := p.cluster(e).Sessions.Total; n > 0 {
		return fmt.Errorf("%d sessions", n)
	}
	return nil
}

type holdings struct{ goroutines, descriptors int }

func (p *proxy) holdings() holdings {
	p.t.Helper()
	return holdings{int(p.metric("go_goroutines")), int(p.metric("process_open_fds"))}
}

// disturb does something to a cluster every second or so.
func (p *proxy) disturb(ctx context.Context, e engine, random *rand.Rand) {
	var killed time.Time
	for pause(ctx, time.Duration(300+random.IntN(2000))*time.Millisecond) {
		switch random.IntN(4) {
		case 0, 1:
			// Sessions in a transaction prevent it at times: that is an answer, too.
			_, _ = p.command("pause", e.cluster, "--timeout", "5s")
		case 2:
			_, _ = p.command("resume", e.cluster)
		case 3:
			// One that dies young counts as a failed start, and the next waits
			// longer: not too often, or nobody would get to work.
			if pid := p.postmaster(e); pid > 0 && p.cluster(e).State == "available" && time.Since(killed) > 5*time.Second {
				killed = time.Now()
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
}

// pause waits; false says that the time is over.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// together calls f for 0 to n-1, so many at a time.
func together(n, atOnce int, f func(int)) {
	var all sync.WaitGroup
	room := make(chan struct{}, atOnce)
	for i := range n {
		room <- struct{}{}
		all.Go(func() { defer func() { <-room }(); f(i) })
	}
	all.Wait()
}
