package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"serverlessproxy/cluster"
)

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
		after := 0
		r.AfterParking(func(context.Context) { after = r.Backends() + 1 })
		began := time.Now()
		if err := r.Park(context.Background()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 4*time.Second || most.Load() != parkAtOnce {
			t.Errorf("took %v, %d at once", took, most.Load())
		}
		if after != 1 {
			t.Error("it was not told when nobody had a backend any more")
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
		r.AfterParking(func(context.Context) { t.Error("not everybody is parked") })
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

// A park is counted for why it was asked for, and its restore too.
func TestParksAreCountedByReason(t *testing.T) {
	p, w := awakePool(10, Limits{})
	var tally Tally
	g := &guest{}
	seat, err := p.Join(context.Background(), Claim{Session: g, Tally: &tally})
	if err != nil {
		t.Fatal(err)
	}
	g.seat = seat
	g.park = func(context.Context) error { seat.CountPark(Done); return nil }
	ask := func(state cluster.State) {
		w.set(cluster.Available, one)
		borrow(t, seat, "app")
		w.set(state, cluster.Backend{})
		if err := p.Park(context.Background()); err != nil {
			t.Fatal(err)
		}
		seat.CountRestore(Done)
	}
	ask(cluster.Pausing)
	ask(cluster.Scaling)
	ask(cluster.Scaling)
	p.parkOne(context.Background(), seat, ForRelease)
	seat.CountPark(Recoverable)
	seat.CountOutlived()
	got := map[string]int64{}
	tally.Parks(func(reason, result string, n int64) { got[reason+" "+result] += n })
	tally.Restores(func(reason, result string, n int64) { got["restore "+reason] += n })
	for what, want := range map[string]int64{"pause ok": 1, "scale ok": 2, "release ok": 1, "release recoverable": 1, "engine_lost ok": 1, "restore pause": 1, "restore scale": 2} {
		if got[what] != want {
			t.Errorf("%s: %d, want %d", what, got[what], want)
		}
	}
}

func TestTally(t *testing.T) {
	var tally Tally
	tally.Refuse(RefusedTLS)
	tally.Park(ForPause, Recoverable)
	tally.Restore(ForRelease, Fatal)
	tally.Restore(ForRelease, Fatal)
	got := map[string]int64{}
	tally.Refused(func(reason string, n int64) { got["refused "+reason] = n })
	tally.Parks(func(reason, result string, n int64) { got["park "+reason+" "+result] = n })
	tally.Restores(func(reason, result string, n int64) { got["restore "+reason+" "+result] = n })
	if len(got) != int(refusals)+2*int(parkReasons)*int(outcomes) || got["refused tls"] != 1 || got["park pause recoverable"] != 1 || got["restore release fatal"] != 2 {
		t.Errorf("tally %v", got)
	}
	if RefusedProtocol.String() != "protocol" || Fatal.String() != "fatal" || Parked.String() != "parked" {
		t.Error("a word is missing from its list")
	}
}
