//go:build unix

package relay

import (
	"io"
	"syscall"
)

// read reads what the socket has. It tells whether there was anything, or an
// end; otherwise Go's poller waits, and no buffer is held meanwhile.
func (l *lane) read(fd uintptr) bool {
	l.err = l.fill(func(b []byte) (int, error) {
		n, err := syscall.Read(int(fd), b)
		return n, ended(n, err)
	})
	return !isNotNow(l.err)
}

// look tells whether there is anything to read, or an end, and reads nothing.
func (l *lane) look(fd uintptr) bool {
	var b [1]byte
	n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	l.err = ended(n, err)
	return !isNotNow(l.err)
}

func ended(n int, err error) error {
	if n == 0 && err == nil {
		return io.EOF
	}
	return err
}

func isNotNow(err error) bool { return err == syscall.EAGAIN || err == syscall.EINTR }
