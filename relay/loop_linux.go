package relay

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// emptyPolls is how often a loop looks for events before it lets its
	// thread sleep, which costs the scheduler's attention twice. More than one
	// or two cost more than they save where system calls are dear (in virtual
	// machines: 20 of them doubled the cost of a query).
	emptyPolls = 1
	maxEvents  = 256
)

// Loop carries sessions between plain sockets: one thread with an epoll of its
// own, which reads what is ready, shows it, and writes it.
type Loop struct {
	log       *slog.Logger
	epoll     int
	wakeup    int            // an eventfd: the queue has something
	finished  chan struct{}  // closed by the thread
	returning sync.WaitGroup // sessions that are becoming net.Conns again

	mu     sync.Mutex // protects following fields, and wakeup against Close
	queue  []command
	closed bool

	// What follows belongs to the thread.
	sessions []*session // by descriptor
	lent     int
	events   [maxEvents]unix.EpollEvent
	obeying  []command
	burst    [burst]byte
	gave     bool // a session was given back in this round
}

// command is what others ask of the thread.
type command struct {
	session *session
	verb    verb
}

type verb uint8

const (
	admit verb = iota
	recall
	keep
	sever
)

// NewLoop starts a loop.
func NewLoop(log *slog.Logger) (*Loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make event loop: %w", os.NewSyscallError("epoll_create", err))
	}
	l := &Loop{log: log, epoll: epoll, wakeup: -1, finished: make(chan struct{})}
	if l.wakeup, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err == nil {
		err = l.control(unix.EPOLL_CTL_ADD, int32(l.wakeup), unix.EPOLLIN)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make event loop: %w", err), l.release())
	}
	go l.run()
	return l, nil
}

// Lend implements Lender, for plain sockets.
func (l *Loop) Lend(e Ends, s Scanner, done func(Return)) Loan {
	return l.lend(e, &session{loop: l, scanner: s, done: done})
}

// watch waits for the client of a parked session, whose connection wraps a
// socket. Nothing is read of either.
func (l *Loop) watch(c net.Conn, done func(Return)) Loan {
	return l.lend(Ends{Client: c}, &session{loop: l, watched: c, done: done})
}

func (l *Loop) lend(e Ends, s *session) Loan {
	if err := s.enter(e); err != nil {
		s.left = true
		go giveBack(s.done, Return{Ends: e, Why: Failed, Err: err})
		return s
	}
	if !l.tell(command{s, admit}) {
		s.left = true
		go s.refuse()
	}
	return s
}

// Close severs all loans and joins the thread. The functions that the sessions
// are given back to may run still.
func (l *Loop) Close() error {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	if first {
		l.wake()
	}
	l.mu.Unlock()
	<-l.finished
	l.returning.Wait()
	if !first {
		return nil
	}
	return l.release()
}

func (l *Loop) release() error {
	err := unix.Close(l.epoll)
	if l.wakeup >= 0 {
		err = errors.Join(err, unix.Close(l.wakeup))
	}
	return os.NewSyscallError("close", err)
}

// tell leaves a command for the thread, unless the loop is closed.
func (l *Loop) tell(c command) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.queue = append(l.queue, c)
	if len(l.queue) == 1 {
		l.wake()
	}
	return true
}

// wake makes the thread look at the queue. An eventfd takes 8 bytes whatever
// happens, and counts them.
func (l *Loop) wake() {
	one := uint64(1)
	_, _ = unix.Write(l.wakeup, (*[8]byte)(unsafe.Pointer(&one))[:])
}

// run is the body of the loop's thread. The thread is never unlocked: it ends
// with the goroutine, and its scheduling policy with it.
func (l *Loop) run() {
	defer close(l.finished)
	runtime.LockOSThread()
	l.preferBatch()
	for open := true; open; {
		n := l.wait()
		for i := range n {
			open = l.serve(&l.events[i]) && open
		}
	}
	l.severAll()
}

// preferBatch asks the kernel not to let a wake-up of this thread push aside
// those who feed it: bursts grow, and switches become fewer.
func (l *Loop) preferBatch() {
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_BATCH}
	if err := unix.SchedSetAttr(0, &attr, 0); err != nil {
		l.log.Debug("relay loop stays in the default scheduling policy", "error", err)
	}
}

// wait returns how many events there are: it looks a few times, then sleeps.
func (l *Loop) wait() int {
	for range emptyPolls {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.epoll),
			uintptr(unsafe.Pointer(&l.events[0])), maxEvents, 0, 0, 0)
		if errno == 0 && n > 0 {
			return int(n)
		}
	}
	if l.gave {
		// Who gives sessions back waits for this processor, perhaps.
		l.gave = false
		runtime.Gosched()
	}
	n, err := unix.EpollWait(l.epoll, l.events[:], -1)
	if err != nil {
		return 0 // interrupted
	}
	return n
}

// serve does what one event asks for. It tells whether the loop goes on.
func (l *Loop) serve(ev *unix.EpollEvent) (open bool) {
	if ev.Fd == int32(l.wakeup) {
		return l.obey()
	}
	s := l.sessions[ev.Fd]
	if s == nil {
		return true // it left earlier in this round
	}
	const hangup = unix.EPOLLHUP | unix.EPOLLERR
	e, peer := s.ends(ev.Fd)
	switch {
	case s.parked():
		s.look()
	default:
		if ev.Events&(unix.EPOLLOUT|hangup) != 0 && !e.flushed() {
			e.flush()
		}
		if ev.Events&(unix.EPOLLIN|hangup) != 0 && e.reads(peer) {
			l.pump(s, e, peer)
		}
	}
	l.settle(s)
	return true
}

// obey does what others asked for. It tells whether the loop goes on.
func (l *Loop) obey() (open bool) {
	var count [8]byte
	_, _ = unix.Read(l.wakeup, count[:])
	l.mu.Lock()
	l.obeying, l.queue = l.queue, l.obeying[:0]
	open = !l.closed
	l.mu.Unlock()
	for _, c := range l.obeying {
		if c.session.left {
			continue
		}
		switch c.verb {
		case admit:
			l.admit(c.session)
		case recall:
			c.session.recalled = true
		case keep:
			c.session.recalled = false
		case sever:
			c.session.severed = true
		}
		l.settle(c.session)
	}
	clear(l.obeying)
	return open
}

// admit takes a session in and shows what came with it.
func (l *Loop) admit(s *session) {
	l.lent++
	l.place(s.client.fd, s)
	if s.parked() {
		s.readable = s.client.rest != nil
		return
	}
	l.place(s.backend.fd, s)
	l.reshow(s, &s.client, &s.backend)
	l.reshow(s, &s.backend, &s.client)
}

func (l *Loop) place(fd int32, s *session) {
	if grow := int(fd) + 1 - len(l.sessions); grow > 0 {
		l.sessions = append(l.sessions, make([]*session, grow)...)
	}
	l.sessions[fd] = s
}

// settle gives the session back if it is over; otherwise it sees to it that
// epoll watches for what the session now waits for.
func (l *Loop) settle(s *session) {
	if s.client.broken != s.backend.broken {
		l.drain(s)
	}
	why, over := s.outcome()
	if !over {
		l.arm(s, &s.client, &s.backend)
		l.arm(s, &s.backend, &s.client)
		over, why = s.failure != nil, Failed
	}
	if over {
		l.leave(s, why)
	}
}

// arm changes what epoll watches an end for, where that has changed.
func (l *Loop) arm(s *session, e, peer *end) {
	if e.fd < 0 {
		return
	}
	wants := s.wants(e, peer)
	if wants == e.interest {
		return
	}
	op := unix.EPOLL_CTL_MOD
	switch {
	case e.interest == 0:
		op = unix.EPOLL_CTL_ADD
	case wants == 0:
		op = unix.EPOLL_CTL_DEL
	}
	if err := l.control(op, e.fd, wants); err != nil {
		s.failure = fmt.Errorf("watch %s: %w", e.side, err)
		return
	}
	e.interest = wants
}

func (l *Loop) control(op int, fd int32, events uint32) error {
	err := unix.EpollCtl(l.epoll, op, int(fd), &unix.EpollEvent{Events: events, Fd: fd})
	return os.NewSyscallError("epoll_ctl", err)
}

// leave takes a session out of the loop and has it given back.
func (l *Loop) leave(s *session, why Why) {
	l.forget(&s.client)
	l.forget(&s.backend)
	s.left = true
	l.lent--
	l.gave = true
	if p := (*panicked)(nil); errors.As(s.failure, &p) {
		l.log.Error("a session's scanner panicked", "panic", p.value, "stack", string(p.stack))
	}
	l.returning.Add(1)
	go s.deliver(why)
}

func (l *Loop) forget(e *end) {
	if e.fd < 0 {
		return
	}
	l.sessions[e.fd] = nil
	if e.interest != 0 {
		_ = l.control(unix.EPOLL_CTL_DEL, e.fd, 0) // it is there
		e.interest = 0
	}
}

// severAll gives everything back: the loop is closing, and nobody can leave
// commands any more.
func (l *Loop) severAll() {
	for _, s := range l.sessions {
		if s != nil && !s.left {
			l.leave(s, Severed)
		}
	}
}
