package relay

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An idle session costs its struct: no goroutine, no buffer, and no net.Conn.
func TestIdleSessions(t *testing.T) {
	const n = 2000
	l, err := NewLoop(quiet)
	must(t, err)
	type session struct{ user, server net.Conn }
	users := make([]session, n)
	ends := make([]Ends, n)
	for i := range users {
		users[i].user, ends[i].Client = socketPair(t)
		users[i].server, ends[i].Backend = socketPair(t)
	}
	back := make(chan Return, n)
	give := func(r Return) { back <- r }
	s := &frames{} // shared, since nothing is sent at the same time

	loans := make([]Loan, n)
	before, goroutines, resident := heap(), runtime.NumGoroutine(), residentKiB(t)
	for i := range ends {
		loans[i] = l.Lend(ends[i], s, give)
		ends[i] = Ends{}
	}
	// All have been admitted, and have carried something, when the last
	// answers.
	for i := range users {
		_, err := users[i].user.Write([]byte{0, 0, 5, '.', '.'})
		must(t, err)
		_, err = io.ReadFull(users[i].server, make([]byte, 5))
		must(t, err)
	}
	perSession := (int64(heap()) - int64(before)) / n
	t.Logf("%d idle sessions: %+d heap bytes each against two net.Conns each (%+d KiB resident in all); a session is %d bytes",
		n, perSession, residentKiB(t)-resident, sizeOfSession)
	if perSession > 512 {
		t.Errorf("an idle session takes %d bytes more than its connections did", perSession)
	}
	if sizeOfSession > 192 {
		t.Errorf("a session's struct takes %d bytes", sizeOfSession)
	}
	if now := runtime.NumGoroutine(); now > goroutines {
		t.Errorf("%d goroutines more for idle sessions", now-goroutines)
	}
	for _, loan := range loans {
		loan.Recall()
	}
	for range n {
		select {
		case r := <-back:
			if r.Why != Recalled {
				t.Errorf("came back %v: %v", r.Why, r.Err)
			}
			must(t, errors.Join(r.Client.Close(), r.Backend.Close()))
		case <-time.After(patience):
			t.Fatal("not all came back")
		}
	}
	must(t, l.Close())
}

func socketPair(t testing.TB) (app, ours net.Conn) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	must(t, err)
	app, err = adopt(int32(fds[0]))
	must(t, err)
	closeAtEnd(t, app)
	ours, err = adopt(int32(fds[1]))
	must(t, err)
	return app, ours
}

func heap() uint64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func residentKiB(t testing.TB) int {
	b, err := os.ReadFile("/proc/self/statm")
	must(t, err)
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	must(t, err)
	return pages * os.Getpagesize() >> 10
}

// The options of a socket are what they were, though net.FileConn sets its own.
func TestOptionsSurvive(t *testing.T) {
	r := newRig(t, way{lender: loopLender, client: tcpPair, backend: tcpPair})
	want := net.KeepAliveConfig{Enable: true, Idle: 77 * time.Second, Interval: 13 * time.Second, Count: 5}
	must(t, r.ends.Client.(*net.TCPConn).SetKeepAliveConfig(want))
	must(t, r.ends.Backend.(*net.TCPConn).SetKeepAlive(false))
	r.lend(&script{safe: func() bool { return true }}).Recall()
	r.await(Recalled)
	client, backend := optionsOf(t, r.ends.Client), optionsOf(t, r.ends.Backend)
	if client != (keepalive{1, 77, 13, 5}) {
		t.Errorf("the client's keepalive became %+v", client)
	}
	if backend.on != 0 {
		t.Errorf("the backend's keepalive was turned on: %+v", backend)
	}
	fd, err := duplicate(r.ends.Client)
	must(t, err)
	defer unix.Close(int(fd))
	if on, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY); err != nil || on != 1 {
		t.Errorf("TCP_NODELAY is %d (%v)", on, err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
		t.Errorf("the socket became blocking (%v)", err)
	}
}

func optionsOf(t *testing.T, c net.Conn) keepalive {
	fd, err := duplicate(c)
	must(t, err)
	defer unix.Close(int(fd))
	return keepaliveOf(int(fd))
}

const sizeOfSession = int(unsafe.Sizeof(session{}))

// The options that need not be restored are those that net.FileConn sets.
func TestGoKeepalive(t *testing.T) {
	c, _ := tcpPair(t)
	fd, err := duplicate(c)
	must(t, err)
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	again, err := net.FileConn(f)
	must(t, err)
	defer again.Close()
	if got := optionsOf(t, again); got != goKeepalive {
		t.Errorf("net.FileConn sets %+v, not %+v", got, goKeepalive)
	}
}

// A backend that hung up while its bytes wait for a slow client must not keep
// the loop awake: epoll tells of a hang-up for as long as it is asked anything.
func TestHangUpBehindASlowClientIsQuiet(t *testing.T) {
	r := newRig(t, way{lender: loopLender, client: unixPair, backend: unixPair})
	smallBuffers(t, r.user, r.ends.Client)
	last := strings.Repeat("last words ", 10000)
	r.lend(&script{})
	r.say(r.server, last)
	must(t, r.server.Close())
	r.hear(r.user, last[:10])
	before := processorTime(t)
	r.stays()
	time.Sleep(300 * time.Millisecond) // not awaited: nothing is to happen
	if spent := processorTime(t) - before; spent > 100*time.Millisecond {
		t.Errorf("%v of processor time spent on waiting", spent)
	}
	r.hear(r.user, last[10:])
	r.await(BackendGone)
}

func processorTime(t testing.TB) time.Duration {
	var u unix.Rusage
	must(t, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
