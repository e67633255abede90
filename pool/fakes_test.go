package pool

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sleeper is a Waker that serves when it is told to.
type sleeper struct {
	mu     sync.Mutex // protects following
	status cluster.Status
	change chan struct{}
	fails  error
	woken  []cluster.Trigger
}

var one = cluster.Backend{Network: "unix", Address: "/run/1", Generation: 1}

func newSleeper() *sleeper {
	w := &sleeper{change: make(chan struct{})}
	w.set(cluster.Paused, cluster.Backend{})
	return w
}

func (w *sleeper) set(state cluster.State, b cluster.Backend) {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.change)
	w.change = make(chan struct{})
	w.status = cluster.Status{State: state, Backend: b, ResumeCapacity: 2, Changed: w.change}
}

func (w *sleeper) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fails = err
}

func (w *sleeper) Status() *cluster.Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	status := w.status
	return &status
}

func (w *sleeper) Wake(ctx context.Context, t cluster.Trigger) (cluster.Backend, error) {
	w.mu.Lock()
	w.woken = append(w.woken, t)
	fails := w.fails
	w.mu.Unlock()
	if fails != nil {
		return cluster.Backend{}, fails
	}
	for {
		status := w.Status()
		if status.Backend != (cluster.Backend{}) {
			return status.Backend, nil
		}
		select {
		case <-status.Changed:
		case <-ctx.Done():
			return cluster.Backend{}, ctx.Err()
		}
	}
}

// guest is a Session that does what it is told.
type guest struct {
	mu     sync.Mutex // protects following
	seat   *Seat
	park   func(context.Context) error // nil: at once
	drain  func(context.Context)
	parked int
	closed []Reason
	lost   []uint64
}

func (g *guest) Park(ctx context.Context) error {
	g.mu.Lock()
	park, seat := g.park, g.seat
	g.parked++
	g.mu.Unlock()
	if park != nil {
		if err := park(ctx); err != nil {
			return err
		}
	}
	if err := seat.Ready(); err != nil {
		return err
	}
	seat.Set(Parked)
	return nil
}

func (g *guest) Drain(ctx context.Context) {
	g.mu.Lock()
	drain, seat := g.drain, g.seat
	g.mu.Unlock()
	if drain != nil {
		drain(ctx)
	}
	g.Close(Draining)
	seat.Leave()
}

func (g *guest) Close(reason Reason) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = append(g.closed, reason)
}

func (g *guest) Lost(generation uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lost = append(g.lost, generation)
}

// holds is an Observer that writes down.
type holdings struct {
	mu    sync.Mutex // protects following
	lines []string
}

func (h *holdings) Held(name, reason string, took time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, fmt.Sprintf("%s %s %v", name, reason, took))
}

func (h *holdings) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	lines := h.lines
	h.lines = nil
	return lines
}

// room is a pool with fakes all around it, of a ceiling of 10 for each ACU.
type room struct {
	*Pool
	t        *testing.T
	waker    *sleeper
	holdings *holdings
}

func newRoom(t *testing.T, limits Limits) *room {
	r := &room{t: t, waker: newSleeper(), holdings: &holdings{}}
	if limits.Ceiling == nil {
		limits.Ceiling = func(c acu.Capacity) int { return 10 * int(c) }
	}
	r.Pool = New(Config{Cluster: "shop", Waker: r.waker, Limits: limits, Observer: r.holdings})
	return r
}

// small has room for n, whatever the capacity is in tens.
func small(n int) func(acu.Capacity) int {
	return func(c acu.Capacity) int { return n + int(c) - 2 }
}

func (r *room) join() *guest {
	r.t.Helper()
	g := &guest{}
	seat, err := r.Join(context.Background(), Claim{Session: g})
	if err != nil {
		r.t.Fatalf("Join = %v", err)
	}
	g.seat = seat
	return g
}

// settle has a guest get its backend and be idle.
func (r *room) settle() *guest {
	r.t.Helper()
	g := r.join()
	if _, err := g.seat.Backend(context.Background(), cluster.OnConnect); err != nil {
		r.t.Fatal(err)
	}
	g.seat.Set(Idle)
	return g
}
