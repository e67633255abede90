package pgfront

import (
	"context"
	"net"
	"syscall"
	"time"
)

// past is a deadline that interrupts.
var past = time.Unix(1, 0)

// watch ends a wait when the client that waits has gone. It reads nothing.
type watch struct {
	conn net.Conn
	raw  syscall.RawConn
	gone func(error)
	done chan struct{}
}

// watchClient watches conn until the function that it returns is called, which
// leaves conn as it was. A connection that is no socket is not watched.
func watchClient(conn net.Conn, gone func(error)) (stop func()) {
	socket, ok := underlying(conn).(syscall.Conn)
	if !ok {
		return func() {}
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		gone(errClientGone)
		return func() {}
	}
	w := &watch{conn: underlying(conn), raw: raw, gone: gone, done: make(chan struct{})}
	go w.run()
	return w.stop
}

func (w *watch) run() {
	defer close(w.done)
	// Read waits for the socket to become readable each time that hungUp says
	// no; only a deadline or a closed socket makes it fail.
	if err := w.raw.Read(hungUp); err == nil {
		w.gone(errClientGone)
	}
}

func (w *watch) stop() {
	w.conn.SetReadDeadline(past)
	<-w.done
	w.conn.SetReadDeadline(time.Time{})
}

// hasSpoken tells whether a client has sent something, or has gone. It reads
// nothing.
func hasSpoken(conn net.Conn) bool {
	socket, ok := underlying(conn).(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return true
	}
	spoken := false
	err = raw.Control(func(fd uintptr) { spoken = readable(fd) })
	return spoken || err != nil
}

// underlying is the socket below TLS.
func underlying(conn net.Conn) net.Conn {
	for {
		wrapper, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return conn
		}
		conn = wrapper.NetConn()
	}
}

// interruptIO makes the reads and writes of conn fail when ctx ends, until
// the function that it returns is called, which leaves conn without deadlines.
func interruptIO(ctx context.Context, conn net.Conn) (stop func()) {
	interrupted := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		conn.SetDeadline(past)
		close(interrupted)
	})
	return func() {
		if !unhook() {
			<-interrupted
		}
		conn.SetDeadline(time.Time{})
	}
}
