package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"serverlessproxy/cluster"
)

func TestCeilingAndReservedSlots(t *testing.T) {
	r := newRoom(t, Limits{Ceiling: small(2), Reserved: 1})
	ordinary, privileged := Claim{Session: &guest{}}, Claim{Session: &guest{}, Privileged: true}
	steps := []struct {
		name  string
		claim Claim
		want  *TooMany
	}{
		{"the first", ordinary, nil},
		{"the last", ordinary, nil},
		{"beyond the ceiling", ordinary, &TooMany{Reserved: true}},
		{"the reserved slot", privileged, nil},
		{"beyond the reserved slots", privileged, &TooMany{}},
		{"an ordinary one", ordinary, &TooMany{}},
	}
	for _, step := range steps {
		_, err := r.Join(context.Background(), step.claim)
		var got *TooMany
		if errors.As(err, &got); (got == nil) != (step.want == nil) || got != nil && *got != *step.want {
			t.Errorf("%s: Join = %#v, want %#v", step.name, err, step.want)
		}
	}
	if n := r.Ceiling(); n != 2 {
		t.Errorf("ceiling %d", n)
	}
}

func TestTheCeilingFollowsTheCapacity(t *testing.T) {
	r := newRoom(t, Limits{})
	if n := r.Ceiling(); n != 20 {
		t.Errorf("paused: %d, want the ceiling that it will resume to", n)
	}
	var guests []*guest
	for range 20 {
		guests = append(guests, r.join())
	}
	r.Resettle(1)
	if n := r.Ceiling(); n != 10 {
		t.Errorf("at 1 ACU: %d", n)
	}
	for _, g := range guests[:10] {
		g.seat.Leave()
		if _, err := r.Join(context.Background(), Claim{Session: g}); err == nil {
			t.Fatal("somebody got in over the lowered ceiling")
		}
	}
	guests[10].seat.Leave()
	guests[10].seat.Leave() // frees no second seat
	r.join()
	if _, err := r.Join(context.Background(), Claim{}); err == nil {
		t.Error("leaving twice freed two seats")
	}
}

func TestTheQueueServesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, Limits{Ceiling: small(1), Queue: true, QueueTimeout: time.Minute})
		first := r.join()
		var order []int
		var mu sync.Mutex
		var guests sync.WaitGroup
		for i := range 5 {
			guests.Go(func() {
				seat, err := r.Join(context.Background(), Claim{Session: &guest{}, Privileged: i == 4})
				if err != nil {
					t.Errorf("%d: %v", i, err)
					return
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				if phase := seat.Phase(); phase != Active {
					t.Errorf("%d is %v", i, phase)
				}
				time.Sleep(time.Second)
				seat.Leave()
			})
			synctest.Wait()
		}
		if counts := r.Counts(); counts[Queued] != 5 || counts[Active] != 1 {
			t.Errorf("counts %v", counts)
		}
		time.Sleep(time.Second)
		first.seat.Leave()
		guests.Wait()
		if want := []int{4, 0, 1, 2, 3}; !slices.Equal(order, want) {
			t.Errorf("order %v, want %v", order, want)
		}
		if held := r.holdings.take(); len(held) != 5 || held[0] != "shop queue 1s" || held[4] != "shop queue 5s" {
			t.Errorf("held %v", held)
		}
		if r.Anyone() {
			t.Error("somebody is still here")
		}
	})
}

func TestTheQueueEndsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, Limits{Ceiling: small(1), Reserved: 1, Queue: true, QueueTimeout: 30 * time.Second})
		first := r.join()
		began := time.Now()
		_, err := r.Join(context.Background(), Claim{Session: &guest{}})
		var many *TooMany
		if !errors.As(err, &many) || *many != (TooMany{Reserved: true, Waited: 30 * time.Second}) || time.Since(began) != 30*time.Second {
			t.Errorf("Join = %v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		began = time.Now()
		if _, err := r.Join(ctx, Claim{Session: &guest{}}); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("Join = %v after %v", err, time.Since(began))
		}
		// Neither left anything in the queue: the next in line is served.
		var next sync.WaitGroup
		next.Go(func() {
			seat, err := r.Join(context.Background(), Claim{Session: &guest{}})
			if err != nil {
				t.Error(err)
				return
			}
			seat.Leave()
		})
		synctest.Wait()
		if n := r.Counts()[Queued]; n != 1 {
			t.Errorf("%d in the queue", n)
		}
		first.seat.Leave()
		next.Wait()
	})
}

func TestRoomThatIsMadeAdmitsTheQueue(t *testing.T) {
	for name, widen := range map[string]func(*room){
		"a higher capacity": func(r *room) { r.Resettle(4) },
		"other limits":      func(r *room) { r.Configure(Limits{Ceiling: small(3)}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRoom(t, Limits{Ceiling: small(1), Queue: true, QueueTimeout: time.Minute})
				r.join()
				var in atomic.Int32
				var guests sync.WaitGroup
				for range 4 {
					guests.Go(func() {
						if _, err := r.Join(context.Background(), Claim{Session: &guest{}}); err == nil {
							in.Add(1)
						}
					})
				}
				synctest.Wait()
				widen(r)
				synctest.Wait()
				if n := in.Load(); n != 2 {
					t.Errorf("%d of the queue got in", n)
				}
				guests.Wait()
			})
		})
	}
}

func TestBackendHoldsUntilTheClusterServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, Limits{})
		g := r.join()
		g.seat.Set(Parked)
		got := make(chan cluster.Backend, 1)
		go func() {
			b, err := g.seat.Backend(context.Background(), cluster.OnQuery)
			if err != nil {
				t.Error(err)
			}
			got <- b
		}()
		time.Sleep(3 * time.Second)
		if phase := g.seat.Phase(); phase != Held || r.Quiet() != 0 {
			t.Errorf("phase %v, quiet %v", phase, r.Quiet())
		}
		r.waker.set(cluster.Available, one)
		if b := <-got; b != one || g.seat.Phase() != Active {
			t.Errorf("backend %+v, phase %v", b, g.seat.Phase())
		}
		if held := r.holdings.take(); !slices.Equal(held, []string{"shop resume 3s"}) {
			t.Errorf("held %v", held)
		}
		if n := r.Backends(); n != 1 {
			t.Errorf("%d backends", n)
		}
		// Nobody is held where the cluster serves.
		r.settle()
		if held := r.holdings.take(); len(held) != 0 {
			t.Errorf("held %v", held)
		}
		// A failure leaves the phase as it was.
		g.seat.Set(Parked)
		r.waker.set(cluster.Scaling, cluster.Backend{})
		r.waker.fail(&cluster.ResumeError{Reason: "disk full"})
		if _, err := g.seat.Backend(context.Background(), cluster.OnQuery); err == nil || g.seat.Phase() != Parked || r.Backends() != 1 {
			t.Errorf("Backend = %v, phase %v", err, g.seat.Phase())
		}
		if held := r.holdings.take(); !slices.Equal(held, []string{"shop scale 0s"}) {
			t.Errorf("held %v", held)
		}
	})
}

// stale hands its first waker a backend that the cluster serves no more.
type stale struct {
	*sleeper
	old   cluster.Backend
	calls int
}

func (s *stale) Wake(ctx context.Context, t cluster.Trigger) (cluster.Backend, error) {
	if s.calls++; s.calls == 1 {
		return s.old, nil
	}
	return s.sleeper.Wake(ctx, t)
}

func TestNobodyGetsABackendOfYesterday(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waker := &stale{sleeper: newSleeper(), old: one}
		waker.set(cluster.Pausing, cluster.Backend{})
		p := New(Config{Waker: waker, Limits: Limits{Ceiling: small(5)}})
		seat, err := p.Join(context.Background(), Claim{Session: &guest{}})
		if err != nil {
			t.Fatal(err)
		}
		two := cluster.Backend{Network: "unix", Address: "/run/2", Generation: 2}
		time.AfterFunc(time.Second, func() { waker.set(cluster.Available, two) })
		if b, err := seat.Backend(context.Background(), cluster.OnConnect); err != nil || b != two {
			t.Errorf("Backend = %+v, %v", b, err)
		}
	})
}

func TestQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, Limits{})
		r.waker.set(cluster.Available, one)
		want := func(when string, d time.Duration) {
			t.Helper()
			if got := r.Quiet(); got != d {
				t.Errorf("%s: quiet for %v, want %v", when, got, d)
			}
		}
		time.Sleep(time.Hour)
		want("nobody was ever here", never)
		g := r.join()
		time.Sleep(time.Second)
		want("a login", 0)
		g.seat.Set(Idle)
		time.Sleep(time.Second)
		want("idle", time.Second)
		for _, busy := range []Phase{Active, InTransaction, Held} {
			g.seat.Set(busy)
			time.Sleep(time.Minute)
			want(busy.String(), 0)
		}
		g.seat.Set(Active)
		g.seat.Set(InTransaction)
		g.seat.Set(Idle)
		time.Sleep(3 * time.Second)
		want("idle again", 3*time.Second)
		g.seat.Set(Parked)
		time.Sleep(time.Second)
		want("parked: no activity", 4*time.Second)
		g.seat.Set(Held)
		g.seat.Set(Parked)
		time.Sleep(time.Second)
		want("held in vain: no activity", 5*time.Second)
		g.seat.Touch(time.Now())
		time.Sleep(time.Second)
		want("touched", time.Second)
		other := r.settle()
		time.Sleep(time.Second)
		want("another", time.Second)
		other.seat.Leave()
		time.Sleep(time.Second)
		want("another left", 2*time.Second)
		g.seat.Set(Active)
		g.seat.Leave()
		time.Sleep(time.Second)
		want("left in the midst of it", time.Second)
	})
}

func TestSeekersKeepItAwake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, Limits{Ceiling: small(1), Queue: true, QueueTimeout: time.Minute})
		g := r.join()
		g.seat.Set(Parked)
		time.Sleep(time.Hour)
		go r.Join(context.Background(), Claim{Session: &guest{}})
		synctest.Wait()
		if got := r.Quiet(); got != 0 {
			t.Errorf("with a queue: quiet for %v", got)
		}
		time.Sleep(90 * time.Second)
		if got := r.Quiet(); got != 30*time.Second {
			t.Errorf("after one was refused: quiet for %v", got)
		}
	})
}

func TestParkAsksWhoHasABackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, Limits{Ceiling: small(200)})
		r.waker.set(cluster.Available, one)
		var now, most atomic.Int32
		slow := func(context.Context) error {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Second)
			now.Add(-1)
			return nil
		}
		var guests []*guest
		for range 100 {
			g := r.settle()
			g.park = slow
			guests = append(guests, g)
		}
		without := r.join()
		parked := r.settle()
		parked.seat.Set(Parked)
		began := time.Now()
		if err := r.Park(context.Background()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 4*time.Second || most.Load() != parkAtOnce {
			t.Errorf("took %v, %d at once", took, most.Load())
		}
		if without.parked != 0 || parked.parked != 0 {
			t.Error("sessions without a backend were asked")
		}
		for _, g := range guests {
			if g.parked != 1 || g.seat.Phase() != Parked {
				t.Fatalf("parked %d times, phase %v", g.parked, g.seat.Phase())
			}
		}
		if n := r.Backends(); n != 0 {
			t.Errorf("%d backends are left", n)
		}
		if err := r.Park(context.Background()); err != nil || guests[0].parked != 1 {
			t.Errorf("parking again: %v", err)
		}
	})
}

func TestHoldoutsAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, Limits{})
		r.waker.set(cluster.Available, one)
		until := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		easy, pinned, busy, open, odd, gone := r.settle(), r.settle(), r.settle(), r.settle(), r.settle(), r.settle()
		pinned.park = func(context.Context) error { return &Pinned{[]string{"cursor", "user_lock"}} }
		busy.park, open.park = until, until
		busy.seat.Set(Active)
		open.seat.Set(InTransaction)
		odd.park = func(context.Context) error { return errors.New("the probe failed") }
		gone.park = func(context.Context) error { gone.seat.Leave(); return errors.New("the client went") }

		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		var holdouts *cluster.Holdouts
		if err := r.Park(ctx); !errors.As(err, &holdouts) {
			t.Fatalf("Park = %v", err)
		}
		got := map[string]string{}
		for _, h := range holdouts.Sessions {
			got[h.Session] = fmt.Sprint(h.Reasons)
		}
		want := map[string]string{
			pinned.seat.ID(): "[cursor user_lock]", busy.seat.ID(): "[active]",
			open.seat.ID(): "[transaction]", odd.seat.ID(): "[unreadable]",
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("holdouts %v, want %v", got, want)
		}
		if easy.seat.Phase() != Parked {
			t.Error("who could be parked was not")
		}
		// Everything stays usable, at once.
		if b, err := easy.seat.Backend(context.Background(), cluster.OnQuery); err != nil || b != one {
			t.Errorf("Backend = %+v, %v", b, err)
		}
	})
}

func TestOperatorsSeeAndKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := &IDs{}
		waker := newSleeper()
		waker.set(cluster.Available, one)
		p := New(Config{Waker: waker, Limits: Limits{Ceiling: small(1), Queue: true, QueueTimeout: time.Minute}, IDs: ids})
		q := New(Config{Waker: waker, Limits: Limits{Ceiling: small(5)}, IDs: ids})
		connected := time.Now()
		g := &guest{}
		seat, err := p.Join(context.Background(), Claim{Session: g, Info: Info{User: "al", Protocol: "postgres"}})
		if err != nil {
			t.Fatal(err)
		}
		other, err := q.Join(context.Background(), Claim{Session: &guest{}})
		if err != nil || other.ID() == seat.ID() {
			t.Errorf("ids %s and %s, %v", seat.ID(), other.ID(), err)
		}
		queued := make(chan error, 1)
		go func() {
			_, err := p.Join(context.Background(), Claim{Session: &guest{}, Info: Info{User: "bo"}})
			queued <- err
		}()
		time.Sleep(time.Second)
		reasons := []string{"cursor", "user_lock"}
		seat.Pin(reasons...)
		reasons[0] = "changed by the caller"
		seat.Describe(func(i *Info) { i.BackendPID, i.Application = 4711, "psql" })
		seat.Set(Idle)
		idle := time.Now()
		time.Sleep(time.Second)

		views := p.Sessions()
		if len(views) != 2 {
			t.Fatalf("%d sessions", len(views))
		}
		want := Info{User: "al", Protocol: "postgres", BackendPID: 4711, Application: "psql"}
		if v := views[0]; v.Info != want || v.ID != seat.ID() || v.Phase != Idle ||
			!slices.Equal(v.PinnedBy, []string{"cursor", "user_lock"}) ||
			!v.ConnectedAt.Equal(connected) || !v.ActiveAt.Truncate(time.Microsecond).Equal(idle.Truncate(time.Microsecond)) {
			t.Errorf("view %+v", v)
		}
		if v := views[1]; v.User != "bo" || v.Phase != Queued || v.PinnedBy == nil {
			t.Errorf("view %+v", v)
		}
		if pins := p.Pins(); fmt.Sprint(pins) != "map[cursor:1 user_lock:1]" || p.Pinned() != 1 {
			t.Errorf("pins %v, %d pinned", pins, p.Pinned())
		}
		seat.Pin()
		if len(p.Pins()) != 0 {
			t.Error("still pinned")
		}

		if err := p.Kill("s-99"); !errors.Is(err, ErrNoSession) {
			t.Errorf("Kill of nobody = %v", err)
		}
		if err := p.Kill(other.ID()); !errors.Is(err, ErrNoSession) {
			t.Errorf("Kill of another pool's = %v", err)
		}
		if err := p.Kill(views[1].ID); err != nil {
			t.Error(err)
		}
		if err := <-queued; !errors.Is(err, ErrKilled) {
			t.Errorf("Join of a killed one = %v", err)
		}
		if err := p.Kill(seat.ID()); err != nil || !slices.Equal(g.closed, []Reason{Killed}) {
			t.Errorf("Kill = %v, closed %v", err, g.closed)
		}
		seat.Leave()
		if err := p.Kill(seat.ID()); !errors.Is(err, ErrNoSession) {
			t.Errorf("Kill of one that left = %v", err)
		}
	})
}

func TestDrainAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, Limits{Ceiling: small(2), Queue: true, QueueTimeout: time.Minute})
		quick, slow := r.join(), r.join()
		slow.drain = func(ctx context.Context) { <-ctx.Done() }
		queued := make(chan error, 1)
		go func() {
			_, err := r.Join(context.Background(), Claim{Session: &guest{}})
			queued <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		began := time.Now()
		r.DrainAll(ctx)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("took %v", took)
		}
		if err := <-queued; !errors.Is(err, ErrDraining) {
			t.Errorf("queued: %v", err)
		}
		if len(quick.closed) != 1 || len(slow.closed) != 1 || r.Anyone() {
			t.Error("not everybody has left")
		}
		if _, err := r.Join(context.Background(), Claim{}); !errors.Is(err, ErrDraining) {
			t.Errorf("Join = %v", err)
		}
	})
}

func TestLostReachesEverybody(t *testing.T) {
	r := newRoom(t, Limits{})
	a, b, gone := r.join(), r.join(), r.join()
	gone.seat.Leave()
	r.Lost(7)
	if !slices.Equal(a.lost, []uint64{7}) || !slices.Equal(b.lost, []uint64{7}) || gone.lost != nil {
		t.Errorf("told %v %v %v", a.lost, b.lost, gone.lost)
	}
}

func TestTally(t *testing.T) {
	var tally Tally
	tally.Refuse(RefusedTLS)
	tally.Park(Recoverable)
	tally.Restore(Fatal)
	tally.Restore(Fatal)
	got := map[string]int64{}
	tally.Refused(func(reason string, n int64) { got["refused "+reason] = n })
	tally.Parks(func(result string, n int64) { got["park "+result] = n })
	tally.Restores(func(result string, n int64) { got["restore "+result] = n })
	if len(got) != int(refusals)+2*int(outcomes) || got["refused tls"] != 1 || got["park recoverable"] != 1 || got["restore fatal"] != 2 {
		t.Errorf("tally %v", got)
	}
	if RefusedProtocol.String() != "protocol" || Fatal.String() != "fatal" || Parked.String() != "parked" {
		t.Error("a word is missing from its list")
	}
}

func BenchmarkSet(b *testing.B) {
	p := New(Config{Waker: newSleeper(), Limits: Limits{Ceiling: small(5)}})
	seat, err := p.Join(context.Background(), Claim{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		seat.Set(Active)
		seat.Set(Idle)
	}
}
