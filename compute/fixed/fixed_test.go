package fixed

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"serverlessproxy/acu"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errNo      = errors.New("no")
	errRefused = errors.New("wrong password")
)

// server is one that listens, and answers as it is told.
type server struct {
	t        *testing.T
	listener net.Listener
	answer   atomic.Pointer[error]
	asked    atomic.Int64
	served   sync.WaitGroup
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t}
	s.listen("127.0.0.1:0")
	s.says(nil)
	t.Cleanup(s.die)
	return s
}

func (s *server) listen(address string) {
	s.t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.listener = listener
	s.served.Go(func() { accept(listener) })
}

func accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		conn.Close()
	}
}

func (s *server) die() {
	s.listener.Close()
	s.served.Wait()
}

func (s *server) says(err error)  { s.answer.Store(&err) }
func (s *server) address() string { return s.listener.Addr().String() }

func (s *server) ping(ctx context.Context) error {
	s.asked.Add(1)
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.address())
	if err != nil {
		return err
	}
	conn.Close()
	return *s.answer.Load()
}

func (s *server) config(log io.Writer) Config {
	return Config{
		Network: "tcp", Address: s.address(), Ping: s.ping, Every: time.Millisecond,
		Refused: func(err error) bool { return errors.Is(err, errRefused) },
		Log:     slog.New(slog.NewTextHandler(log, nil)),
	}
}

// eventually waits for a condition, with a limit.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// shared is a log that two goroutines may use.
type shared struct {
	mu  sync.Mutex
	log bytes.Buffer
}

func (s *shared) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(b)
}

func (s *shared) count(words string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.log.String(), words)
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestStartStopsAndStartsAgain(t *testing.T) {
	s := newServer(t)
	c := New(s.config(io.Discard))
	if _, err := c.Resize(t.Context(), acu.Size{Capacity: 2}); err == nil {
		t.Error("resized what was never reached")
	}
	for generation := uint64(1); generation <= 3; generation++ {
		b, err := c.Start(t.Context(), acu.Size{Capacity: 2})
		if err != nil || b.Network != "tcp" || b.Address != s.address() || b.Generation != generation {
			t.Fatalf("%+v, %v", b, err)
		}
		if same, err := c.Resize(t.Context(), acu.Size{Capacity: 4}); err != nil || same != b {
			t.Errorf("resize: %+v, %v", same, err)
		}
		if err := c.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if !strings.Contains(c.CannotPause(), "driver fixed") {
		t.Error(c.CannotPause())
	}
}

func TestExitedWhenGoneAndBackAgain(t *testing.T) {
	s := newServer(t)
	c := New(s.config(io.Discard))
	defer c.Stop(t.Context())
	if _, err := c.Start(t.Context(), acu.Size{}); err != nil {
		t.Fatal(err)
	}
	address := s.address()
	s.die()
	eventually(t, "its end is noticed", func() bool { return closed(c.Exited()) })
	s.listen(address)
	b, err := c.Start(t.Context(), acu.Size{})
	if err != nil || b.Generation != 2 || closed(c.Exited()) {
		t.Errorf("%+v, %v", b, err)
	}
}

// A server that says no is still there for those who are in.
func TestOneThatSaysNoIsNotGone(t *testing.T) {
	s := newServer(t)
	log := &shared{}
	c := New(s.config(log))
	defer c.Stop(t.Context())
	if _, err := c.Start(t.Context(), acu.Size{}); err != nil {
		t.Fatal(err)
	}
	s.says(errNo)
	before := s.asked.Load()
	eventually(t, "asked ten times more", func() bool { return s.asked.Load() > before+10 })
	if closed(c.Exited()) {
		t.Error("taken for gone")
	}
	if n := log.count("does not answer the proxy"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

func TestStartWaitsForAServer(t *testing.T) {
	s := newServer(t)
	s.says(errNo)
	c := New(s.config(io.Discard))
	defer c.Stop(t.Context())
	started := make(chan error, 1)
	var starter sync.WaitGroup
	starter.Go(func() {
		_, err := c.Start(t.Context(), acu.Size{})
		started <- err
	})
	eventually(t, "asked", func() bool { return s.asked.Load() > 0 })
	s.says(nil)
	starter.Wait()
	if err := <-started; err != nil {
		t.Error(err)
	}
}

func TestStartGivesUp(t *testing.T) {
	for name, c := range map[string]struct {
		says  error
		gone  bool
		limit time.Duration
		want  error
	}{
		"refused":     {errRefused, false, time.Minute, errRefused},
		"not in time": {errNo, false, 20 * time.Millisecond, nil},
		"nobody":      {nil, true, 20 * time.Millisecond, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.says(c.says)
			if c.gone {
				s.die()
			}
			ctx, cancel := context.WithTimeout(t.Context(), c.limit)
			defer cancel()
			compute := New(s.config(io.Discard))
			_, err := compute.Start(ctx, acu.Size{})
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), s.address()) {
				t.Error(err)
			}
			if ctx.Err() != nil && c.want == errRefused {
				t.Error("waited for what does not change")
			}
			if compute.Exited() != nil {
				t.Error("watches what was not reached")
			}
		})
	}
}

func TestNeverAskedAgain(t *testing.T) {
	s := newServer(t)
	config := s.config(io.Discard)
	config.Every = -1
	c := New(config)
	if _, err := c.Start(t.Context(), acu.Size{}); err != nil {
		t.Fatal(err)
	}
	if c.Exited() == nil || s.asked.Load() != 1 {
		t.Errorf("asked %d times", s.asked.Load())
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}
