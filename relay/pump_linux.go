package relay

import "syscall"

// pump moves one burst: one read, one look, one write.
func (l *Loop) pump(s *session, from, to *end) {
	space, held := l.space(from)
	n, errno := receive(from.fd, space[held:])
	switch {
	case n > 0:
		l.pass(s, from, to, space[:held+n:held+n])
	case errno == 0:
		from.gone = true
	case notNow(errno):
		// All that a broken end had sent has been read.
		from.gone = from.broken
	default:
		from.gone = true
		from.errno = errno
	}
}

// space is where the next burst is read to: after what is left over of the
// last one, so that the Scanner sees both in one piece.
func (l *Loop) space(from *end) (space []byte, held int) {
	if from.rest == nil {
		return l.burst[:], 0
	}
	if held = from.rest.len(); held <= burst/2 {
		copy(l.burst[:], from.rest.data)
		return l.burst[:], held
	}
	from.rest = from.rest.withRoom(roomAfter(held))
	return from.rest.space, held
}

// pass shows b to the Scanner, writes what it lets through and keeps the rest.
func (l *Loop) pass(s *session, from, to *end, b []byte) {
	n, stop, err := show(s.scanner, from.side, b)
	if n > 0 {
		to.send(b[:n])
	}
	from.rest = from.rest.hold(b[n:])
	if err != nil {
		s.failure = err
		return
	}
	if stop {
		from.stopped = true
		if !s.stopped {
			s.stopped, s.stoppedByClient = true, from.side == client
		}
	}
}

// reshow shows what came with a session, before anything is read.
func (l *Loop) reshow(s *session, from, to *end) {
	if from.rest != nil && from.reads(to) && !s.stopped && s.failure == nil {
		l.pass(s, from, to, from.rest.data)
	}
}

// send writes to an end that has nothing left to take; what it does not take
// now is kept.
func (e *end) send(b []byte) {
	n, errno := send(e.fd, b)
	if n == len(b) {
		return
	}
	e.refused(errno)
	e.out = bufferOf(b[n:])
}

// flush writes what is kept for an end.
func (e *end) flush() {
	n, errno := send(e.fd, e.out.data)
	if n == len(e.out.data) {
		e.out.free()
		e.out = nil
		return
	}
	e.refused(errno)
	e.out.data = e.out.data[n:]
}

func (e *end) refused(errno syscall.Errno) {
	if errno != 0 && !notNow(errno) {
		e.broken = true
		e.errno = errno
	}
}

// drain reads what an end had sent before writing to it failed: a server says
// why it goes, and a client may have said its last word.
func (l *Loop) drain(s *session) {
	e, peer := &s.client, &s.backend
	if peer.broken {
		e, peer = peer, e
	}
	for e.reads(peer) && s.failure == nil {
		l.pump(s, e, peer)
	}
	if e.stopped {
		e.gone = true // nothing more of it is wanted
	}
}

// look tells what became of the client of a parked session.
func (s *session) look() {
	n, errno := peek(s.client.fd)
	switch {
	case n > 0:
		s.readable = true
	case errno == 0:
		s.client.gone = true
	case !notNow(errno):
		s.client.gone, s.client.errno = true, errno
	}
}
