package pool

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
)

// server is a Compute under a pool of clients. It fails the test when it is
// stopped while one of them has a backend.
type server struct {
	t       *testing.T
	clients *sync.Map // *client -> nothing
	rand    *rand.Rand

	mu         sync.Mutex // protects following
	generation uint64
	running    bool
	exited     chan struct{}
}

func (s *server) Start(ctx context.Context, _ acu.Size) (cluster.Backend, error) {
	time.Sleep(time.Duration(s.rand.IntN(500)) * time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rand.IntN(8) == 0 {
		return cluster.Backend{}, errors.New("not this time")
	}
	s.generation++
	s.running, s.exited = true, make(chan struct{})
	return cluster.Backend{Network: "unix", Address: "/run/s", Generation: s.generation}, nil
}

func (s *server) Stop(context.Context) error {
	check := func() {
		s.clients.Range(func(key, _ any) bool {
			if c := key.(*client); c.generation.Load() != 0 {
				s.t.Errorf("the engine was stopped under %s, %v", c.seat.ID(), c.seat.Phase())
			}
			return true
		})
	}
	check()
	time.Sleep(time.Duration(s.rand.IntN(300)) * time.Millisecond)
	check() // nobody has come in meanwhile
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = false
	return nil
}

func (s *server) Resize(context.Context, acu.Size) (cluster.Backend, error) {
	return cluster.Backend{}, errors.New("not in this test")
}

func (s *server) Exited() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exited
}

func (s *server) die() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		s.running = false
		close(s.exited)
	}
}

// client is a Session that parks and restores as a front's does.
type client struct {
	seat       *Seat
	mu         sync.Mutex    // held while a request runs or the session is parked
	generation atomic.Uint64 // of the backend that it has; 0 for none
	pinned     bool
}

func (c *client) Park(ctx context.Context) error {
	for !c.mu.TryLock() { // a request runs: wait for its end
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer c.mu.Unlock()
	if c.pinned {
		return &Pinned{[]string{"cursor"}}
	}
	c.generation.Store(0)
	c.seat.Set(Parked)
	return nil
}

func (c *client) Drain(context.Context) { c.Close(Draining) }

func (c *client) Close(Reason) {}

// Lost notes what a front would learn from the closed connection.
func (c *client) Lost(generation uint64) { c.generation.CompareAndSwap(generation, 0) }

// request is one request of the client, on a backend that it has or gets.
func (c *client) request(ctx context.Context, r *rand.Rand) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation.Load() == 0 {
		c.seat.Set(Parked)
		b, err := c.seat.Backend(ctx, cluster.OnQuery)
		if err != nil {
			return err
		}
		c.generation.Store(b.Generation)
	}
	c.seat.Set(Active)
	time.Sleep(time.Duration(r.IntN(200)) * time.Millisecond)
	c.pinned = r.IntN(10) == 0
	c.seat.Set(Idle)
	return nil
}

// TestTogether lets a hundred clients come, work, idle and leave while the
// cluster pauses, resumes, fails and crashes under them. No engine is stopped
// under a client, and every client is answered.
func TestTogether(t *testing.T) {
	for seed := range uint64(4) {
		synctest.Test(t, func(t *testing.T) { together(t, seed) })
	}
}

func together(t *testing.T, seed uint64) {
	clients := &sync.Map{}
	s := &server{t: t, clients: clients, rand: rand.New(rand.NewPCG(seed, 1<<40))}
	c, err := cluster.New(cluster.Config{
		Name: "shop", Dir: t.TempDir(), Compute: s,
		Settings:    cluster.Settings{Min: 2, Max: 2, AutoPause: true, PauseAfter: time.Second, ResumeTimeout: time.Minute},
		ParkTimeout: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	p := New(Config{Cluster: "shop", Waker: c, Limits: Limits{Ceiling: small(60), Reserved: 3, Queue: true, QueueTimeout: time.Minute}})
	ran := make(chan error, 1)
	go func() { ran <- c.Run(context.Background(), p) }()

	end := time.Now().Add(2 * time.Minute)
	var people sync.WaitGroup
	var served, refused, most atomic.Int64
	visit := func(r *rand.Rand) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		me := &client{}
		me.mu.Lock() // nobody parks it before it has its seat
		seat, err := p.Join(ctx, Claim{Session: me, Privileged: r.IntN(20) == 0})
		me.seat = seat
		me.mu.Unlock()
		if err != nil {
			refused.Add(1)
			return
		}
		clients.Store(me, nil)
		defer clients.Delete(me)
		defer seat.Leave()
		defer me.generation.Store(0)
		most.Store(max(most.Load(), int64(len(p.all()))))
		for range r.IntN(10) {
			var resume *cluster.ResumeError
			switch err := me.request(ctx, r); {
			case err == nil:
				served.Add(1)
			case !errors.As(err, &resume):
				t.Errorf("seed %d: a request failed: %v", seed, err)
			}
			time.Sleep(time.Duration(r.IntN(8000)) * time.Millisecond)
		}
	}
	for i := range uint64(100) {
		people.Go(func() {
			r := rand.New(rand.NewPCG(seed, i))
			for time.Now().Before(end) {
				time.Sleep(time.Duration(r.IntN(60)) * time.Second)
				visit(r)
			}
		})
	}
	people.Go(func() { // misfortune
		r := rand.New(rand.NewPCG(seed, 1000))
		for time.Now().Before(end) {
			time.Sleep(time.Duration(r.IntN(20000)) * time.Millisecond)
			s.die()
		}
	})
	people.Go(func() { // an operator
		r := rand.New(rand.NewPCG(seed, 1001))
		for time.Now().Before(end) {
			time.Sleep(time.Duration(r.IntN(5000)) * time.Millisecond)
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			c.Pause(ctx)
			cancel()
		}
	})
	people.Wait()

	if served.Load() == 0 || most.Load() > 63 {
		t.Errorf("seed %d: %d served, %d refused, at most %d at once", seed, served.Load(), refused.Load(), most.Load())
	}
	if p.Anyone() || p.Backends() != 0 {
		t.Errorf("seed %d: somebody is still here", seed)
	}
	time.Sleep(2 * time.Minute)
	if state := c.Status().State; state != cluster.Paused {
		t.Errorf("seed %d: %s in the end", seed, state)
	}
	if err := c.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-ran; err != nil {
		t.Error(err)
	}
}
