package mysqlfront

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"serverlessproxy/mysqlfront/mysqlwire"
)

const (
	goodbyeLasts = 2 * time.Second        // to say why a connection ends
	lingerLasts  = 200 * time.Millisecond // for what a refused client has still under way
	lingerBytes  = 64 << 10
)

var past = time.Unix(1, 0)

// guard has connections stop waiting when ctx ends. The returned func takes
// that back, and lets them wait again without a limit.
func guard(ctx context.Context, conns ...net.Conn) (release func()) {
	if deadline, ok := ctx.Deadline(); ok {
		setDeadlines(conns, deadline)
	}
	stop := context.AfterFunc(ctx, func() { setDeadlines(conns, past) })
	return func() {
		if stop() {
			setDeadlines(conns, time.Time{})
		}
	}
}

func setDeadlines(conns []net.Conn, t time.Time) {
	for _, c := range conns {
		c.SetDeadline(t)
	}
}

// gone says of an error in a conversation with the client what it means: bytes
// that make no sense, or nobody there.
func gone(err error) error {
	if errors.Is(err, mysqlwire.ErrMalformed) || errors.Is(err, mysqlwire.ErrTooLarge) || errors.Is(err, mysqlwire.ErrSequence) {
		return fmt.Errorf("%w: %w", errBadHandshake, err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, new(net.Error)) || errors.As(err, new(syscall.Errno)) {
		return fmt.Errorf("%w: %w", errVanished, err)
	}
	return err
}

// halfCloser is a connection whose one direction can be ended.
type halfCloser interface{ CloseWrite() error }

// closeGently closes a connection so that what was written last arrives: a
// close while bytes are unread would have the peer lose it.
func closeGently(conn net.Conn) {
	defer conn.Close()
	end := conn
	if packed, ok := end.(*mysqlwire.Compressed); ok {
		end = packed.NetConn()
	}
	half, ok := end.(halfCloser)
	if !ok || half.CloseWrite() != nil {
		return
	}
	conn.SetReadDeadline(time.Now().Add(lingerLasts))
	io.CopyN(io.Discard, conn, lingerBytes)
}

// watch ends ctx with errVanished when the client closes its connection. It
// reads nothing. release ends the watch, and must be called before anybody
// else reads.
func watch(ctx context.Context, conn net.Conn) (watched context.Context, release func()) {
	socket, ok := underneath(conn)
	if !ok {
		return ctx, func() {}
	}
	raw, err := socket.(syscall.Conn).SyscallConn()
	if err != nil {
		return ctx, func() {}
	}
	watched, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go watchSocket(raw, cancel, done)
	return watched, func() {
		socket.SetReadDeadline(past)
		<-done
		socket.SetReadDeadline(time.Time{})
		cancel(nil)
	}
}

// watchSocket waits until the socket is hung up, or its deadline passes.
func watchSocket(raw syscall.RawConn, cancel context.CancelCauseFunc, done chan<- struct{}) {
	defer close(done)
	if err := raw.Read(hungUp); err == nil {
		cancel(errVanished)
	}
}

// hungUp tells whether the peer has closed. Asked again at each arrival.
func hungUp(fd uintptr) bool {
	ask := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(ask, 0)
	return err == nil && n > 0 && ask[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
}

// underneath is the socket below TLS, compression and a PROXY header.
func underneath(conn net.Conn) (net.Conn, bool) {
	for {
		if _, ok := conn.(syscall.Conn); ok {
			return conn, true
		}
		switch wrapper := conn.(type) {
		case interface{ NetConn() net.Conn }:
			conn = wrapper.NetConn()
		case interface{ Raw() net.Conn }:
			conn = wrapper.Raw()
		default:
			return nil, false
		}
	}
}

// tlsName is a version of TLS as PostgreSQL and MySQL write it: "TLSv1.3".
func tlsName(version uint16) string {
	return strings.Replace(tls.VersionName(version), "TLS ", "TLSv", 1)
}
