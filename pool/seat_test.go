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

// TestTurnToLogIn: so many log in at a time, and who gives up waiting hears why.
func TestTurnToLogIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := awakePool(2*loginsAtOnce, Limits{})
		var turns []func()
		for range loginsAtOnce {
			done, err := sit(t, p, &guest{}).TurnToLogIn(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			turns = append(turns, done)
		}
		gone := errors.New("the client has gone")
		ctx, cancel := context.WithCancelCause(context.Background())
		time.AfterFunc(time.Second, func() { cancel(gone) })
		if _, err := sit(t, p, &guest{}).TurnToLogIn(ctx); err != gone {
			t.Errorf("got %v, want %v", err, gone)
		}
		time.AfterFunc(time.Second, turns[0])
		began := time.Now()
		done, err := sit(t, p, &guest{}).TurnToLogIn(context.Background())
		if err != nil || time.Since(began) != time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		done()
	})
}
