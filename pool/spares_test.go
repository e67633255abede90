package pool

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
)

// used is a Spare that remembers its end.
type used struct{ closed, lasting bool }

func (u *used) Close()        { u.closed = true }
func (u *used) Lasting() bool { return u.lasting }

// awakePool is a pool with a ceiling of n on a cluster that serves.
func awakePool(n int, limits Limits) (*Pool, *sleeper) {
	w := newSleeper()
	w.set(cluster.Available, one)
	limits.Ceiling = func(acu.Capacity) int { return n }
	return New(Config{Cluster: "c", Waker: w, Limits: limits}), w
}

func sit(t *testing.T, p *Pool, session Session) *Seat {
	t.Helper()
	seat, err := p.Join(context.Background(), Claim{Session: session})
	if err != nil {
		t.Fatal(err)
	}
	if g, ok := session.(*guest); ok {
		g.seat = seat
	}
	return seat
}

func borrow(t *testing.T, s *Seat, key string) Grant {
	t.Helper()
	grant, err := s.Borrow(context.Background(), cluster.OnQuery, key)
	if err != nil {
		t.Fatal(err)
	}
	return grant
}

func TestSparesGoToTheirKeyAlone(t *testing.T) {
	p, _ := awakePool(10, Limits{})
	defer p.closeSpares()
	first, second := sit(t, p, &guest{}), sit(t, p, &guest{})
	if grant := borrow(t, first, "app"); grant.Spare != nil || grant.Backend != one {
		t.Fatalf("the first is granted %+v", grant)
	}
	backend := &used{}
	first.GiveUp("app", one.Generation, backend)
	if first.Phase() != Parked {
		t.Errorf("after giving up the phase is %v", first.Phase())
	}
	if grant := borrow(t, second, "other"); grant.Spare != nil {
		t.Error("a spare went to another key")
	}
	if grant := borrow(t, first, "app"); grant.Spare != backend {
		t.Errorf("got %v, want what was given up", grant.Spare)
	}
	if grant := borrow(t, second, "app"); grant.Spare != nil {
		t.Error("a spare was given twice")
	}
}

func TestSparesEnd(t *testing.T) {
	for name, end := range map[string]func(p *Pool, w *sleeper){
		"after a while":            func(*Pool, *sleeper) { time.Sleep(spareFor); synctest.Wait() },
		"at a pause":               func(p *Pool, _ *sleeper) { _ = p.Park(context.Background()) },
		"when the engine died":     func(p *Pool, _ *sleeper) { p.Lost(1) },
		"when the proxy stops":     func(p *Pool, _ *sleeper) { p.DrainAll(context.Background()) },
		"for who needs their room": func(p *Pool, _ *sleeper) { borrowQuietly(p); borrowQuietly(p) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, w := awakePool(3, Limits{})
				seat, backend := sit(t, p, &guest{}), &used{}
				borrow(t, seat, "app")
				seat.GiveUp("app", one.Generation, backend)
				if p.Spares() != 1 || backend.closed {
					t.Fatal("it was not kept")
				}
				borrow(t, seat, "other")
				end(p, w)
				if p.Spares() != 0 || !backend.closed {
					t.Errorf("%d are kept, closed: %v", p.Spares(), backend.closed)
				}
			})
		})
	}
}

// TestLastingSpares: what new sessions can use is kept for longer, but not so
// many that they take a quarter of the engine's room, and none where a database
// is to be without connections.
func TestLastingSpares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := awakePool(8, Limits{})
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { defer close(ended); p.Run(ctx) }()
		rest := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		leave := func(n int) (seats []*Seat) {
			for range n {
				seat := sit(t, p, &guest{})
				borrow(t, seat, "app")
				seats = append(seats, seat)
			}
			for _, seat := range seats {
				seat.GiveUp("app", one.Generation, &used{lasting: true})
			}
			return seats
		}
		seats := leave(4)
		rest(spareFor)
		if got := p.Spares(); got != 2 {
			t.Errorf("after %v %d are kept, want 2 of a room for 8", spareFor, got)
		}
		borrow(t, seats[0], "app")
		seats[0].GiveUp("app", one.Generation, &used{lasting: true})
		rest(warmFor - time.Second)
		if got := p.Spares(); got != 1 {
			t.Errorf("%d are kept, want the one that was used again", got)
		}
		seats[1].EndSparesSoon()
		rest(0)
		if got := p.Spares(); got != 0 {
			t.Errorf("%d are kept of a database that is to be without connections", got)
		}
		for _, seat := range seats {
			seat.Leave()
		}
		seats = leave(1)
		if got := p.Spares(); got != 0 {
			t.Errorf("%d are kept just after", got)
		}
		rest(vacantFor)
		borrow(t, seats[0], "app")
		seats[0].GiveUp("app", one.Generation, &used{lasting: true})
		if got := p.Spares(); got != 1 {
			t.Errorf("%d are kept later", got)
		}
		p.closeSpares()
		cancel()
		<-ended
	})
}

func borrowQuietly(p *Pool) {
	if seat, err := p.Join(context.Background(), Claim{Session: &guest{}}); err == nil {
		_, _ = seat.Borrow(context.Background(), cluster.OnQuery, "third")
	}
}

func TestSpareOfADeadEngineIsNotKept(t *testing.T) {
	p, w := awakePool(3, Limits{})
	seat, backend := sit(t, p, &guest{}), &used{}
	borrow(t, seat, "app")
	if !seat.Keeps(one.Generation) {
		t.Error("a spare of an engine that serves would not be kept")
	}
	w.set(cluster.Pausing, cluster.Backend{})
	if seat.Keeps(one.Generation) {
		t.Error("a spare of an engine that stops would be kept")
	}
	seat.GiveUp("app", one.Generation, backend)
	if p.Spares() != 0 || !backend.closed {
		t.Error("a spare of an engine that stops was kept")
	}
}

// TestSweep: who is idle for long enough gives up its backend; who cannot is
// asked again later, and ended when it has been pinned for too long.
func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := awakePool(10, Limits{ReleaseAfter: 4 * time.Second, PinnedTimeout: 20 * time.Second})
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		rest := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		go func() { defer close(ended); p.Run(ctx) }()
		idle, busy, pinned := &guest{}, &guest{}, &guest{}
		pinned.park = func(context.Context) error {
			pinned.seat.Pin("temporary_object")
			return &Pinned{Reasons: []string{"temporary_object"}}
		}
		for _, g := range []*guest{idle, busy, pinned} {
			borrow(t, sit(t, p, g), "app")
			g.seat.Set(Idle)
		}
		busy.seat.Set(Active)
		rest(3500 * time.Millisecond)
		if idle.seat.Phase() != Idle {
			t.Error("released too early")
		}
		rest(2 * time.Second)
		if got := idle.seat.Phase(); got != Parked {
			t.Errorf("the idle one is %v", got)
		}
		if got := busy.seat.Phase(); got != Active || busy.asked() > 0 {
			t.Errorf("the busy one is %v, asked %d times", got, busy.asked())
		}
		if pinned.asked() != 2 {
			t.Errorf("the pinned one was asked %d times, want a second time a second later", pinned.asked())
		}
		rest(4 * time.Second)
		if pinned.asked() != 3 {
			t.Errorf("the pinned one was asked %d times in 10 s", pinned.asked())
		}
		if len(pinned.endings()) > 0 {
			t.Error("ended too early")
		}
		rest(12 * time.Second)
		if len(pinned.endings()) == 0 || pinned.endings()[0] != PinnedTimeout {
			t.Errorf("the pinned one was told %v", pinned.endings())
		}
		cancel()
		<-ended
	})
}

func (g *guest) asked() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.parked
}

func (g *guest) endings() []Reason {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.closed)
}
