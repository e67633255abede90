package relay

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestCarries(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := newRig(t, w)
		r.lend(&script{})
		for _, word := range []string{"a", "question", strings.Repeat("long", 50000)} {
			go r.say(r.user, word)
			r.hear(r.server, word)
			go r.say(r.server, word+" answered")
			r.hear(r.user, word+" answered")
		}
	})
}

func TestShowsWhatCameWithIt(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := newRig(t, w)
		r.ends.FromClient, r.ends.FromBackend = []byte("from client"), []byte("from backend")
		r.lend(&script{})
		r.hear(r.server, "from client")
		r.hear(r.user, "from backend")
		r.say(r.user, ", and on")
		r.hear(r.server, ", and on")
	})
}

func TestShowsLeftoversWithWhatFollows(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := newRig(t, w)
		r.ends.FromClient = []byte("ab")
		shown := make(chan string, 10)
		r.lend(&script{client: func(b []byte) (int, bool) {
			shown <- string(b)
			return len(b) / 3 * 3, false
		}})
		for _, step := range []struct{ say, shown, heard string }{
			{"", "ab", ""},
			{"cd", "abcd", "abc"},
			{"e", "de", ""},
			{"f", "def", "def"},
			{"g", "g", ""},
		} {
			r.say(r.user, step.say)
			if got := <-shown; got != step.shown {
				t.Fatalf("shown %q, want %q", got, step.shown)
			}
			r.hear(r.server, step.heard)
		}
	})
}

func TestStops(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := newRig(t, w)
		r.lend(&script{client: stopAt('!')})
		r.say(r.user, "before!after")
		b := r.await(Stopped)
		if string(b.FromClient) != "!after" || !b.ByClient || b.Err != nil {
			t.Fatalf("came back with %+v", b)
		}
		must(t, r.server.SetReadDeadline(time.Now().Add(patience)))
		r.hear(r.server, "before")

		// The connections are ordinary ones.
		r.say(r.user, " later")
		r.hear(b.Client, " later")
		r.say(b.Client, "in between")
		r.hear(r.user, "in between")

		// Lent again, with what was left over.
		r.lend(&script{backend: stopAt('?')})
		r.hear(r.server, "!after")
		r.say(r.server, "answer?")
		b = r.await(Stopped)
		if string(b.FromBackend) != "?" || b.ByClient {
			t.Fatalf("came back with %+v", b)
		}
		r.hear(r.user, "answer")
	})
}

func TestStopsAtOnceByWhatCameWithIt(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := newRig(t, w)
		r.ends.FromClient, r.ends.FromBackend = []byte("x!y"), nil
		r.lend(&script{client: stopAt('!')})
		if b := r.await(Stopped); string(b.FromClient) != "!y" || !b.ByClient {
			t.Fatalf("came back with %+v", b)
		}
		r.hear(r.server, "x")
	})
}

// A stop waits until both sides have taken what came before it, even where
// they take it slowly and wait for each other.
func TestStopFlushesBothSides(t *testing.T) {
	const much = 3 << 20
	eachWay(t, func(t *testing.T, w way) {
		r := newRig(t, w)
		smallBuffers(t, r.user, r.server, r.ends.Client, r.ends.Backend)
		r.lend(&script{client: stopAt('!')})
		var sent sync.WaitGroup
		sent.Go(func() { r.say(r.user, strings.Repeat("c", much)+"!") })
		sent.Go(func() { r.say(r.server, strings.Repeat("b", much)) })
		r.hear(r.server, strings.Repeat("c", much))
		b := make(chan []byte)
		go func() {
			got, _ := io.ReadAll(r.user)
			b <- got
		}()
		back := r.await(Stopped)
		// What the engine had left to say is in its socket still.
		go func() {
			_, _ = back.Client.Write(back.FromBackend)
			_, _ = io.Copy(back.Client, back.Backend)
			_ = back.Client.Close()
		}()
		sent.Wait()
		must(t, r.server.Close())
		if got := <-b; len(got) != much {
			t.Fatalf("heard %d bytes of %d", len(got), much)
		}
	})
}

func TestRecall(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		var safe atomic.Bool
		s := &script{safe: safe.Load, client: func(b []byte) (int, bool) {
			safe.Store(bytes.HasSuffix(b, []byte(".")))
			return len(b), false
		}}
		r := newRig(t, w)

		loan := r.lend(s)
		r.say(r.user, "in the middle")
		r.hear(r.server, "in the middle")
		loan.Recall()
		r.stays()
		loan.Keep()
		r.say(r.user, " end.")
		r.hear(r.server, " end.")
		r.stays()
		loan.Recall()
		r.await(Recalled)
		loan.Recall()
		loan.Keep()
		loan.Sever()

		loan = r.lend(s)
		r.say(r.user, "middle")
		r.hear(r.server, "middle")
		loan.Recall()
		r.say(r.user, ".")
		r.hear(r.server, ".")
		r.await(Recalled)
	})
}

// Bytes that come while a session is recalled are in its socket, or come back
// with it.
func TestRecallLosesNothing(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := newRig(t, w)
		const rounds = 300
		go func() {
			for range rounds {
				_, _ = r.user.Write([]byte("0123456789"))
			}
			halfClose(t, r.user)
		}()
		heard := make(chan []byte)
		go func() {
			got, _ := io.ReadAll(r.server)
			heard <- got
		}()
		for {
			loan := r.lend(&script{safe: func() bool { return true }})
			runtime.Gosched()
			loan.Recall()
			var b Return
			select {
			case b = <-r.back:
			case <-time.After(patience):
				t.Fatal("did not come back")
			}
			r.ends = b.Ends
			if b.Why == ClientGone {
				break
			}
			if b.Why != Recalled {
				t.Fatalf("came back %v: %v", b.Why, b.Err)
			}
		}
		_ = r.ends.Client.Close()
		_ = r.ends.Backend.Close()
		if got := <-heard; !bytes.Equal(got, bytes.Repeat([]byte("0123456789"), rounds)) {
			t.Fatalf("heard %d bytes: %q", len(got), got)
		}
	})
}

func TestLeftoverIsNoSafePoint(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := newRig(t, w)
		shown := make(chan struct{}, 10)
		loan := r.lend(&script{safe: func() bool { return true }, client: func(b []byte) (int, bool) {
			shown <- struct{}{}
			return len(b) / 2 * 2, false
		}})
		r.say(r.user, "a")
		<-shown
		loan.Recall()
		r.stays()
		r.say(r.user, "b")
		r.await(Recalled)
		r.hear(r.server, "ab")
	})
}

func TestSever(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := newRig(t, w)
		loan := r.lend(&script{client: func([]byte) (int, bool) { return 0, false }})
		r.say(r.user, "kept")
		r.stays()
		loan.Sever()
		b := r.await(Severed)
		if string(b.FromClient) != "kept" {
			t.Fatalf("came back with %q", b.FromClient)
		}
		r.say(b.Client, "goodbye")
		r.hear(r.user, "goodbye")
	})
}

// Severing does not wait for a receiver that takes nothing, and what it did
// not take comes back.
func TestSeverOfASlowReceiver(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := newRig(t, w)
		smallBuffers(t, r.user, r.ends.Client)
		var sent atomic.Int64
		loan := r.lend(&script{backend: func(b []byte) (int, bool) {
			sent.Add(int64(len(b)))
			return len(b), false
		}})
		stalled := make(chan struct{})
		go func() {
			defer close(stalled)
			must(t, r.server.SetWriteDeadline(time.Now().Add(300*time.Millisecond)))
			_, _ = io.Copy(r.server, zeros{})
		}()
		<-stalled
		loan.Sever()
		b := r.await(Severed)
		if len(b.ToClient) == 0 || len(b.ToBackend) != 0 {
			t.Fatalf("came back with %d bytes for the client, %d for the backend", len(b.ToClient), len(b.ToBackend))
		}
		if strings.Contains(w.name, "tls") {
			return // a TLS stream cannot go on after a write that was given up
		}
		got := make(chan int64)
		go func() {
			n, _ := io.Copy(io.Discard, r.user)
			got <- n
		}()
		_, err := b.Client.Write(b.ToClient)
		must(t, err)
		must(t, b.Client.Close())
		if n := <-got; n != sent.Load() {
			t.Fatalf("heard %d bytes of %d", n, sent.Load())
		}
	})
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// A receiver that takes nothing stops the reading of its peer: no more than a
// burst waits.
func TestBackPressure(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := newRig(t, w)
		smallBuffers(t, r.user, r.server, r.ends.Client, r.ends.Backend)
		r.lend(&script{})
		must(t, r.server.SetWriteDeadline(time.Now().Add(300*time.Millisecond)))
		n, err := io.Copy(r.server, zeros{})
		if err == nil || n > 2<<20 {
			t.Fatalf("%d bytes taken (%v) for a client that reads nothing", n, err)
		}
		// The other direction goes on.
		r.say(r.user, "ahead")
		r.hear(r.server, "ahead")
		go func() { _ = r.server.Close() }()
		if strings.Contains(w.name, "to tls") {
			return // a write with a deadline broke its stream
		}
		heard, err := io.Copy(io.Discard, r.user2())
		if heard != n {
			t.Fatalf("heard %d bytes of %d (%v)", heard, n, err)
		}
	})
}

// user2 reads what the client hears until the session is over.
func (r *rig) user2() io.Reader {
	go func() {
		b := <-r.back
		_ = b.Client.Close()
		_ = b.Backend.Close()
	}()
	return r.user
}

func TestGone(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		t.Run("client closes", func(t *testing.T) {
			r := newRig(t, w)
			r.lend(&script{})
			r.say(r.user, "last word")
			must(t, r.user.Close())
			if b := r.await(ClientGone); b.Err != nil {
				t.Fatal(b.Err)
			}
			r.hear(r.server, "last word")
		})
		t.Run("client half-closes", func(t *testing.T) {
			r := newRig(t, w)
			r.lend(&script{})
			r.say(r.user, "question")
			halfClose(t, r.user)
			b := r.await(ClientGone)
			r.hear(r.server, "question")
			r.say(r.server, "answer")
			r.hear(b.Backend, "answer")
			r.say(b.Client, "answer")
			r.hear(r.user, "answer")
		})
		t.Run("client leaves a partial message", func(t *testing.T) {
			r := newRig(t, w)
			r.lend(&script{client: func(b []byte) (int, bool) { return len(b) / 4 * 4, false }})
			r.say(r.user, "0123456")
			must(t, r.user.Close())
			b := r.await(ClientGone)
			r.hear(r.server, "0123")
			if string(b.FromClient) != "456" {
				t.Fatalf("came back with %q", b.FromClient)
			}
		})
		t.Run("client resets", func(t *testing.T) {
			r := newRig(t, w)
			tcp, ok := underlying(r.user).(*net.TCPConn)
			if !ok {
				return
			}
			r.lend(&script{})
			must(t, tcp.SetLinger(0))
			must(t, tcp.Close())
			if b := r.await(ClientGone); !errors.Is(b.Err, syscall.ECONNRESET) {
				t.Fatal(b.Err)
			}
		})
		t.Run("backend says why and closes", func(t *testing.T) {
			r := newRig(t, w)
			r.lend(&script{})
			fatal := strings.Repeat("terminating connection ", 20000)
			go func() {
				r.say(r.server, fatal)
				_ = r.server.Close()
			}()
			r.hear(r.user, fatal)
			b := r.await(BackendGone)
			if b.Err != nil {
				t.Fatal(b.Err)
			}
			must(t, b.Client.Close())
			r.hearEnd(r.user)
		})
		t.Run("backend is gone before the question", func(t *testing.T) {
			r := newRig(t, w)
			// The question is on its way when the engine goes: the engine's
			// last words come through all the same.
			hold := make(chan struct{})
			r.lend(&script{client: func(b []byte) (int, bool) { <-hold; return len(b), false }})
			r.say(r.user, "question")
			r.say(r.server, "fatal: goodbye")
			must(t, r.server.Close())
			close(hold)
			r.hear(r.user, "fatal: goodbye")
			r.await(BackendGone)
		})
		t.Run("backend takes nothing more", func(t *testing.T) {
			r := newRig(t, w)
			unix, ok := r.server.(*net.UnixConn)
			if !ok {
				return
			}
			r.lend(&script{})
			must(t, unix.CloseRead())
			r.say(r.server, "last word")
			r.hear(r.user, "last word")
			r.say(r.user, "question")
			b := r.await(BackendGone)
			if !errors.Is(b.Err, syscall.EPIPE) || string(b.ToBackend) != "question" {
				t.Fatalf("came back with %q: %v", b.ToBackend, b.Err)
			}
		})
		t.Run("both close", func(t *testing.T) {
			r := newRig(t, w)
			r.lend(&script{})
			must(t, errorsOf(r.user.Close(), r.server.Close()))
			select {
			case b := <-r.back:
				if b.Why != ClientGone && b.Why != BackendGone {
					t.Fatalf("came back %v: %v", b.Why, b.Err)
				}
			case <-time.After(patience):
				t.Fatal("did not come back")
			}
		})
		t.Run("client is gone while the backend talks", func(t *testing.T) {
			r := newRig(t, w)
			r.lend(&script{})
			go func() { _, _ = io.Copy(r.server, zeros{}) }()
			r.hear(r.user, "\x00\x00\x00")
			must(t, r.user.Close())
			r.await(ClientGone)
			must(t, r.server.Close())
		})
		t.Run("backend is gone while the client talks", func(t *testing.T) {
			r := newRig(t, w)
			r.lend(&script{})
			go func() { _, _ = io.Copy(r.user, zeros{}) }()
			r.hear(r.server, "\x00\x00\x00")
			must(t, r.server.Close())
			r.await(BackendGone)
			must(t, r.user.Close())
		})
	})
}

func TestParked(t *testing.T) {
	parked := func(t *testing.T, w way) *rig {
		r := newRig(t, w)
		must(t, r.ends.Backend.Close())
		r.ends.Backend = nil
		return r
	}
	eachWay(t, func(t *testing.T, w way) {
		t.Run("request", func(t *testing.T) {
			r := parked(t, w)
			r.lend(nil)
			r.stays()
			r.say(r.user, "request")
			b := r.await(Readable)
			if b.Backend != nil || !w.reads && len(b.FromClient) > 0 {
				t.Fatalf("came back with %+v", b)
			}
			r.hear(b.Client, "request"[len(b.FromClient):])
			r.say(b.Client, "answer")
			r.hear(r.user, "answer")
		})
		t.Run("request before", func(t *testing.T) {
			r := parked(t, w)
			r.say(r.user, "request")
			r.lend(nil)
			b := r.await(Readable)
			r.hear(b.Client, "request"[len(b.FromClient):])
		})
		t.Run("request left over", func(t *testing.T) {
			r := parked(t, w)
			r.ends.FromClient = []byte("request")
			r.lend(nil)
			if b := r.await(Readable); string(b.FromClient) != "request" {
				t.Fatalf("came back with %q", b.FromClient)
			}
		})
		t.Run("gone", func(t *testing.T) {
			r := parked(t, w)
			r.lend(nil)
			must(t, r.user.Close())
			if b := r.await(ClientGone); b.Err != nil {
				t.Fatal(b.Err)
			}
		})
		t.Run("recalled", func(t *testing.T) {
			r := parked(t, w)
			r.lend(nil).Recall()
			b := r.await(Recalled)
			r.say(b.Client, "hello")
			r.hear(r.user, "hello")
			r.say(r.user, "hello")
			r.hear(b.Client, "hello")
		})
		t.Run("severed", func(t *testing.T) {
			r := parked(t, w)
			loan := r.lend(nil)
			r.stays()
			loan.Sever()
			r.await(Severed)
		})
	})
}

// What TLS sends of its own is no request, and what its layer holds already
// is.
func TestParkedTLS(t *testing.T) {
	for _, w := range ways() {
		if !strings.HasSuffix(w.name, "/tls") {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			r := newRig(t, w)
			must(t, r.ends.Backend.Close())
			r.ends.Backend = nil
			r.say(r.user, "one")
			r.say(r.user, "two")
			first := make([]byte, 2)
			_, err := io.ReadFull(r.ends.Client, first)
			must(t, err)
			r.lend(nil)
			b := r.await(Readable)
			if string(b.FromClient) != "e" {
				t.Fatalf("came back with %q", b.FromClient)
			}
			r.ends.FromClient = nil
			r.lend(nil)
			if b = r.await(Readable); string(b.FromClient) != "two" {
				t.Fatalf("came back with %q", b.FromClient)
			}
			r.ends.FromClient = nil

			// A piece of a record is no request yet.
			wire := r.user.(*tls.Conn).NetConn().(*splitter)
			wire.halveNext()
			loan := r.lend(nil)
			r.say(r.user, "half")
			r.stays()
			loan.Recall()
			r.await(Recalled)
			r.lend(nil)
			r.stays()
			must(t, wire.rest())
			if b = r.await(Readable); string(b.FromClient) != "half" {
				t.Fatalf("came back with %q", b.FromClient)
			}
		})
	}
}

func TestScannerFailures(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		lender := w.lender(t)
		w.lender = func(testing.TB) Lender { return lender }
		other := newRig(t, w)
		other.lend(&script{})
		for name, test := range map[string]struct {
			scan func([]byte) (int, bool)
			want string
		}{
			"panic":    {func([]byte) (int, bool) { panic("boom") }, "panicked: boom"},
			"too much": {func(b []byte) (int, bool) { return len(b) + 1, false }, "passed on"},
			"negative": {func([]byte) (int, bool) { return -1, false }, "passed on"},
			"greed":    {func([]byte) (int, bool) { return 0, false }, "left over more than"},
		} {
			t.Run(name, func(t *testing.T) {
				r := newRig(t, w)
				r.lend(&script{client: test.scan})
				go func() { _, _ = io.Copy(r.user, zeros{}) }()
				b := r.await(Failed)
				if b.Err == nil || !strings.Contains(b.Err.Error(), test.want) {
					t.Fatal(b.Err)
				}
				if len(b.FromClient) == 0 {
					t.Fatal("what was read is lost")
				}
				must(t, b.Client.Close())
			})
		}
		t.Run("panic at the safe point", func(t *testing.T) {
			r := newRig(t, w)
			r.lend(&script{safe: func() bool { panic("boom") }}).Recall()
			r.await(Failed)
		})
		other.say(other.user, "still here")
		other.hear(other.server, "still here")
	})
}

func TestLendingAClosedConnection(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := newRig(t, w)
		must(t, r.ends.Backend.Close())
		r.lend(&script{})
		select {
		case b := <-r.back:
			if b.Why != Failed && b.Why != BackendGone {
				t.Fatalf("came back %v", b.Why)
			}
			if b.Err == nil {
				t.Fatal("no reason given")
			}
			r.say(b.Client, "sorry")
			r.hear(r.user, "sorry")
			must(t, b.Client.Close())
		case <-time.After(patience):
			t.Fatal("did not come back")
		}
	})
}

func TestClose(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		const n = 20
		lender := w.lender(t)
		w.lender = func(testing.TB) Lender { return lender }
		back := make(chan Return, 2*n+2)
		hold := make(chan struct{})
		give := func(b Return) { <-hold; back <- b } // Close does not wait for it
		var last Ends
		for range n {
			r := newRig(t, w)
			lender.Lend(r.ends, &script{}, give)
			p := newRig(t, w)
			must(t, p.ends.Backend.Close())
			p.ends.Backend = nil
			lender.Lend(p.ends, nil, give)
		}
		last = newRig(t, w).ends
		must(t, lender.(io.Closer).Close())
		lender.Lend(last, &script{}, give)
		must(t, lender.(io.Closer).Close())
		close(hold)
		for range 2*n + 1 {
			select {
			case b := <-back:
				if b.Why != Severed {
					t.Errorf("came back %v: %v", b.Why, b.Err)
				}
				must(t, b.Client.Close())
				if b.Backend != nil {
					must(t, b.Backend.Close())
				}
			case <-time.After(patience):
				t.Fatal("did not come back")
			}
		}
	})
}

// Messages of random sizes in random pieces, both ways at once, through small
// buffers, with the session recalled and lent again all the time.
func TestByteExact(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		for seed := range uint64(4) {
			r := newRig(t, w)
			if seed%2 == 0 {
				smallBuffers(t, r.user, r.server, r.ends.Client, r.ends.Backend)
			}
			byteExact(r, seed)
		}
	})
}

func byteExact(r *rig, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	up, upWant := messages(random)
	down, downWant := messages(random)
	var talk sync.WaitGroup
	var upGot, downGot []byte
	talk.Go(func() { dribble(r, r.user, up, seed) })
	talk.Go(func() { dribble(r, r.server, down, seed+100) })
	talk.Go(func() { upGot = readN(r.server, len(upWant)) })
	talk.Go(func() { downGot = readN(r.user, len(downWant)) })
	over := make(chan struct{})
	go func() { talk.Wait(); close(over) }()

	s := &frames{}
	for done := false; !done; {
		loan := r.lend(s)
		select {
		case <-over:
			done = true
		case <-time.After(time.Duration(random.IntN(3000)) * time.Microsecond):
		}
		loan.Recall()
		select {
		case b := <-r.back:
			if b.Why != Recalled {
				r.Fatalf("came back %v: %v", b.Why, b.Err)
			}
			r.ends = b.Ends
		case <-time.After(patience):
			r.Fatal("did not come back")
		}
	}
	_ = r.ends.Client.Close()
	_ = r.ends.Backend.Close()
	if !bytes.Equal(upGot, upWant) || !bytes.Equal(downGot, downWant) {
		r.Fatalf("seed %d: bytes differ: %d of %d up, %d of %d down", seed, len(upGot), len(upWant), len(downGot), len(downWant))
	}
}

func messages(random *rand.Rand) (sent, want []byte) {
	for range 150 {
		size := 4 + random.IntN(1<<random.IntN(17))
		m := make([]byte, size)
		for i := range m {
			m[i] = byte(random.Uint32())
		}
		m[0], m[1], m[2], m[3] = byte(size>>16), byte(size>>8), byte(size), "!."[random.IntN(2)]
		sent = append(sent, m...)
		if m[3] == '!' {
			for i := 4; i < len(m); i++ {
				m[i] = ^m[i]
			}
		}
		want = append(want, m...)
	}
	return sent, want
}

func dribble(r *rig, c net.Conn, b []byte, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 2))
	for len(b) > 0 {
		n := min(1+random.IntN(1<<random.IntN(17)), len(b))
		if _, err := c.Write(b[:n]); err != nil {
			r.Errorf("write: %v", err)
			return
		}
		b = b[n:]
		if random.IntN(8) == 0 {
			runtime.Gosched()
		}
	}
}

func readN(c net.Conn, n int) []byte {
	b := make([]byte, n)
	k, _ := io.ReadFull(c, b)
	return b[:k]
}

func TestLargeStreams(t *testing.T) {
	const size = 100 << 20
	eachWay(t, func(t *testing.T, w way) {
		r := newRig(t, w)
		r.lend(&frames{})
		block := make([]byte, 1<<20)
		size1 := len(block)
		block[0], block[1], block[2] = byte(size1>>16), byte(size1>>8), byte(size1)
		var talk sync.WaitGroup
		for _, d := range [][2]net.Conn{{r.user, r.server}, {r.server, r.user}} {
			talk.Go(func() {
				for range size / size1 {
					if _, err := d[0].Write(block); err != nil {
						t.Errorf("write: %v", err)
						return
					}
				}
			})
			talk.Go(func() {
				got := make([]byte, size1)
				for range size / size1 {
					if _, err := io.ReadFull(d[1], got); err != nil || !bytes.Equal(got, block) {
						t.Errorf("read differs (%v)", err)
						return
					}
				}
			})
		}
		talk.Wait()
	})
}
