package relay

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of the relay's path are raw: they return at once, so that
// telling Go's scheduler of them would cost more than it gives.

// receive reads what the socket has; 0 bytes without an error is its end.
func receive(fd int32, b []byte) (int, syscall.Errno) {
	return receiveFlags(fd, b, unix.MSG_DONTWAIT)
}

// peek tells how a read would end, and reads nothing.
func peek(fd int32) (int, syscall.Errno) {
	var b [1]byte
	return receiveFlags(fd, b[:], unix.MSG_DONTWAIT|unix.MSG_PEEK)
}

func receiveFlags(fd int32, b []byte, flags uintptr) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), flags, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// send writes what the socket takes.
func send(fd int32, b []byte) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// notNow tells whether a call has to be repeated later.
func notNow(errno syscall.Errno) bool {
	return errno == unix.EAGAIN || errno == unix.EINTR
}

// duplicate gives a second descriptor for a socket, which Go's poller does not
// watch.
func duplicate(c net.Conn) (int32, error) {
	socket, ok := c.(syscall.Conn)
	if !ok || !isPlain(c) {
		return -1, fmt.Errorf("lend %T: %w", c, errNotPlain)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("lend socket: %w", err)
	}
	fd, dupErr := -1, error(nil)
	err = raw.Control(func(old uintptr) {
		fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err = errors.Join(err, os.NewSyscallError("dup", dupErr)); err != nil {
		return -1, fmt.Errorf("lend socket: %w", err)
	}
	return int32(fd), nil
}

// adopt turns a descriptor into a net.Conn, and owns it from then on. The
// options of the socket stay what they were.
func adopt(fd int32) (net.Conn, error) {
	alive := keepaliveOf(int(fd))
	// FileConn makes it non-blocking again. Until then os.File need not have
	// Go's poller watch it.
	_ = unix.SetNonblock(int(fd), false)
	f := os.NewFile(uintptr(fd), "socket")
	c, err := net.FileConn(f)
	_ = f.Close() // FileConn made a descriptor of its own
	if err != nil {
		return closedConn(), fmt.Errorf("return socket: %w", err)
	}
	if t, ok := c.(*net.TCPConn); ok {
		alive.restore(t)
	}
	return c, nil
}

// keepalive are the options that net.FileConn overwrites with Go's defaults.
type keepalive struct{ on, idle, interval, count int }

func keepaliveOf(fd int) (k keepalive) {
	if domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil || domain == unix.AF_UNIX {
		return k
	}
	k.on, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE)
	k.idle, _ = unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
	k.interval, _ = unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL)
	k.count, _ = unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT)
	return k
}

// goKeepalive is what net.FileConn sets.
var goKeepalive = keepalive{on: 1, idle: 15, interval: 15, count: 9}

// restore sets them again where they differ. A socket that refuses is dead,
// which its next user sees.
func (k keepalive) restore(c *net.TCPConn) {
	if k == goKeepalive {
		return
	}
	_ = c.SetKeepAliveConfig(net.KeepAliveConfig{
		Enable:   k.on != 0,
		Idle:     time.Duration(k.idle) * time.Second,
		Interval: time.Duration(k.interval) * time.Second,
		Count:    k.count,
	})
}

// closedConn stands for a connection that could not be made again.
func closedConn() net.Conn {
	c, peer := net.Pipe()
	_ = peer.Close()
	_ = c.Close()
	return c
}
