package mysqlfront

import (
	"context"
	"io"

	"serverlessproxy/relay"
)

// farewellSize is more than an engine says when it ends a connection.
const farewellSize = 4 << 10

// farewell is a session whose backend says that it ends. If it does and the
// engine lives, the client hears it as it was said (a KILL, a time-out). An
// engine that dies says so to nobody whose session can be kept.
func (s *session) farewell(r relay.Return) {
	last, ended := s.readToEnd(r.FromBackend)
	switch {
	case !ended:
		s.scanner.PassStray()
		s.lend(r.FromClient, last)
	default:
		r.FromBackend = last
		s.backendGone(r)
	}
}

// readToEnd reads what the backend says until it closes.
func (s *session) readToEnd(said []byte) (all []byte, ended bool) {
	ctx, cancel := context.WithTimeout(s.ctx, lifeSign)
	defer cancel()
	defer guard(ctx, s.backend.conn)()
	more := make([]byte, farewellSize)
	n, err := io.ReadFull(s.backend.conn, more)
	return append(said, more[:n]...), err != nil && ctx.Err() == nil
}
