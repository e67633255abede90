package mysqlfront

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/go-mysql-org/go-mysql/mysql"

	"serverlessproxy/cluster"
	"serverlessproxy/mysqlfront/mysqlwire"
	"serverlessproxy/pool"
)

// A client without a backend whose request finds no engine is told why as the
// answer to that request, and stays connected as it was: its next one tries
// again.

// passingTrouble tells whether err is one of the cluster's, which may be over
// with the next request, and none of the session's own.
func passingTrouble(err error) bool {
	if errors.As(err, new(*unlikeItem)) || errors.As(err, new(*mysqlwire.ServerError)) || errors.Is(err, errUnlike) {
		return false
	}
	return errors.As(err, new(*cluster.ResumeError)) || errors.Is(err, errNoBackend) || errors.Is(err, context.DeadlineExceeded)
}

// refusableCommand tells whether a command can be answered with an error, and nothing
// of it be missed later.
func refusableCommand(command byte) bool {
	switch command {
	case mysql.COM_STMT_CLOSE, mysql.COM_STMT_SEND_LONG_DATA, mysql.COM_QUIT:
		return false
	}
	return true
}

// refuse answers the command that read begins with, unrun, with why there is
// no engine for it, and goes on with what was sent behind it.
func (s *session) refuse(read []byte, why error) {
	s.front.Log.Warn("cannot serve a parked session", "session", s.seat.ID(), "error", why)
	s.seat.Set(pool.Parked)
	seq, rest, err := s.passCommand(read)
	if err == nil {
		said, _ := answerTo(why)
		err = s.tell(seq+1, said.packet())
	}
	switch {
	case err != nil:
		s.end(errVanished)
	case len(rest) > 0:
		s.wake(rest)
	default:
		s.lend(nil, nil)
	}
}

// passCommand reads past a command, of which read is the beginning. seq is the
// number of its last packet, rest what has been read beyond it.
func (s *session) passCommand(read []byte) (seq byte, rest []byte, err error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.front.HandshakeTimeout)
	defer cancel()
	defer guard(ctx, s.client)()
	there := bytes.NewReader(read)
	from := io.MultiReader(there, s.client)
	for length := mysqlwire.MaxPacket; length == mysqlwire.MaxPacket; {
		var header [mysqlwire.HeaderSize]byte
		if _, err := io.ReadFull(from, header[:]); err != nil {
			return 0, nil, fmt.Errorf("read past a command: %w", err)
		}
		length, seq = mysqlwire.Header(header[:])
		if _, err := io.CopyN(io.Discard, from, int64(length)); err != nil {
			return 0, nil, fmt.Errorf("read past a command: %w", err)
		}
	}
	return seq, read[len(read)-there.Len():], nil
}
