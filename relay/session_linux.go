package relay

import (
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// session is one loan of a Loop. All but its first fields, which never change,
// belongs to the loop's thread, and from leave on to who gives it back.
type session struct {
	loop    *Loop
	scanner Scanner
	done    func(Return)
	// watched is the connection around the socket that a parked session waits
	// for; nil where there is none.
	watched net.Conn

	client, backend end
	failure         error
	recalled        bool
	severed         bool
	readable        bool
	stopped         bool
	stoppedByClient bool
	left            bool // given back: the loop knows it no more
}

// end is one side of a session.
type end struct {
	fd   int32
	side side
	// gone: nothing more can be read of it. broken: nothing more can be
	// written to it; what it sent before that is read still. stopped: the
	// Scanner wants nothing more of it to be read.
	gone, broken, stopped bool
	interest              uint32        // the events that epoll watches for
	errno                 syscall.Errno // what its reading or writing said
	rest                  *buffer       // read from it and left over
	out                   *buffer       // to be written to it
}

// Recall, Keep and Sever implement Loan.
func (s *session) Recall() { s.loop.tell(command{s, recall}) }
func (s *session) Keep()   { s.loop.tell(command{s, keep}) }
func (s *session) Sever()  { s.loop.tell(command{s, sever}) }

func (s *session) parked() bool { return s.backend.fd < 0 }

// ends are the side that a descriptor belongs to, and the other.
func (s *session) ends(fd int32) (*end, *end) {
	if fd == s.client.fd {
		return &s.client, &s.backend
	}
	return &s.backend, &s.client
}

// reads tells whether more is to be read of an end: not while the other has
// something to take first.
func (e *end) reads(peer *end) bool {
	return !e.gone && !e.stopped && peer.out == nil && !peer.broken
}

// flushed tells whether an end has taken all that it ever will.
func (e *end) flushed() bool { return e.out == nil || e.broken }

// wants are the events that an end waits for. With none it leaves epoll
// altogether, which would tell of a hang-up for ever.
func (s *session) wants(e, peer *end) (events uint32) {
	if s.parked() {
		return unix.EPOLLIN | unix.EPOLLRDHUP
	}
	if e.reads(peer) {
		events |= unix.EPOLLIN
	}
	if !e.flushed() {
		events |= unix.EPOLLOUT
	}
	return events
}

// outcome decides whether the session comes back now, and why.
func (s *session) outcome() (why Why, over bool) {
	c, b := &s.client, &s.backend
	switch {
	case s.severed:
		return Severed, true
	case s.failure != nil:
		return Failed, true
	case c.gone && b.flushed(), c.broken && b.broken:
		return ClientGone, true
	case b.gone && c.flushed():
		return BackendGone, true
	case c.out != nil || b.out != nil:
		return 0, false
	case s.stopped:
		return Stopped, true
	case s.readable:
		return Readable, true
	case s.recalled && s.recallable():
		return Recalled, true
	}
	return Failed, s.failure != nil
}

// recallable tells whether a session that has nothing to write may be taken.
func (s *session) recallable() bool {
	if s.parked() {
		return true
	}
	if s.client.rest != nil || s.backend.rest != nil || s.client.broken || s.backend.broken {
		return false
	}
	safe, err := isSafe(s.scanner)
	if err != nil {
		s.failure = err
	}
	return safe
}

// enter duplicates the sockets and closes the originals, so that Go's poller
// forgets them. On an error nothing has changed.
func (s *session) enter(e Ends) (err error) {
	s.client = end{fd: -1, side: client}
	s.backend = end{fd: -1, side: backend}
	watched := e.Client
	if s.watched != nil {
		watched = underlying(s.watched)
	}
	if s.client.fd, err = duplicate(watched); err != nil {
		return err
	}
	if e.Backend != nil {
		if s.backend.fd, err = duplicate(e.Backend); err != nil {
			_ = unix.Close(int(s.client.fd))
			return err
		}
		_ = e.Backend.Close()
	}
	if s.watched == nil {
		_ = e.Client.Close()
	}
	s.client.rest = lentBuffer(e.FromClient)
	s.backend.rest = lentBuffer(e.FromBackend)
	return nil
}

// returned makes what the holder gets back. The loop has left the session.
func (s *session) returned(why Why) Return {
	r := Return{Why: why, ByClient: s.stoppedByClient && why == Stopped}
	r.Err = s.reason(why)
	r.FromClient, r.FromBackend = s.client.rest.take(), s.backend.rest.take()
	r.ToClient, r.ToBackend = s.client.out.take(), s.backend.out.take()
	s.client.rest, s.client.out, s.backend.rest, s.backend.out = nil, nil, nil, nil

	var err error
	if r.Client, err = s.clientConn(); err != nil {
		r.Why, r.Err = Failed, err
	}
	if s.parked() {
		return r
	}
	if r.Backend, err = adopt(s.backend.fd); err != nil {
		r.Why, r.Err = Failed, err
	}
	return r
}

func (s *session) clientConn() (net.Conn, error) {
	if s.watched == nil {
		return adopt(s.client.fd)
	}
	return s.watched, os.NewSyscallError("close", unix.Close(int(s.client.fd)))
}

func (s *session) reason(why Why) error {
	switch why {
	case Failed:
		return s.failure
	case ClientGone:
		return s.client.reason()
	case BackendGone:
		return s.backend.reason()
	}
	return nil
}

func (e *end) reason() error {
	if e.errno == 0 {
		return nil
	}
	return fmt.Errorf("relay %s: %w", e.side, e.errno)
}

// deliver gives the session back.
func (s *session) deliver(why Why) {
	r := s.returned(why)
	s.loop.returning.Done()
	s.done(r)
}

// refuse gives back a session that came after the loop was closed.
func (s *session) refuse() { s.done(s.returned(Severed)) }

// giveBack gives back a session that the loop could not take.
func giveBack(done func(Return), r Return) { done(r) }
