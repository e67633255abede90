package relay

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// lane is one side of a pairing: what is read from it by its goroutine, and
// what was to be written to it by the other's.
type lane struct {
	side   side
	conn   net.Conn        // nil: there is none
	socket syscall.RawConn // of the socket at the bottom; nil where it cannot be seen
	plain  bool            // conn is that socket
	shown  bool            // what came with the session has been shown
	buf    *buffer         // what was read and has not gone on
	pull   func(fd uintptr) bool
	poke   func(fd uintptr) bool
	err    error // what pull or poke saw

	// Under the pairing's mutex:
	held   int // how much is left over
	broken error
	unsent []byte
}

func (l *lane) set(s side, c net.Conn, from []byte) {
	*l = lane{side: s, conn: c, buf: lentBuffer(from), held: len(from), plain: isPlain(c)}
	l.pull, l.poke = l.read, l.look
	if bottom, ok := underlying(c).(syscall.Conn); ok {
		l.socket, _ = bottom.SyscallConn() // fails for a closed one, whose read fails too
	}
	_ = c.SetDeadline(time.Time{})
}

// next waits until something has been read, and returns it after what was left
// over. While it waits, it holds no memory but that.
func (l *lane) next(x *pairing) ([]byte, error) {
	if !l.shown {
		l.shown = true
		if l.buf != nil {
			return l.buf.data, nil
		}
	}
	var err error
	if l.plain && l.socket != nil {
		err = l.nextPlain()
	} else {
		err = l.nextWrapped(x)
	}
	if err != nil {
		return nil, err
	}
	return l.buf.data, nil
}

func (l *lane) nextPlain() error {
	l.err = nil
	if err := l.socket.Read(l.pull); err != nil {
		return err
	}
	return l.err
}

// nextWrapped takes what the wrapper holds already, which a read with a
// deadline in the past gives, before it waits for the socket.
func (l *lane) nextWrapped(x *pairing) error {
	if l.socket == nil {
		return l.fill(l.conn.Read)
	}
	_ = l.conn.SetReadDeadline(past)
	err := l.fill(l.conn.Read)
	x.rearm(l)
	if err == nil || !isTimeout(err) {
		return err
	}
	if err := l.socket.Read(l.poke); err != nil {
		return err
	}
	if l.err != nil && l.err != io.EOF {
		return l.err // the socket tells of a reset only once
	}
	return l.fill(l.conn.Read)
}

// await waits until something can be read: of a plain socket nothing is read.
func (l *lane) await(x *pairing) error {
	switch {
	case l.buf != nil:
		return nil
	case l.plain && l.socket != nil:
		l.err = nil
		return errors.Join(l.socket.Read(l.poke), l.err)
	}
	_, err := l.next(x)
	return err
}

// fill reads once, after what is left over.
func (l *lane) fill(read func([]byte) (int, error)) error {
	held := l.buf.len()
	l.buf = l.buf.withRoom(roomAfter(held))
	n, err := read(l.buf.space[held:])
	if n <= 0 && held == 0 {
		l.buf.free()
		l.buf = nil
		return err
	}
	l.buf.data = l.buf.space[:held+max(n, 0)]
	if n > 0 {
		return nil // an error comes again
	}
	return err
}

// keep leaves over what was not among the first n bytes.
func (l *lane) keep(n int) {
	l.buf = l.buf.hold(l.buf.data[n:])
	l.held = l.buf.len()
}

// breaks notes that the side does not take what was to be written to it.
func (l *lane) breaks(err error, unsent []byte) {
	l.broken = fmt.Errorf("relay %s: %w", l.side, err)
	l.unsent = append([]byte(nil), unsent...)
}

// interrupt ends the reading, and after a while the writing too where nobody
// is there to take it.
func (l *lane) interrupt(writes writing) {
	if l.conn == nil {
		return
	}
	_ = l.conn.SetReadDeadline(past)
	if writes == abandoned {
		_ = l.conn.SetWriteDeadline(time.Now().Add(grace))
	}
}

// writing is what becomes of a write when a session ends.
type writing uint8

const (
	finished writing = iota
	abandoned
)

// reason is why a side is gone: nil for a plain end.
func (l *lane) reason(err error) error {
	switch {
	case l.broken != nil:
		return l.broken
	case errors.Is(err, io.EOF):
		return nil
	}
	return fmt.Errorf("relay %s: %w", l.side, err)
}

// returned is the connection as it was lent, what was left over and what it
// did not take.
func (l *lane) returned() (c net.Conn, from, to []byte) {
	if l.conn == nil {
		return nil, nil, nil
	}
	_ = l.conn.SetDeadline(time.Time{})
	from = l.buf.take()
	l.buf = nil
	return l.conn, from, l.unsent
}

// buffered is what a connection's wrapper holds already. Nothing is waited for.
func buffered(c net.Conn) ([]byte, error) {
	b := newBuffer(burst)
	defer b.free()
	_ = c.SetReadDeadline(past)
	n, err := c.Read(b.space)
	_ = c.SetReadDeadline(time.Time{})
	if n > 0 {
		return append([]byte(nil), b.space[:n]...), nil
	}
	if isTimeout(err) {
		return nil, nil
	}
	return nil, err
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
