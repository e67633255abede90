package pool

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
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
