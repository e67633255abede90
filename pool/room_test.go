package pool

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"serverlessproxy/cluster"
)

// roomy is one engine that has room for n sessions.
func roomy(n int) cluster.Backend {
	b := one
	b.Sessions = n
	return b
}

// crowded is a pool whose engine has room for 3, and the three that are in, in
// the order in which they fell idle.
func crowded(t *testing.T) (*room, []*guest) {
	r := newRoom(t, Limits{})
	r.waker.set(cluster.Available, roomy(3))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	var in []*guest
	for range 3 {
		in = append(in, r.settle())
		time.Sleep(time.Millisecond) // else who is idle longest is a toss-up
	}
	return r, in
}

// TestASurplusWaitsForABackend: sessions that are admitted beyond what the
// engine has room for are served when somebody can spare a backend.
func TestASurplusWaitsForABackend(t *testing.T) {
	for _, tt := range []struct {
		name string
		busy []int          // of the three, which are at work
		then func([]*guest) // a second later
		took time.Duration
		gave int // whose backend it was; -1: of none that was parked
	}{
		{"the longest idle gives one up", nil, nil, 0, 0},
		{"of those that are idle", []int{0}, nil, 0, 1},
		{"the next that is idle", []int{0, 1, 2}, func(g []*guest) { g[1].seat.Set(Idle) }, time.Second, 1},
		{"one leaves", []int{0, 1, 2}, func(g []*guest) { g[2].seat.Leave() }, time.Second, -1},
		{"the pinned are not asked", []int{1, 2}, func(g []*guest) { g[1].seat.Set(Idle) }, time.Second, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, in := crowded(t)
				for _, i := range tt.busy {
					in[i].seat.Set(Active)
				}
				if tt.name == "the pinned are not asked" {
					in[0].seat.Pin("cursor")
				}
				if tt.then != nil {
					time.AfterFunc(time.Second, func() { tt.then(in) })
				}
				g := r.join()
				began := time.Now()
				if b, err := g.seat.Backend(context.Background(), cluster.OnConnect); err != nil || b != roomy(3) {
					t.Fatalf("Backend = %v, %v", b, err)
				}
				if took := time.Since(began); took != tt.took {
					t.Errorf("it took %v", took)
				}
				gave := slices.IndexFunc(in, func(g *guest) bool { return g.seat.Phase() == Parked })
				if gave != tt.gave || r.Backends() != 3 {
					t.Errorf("%d gave its backend; there are %d", gave, r.Backends())
				}
				if held := r.holdings.take(); len(held) != 1 || held[0] != "shop queue "+tt.took.String() {
					t.Errorf("held %v", held)
				}
			})
		})
	}
}

// TestTheLineForABackend: first come first served; who goes leaves no hole;
// and a larger engine has room for all.
func TestTheLineForABackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in := crowded(t)
		for _, g := range in {
			g.seat.Set(Active)
		}
		var order []int
		served := make(chan int, 5)
		quits, quit := context.WithCancelCause(context.Background())
		for i := range 5 {
			ctx := context.Background()
			if i == 1 {
				ctx = quits
			}
			g := r.join()
			go func() {
				if _, err := g.seat.Backend(ctx, cluster.OnConnect); err != nil {
					g.seat.Leave()
					served <- -i
					return
				}
				served <- i
			}()
			synctest.Wait()
			if g.seat.Phase() != Queued {
				t.Fatalf("phase %v", g.seat.Phase())
			}
		}
		if r.Quiet() != 0 {
			t.Error("a pool with sessions in line is quiet")
		}
		quit(errors.New("gone"))
		order = append(order, <-served)
		in[0].seat.Leave()
		order = append(order, <-served)
		in[1].seat.Leave()
		order = append(order, <-served)
		if !slices.Equal(order, []int{-1, 0, 2}) {
			t.Errorf("served in the order %v", order)
		}
		r.waker.set(cluster.Available, roomy(10))
		r.Resettle(2)
		for range 2 {
			<-served
		}
		if n := r.Backends(); n != 5 {
			t.Errorf("%d backends", n)
		}
	})
}

// TestTheLineOutlivesAPause: who stands in it when the engine stops gets a
// backend of the next one.
func TestTheLineOutlivesAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in := crowded(t)
		for _, g := range in {
			g.seat.Set(InTransaction)
		}
		g := r.join()
		served := make(chan cluster.Backend, 1)
		go func() {
			b, _ := g.seat.Backend(context.Background(), cluster.OnConnect)
			served <- b
		}()
		synctest.Wait()
		r.waker.set(cluster.Scaling, cluster.Backend{})
		for _, g := range in {
			g.seat.Set(Parked)
		}
		synctest.Wait()
		next := roomy(1)
		next.Generation = 2
		r.waker.set(cluster.Available, next)
		if b := <-served; b != next || r.Backends() != 1 {
			t.Errorf("%+v, %d backends", b, r.Backends())
		}
	})
}
