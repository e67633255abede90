package mysqlfront

import (
	"context"
	"time"

	"serverlessproxy/mysqlfront/mysqlwire"
	"serverlessproxy/relay"
)

// lifeSign is how long an engine may take to greet before it counts as dead.
const lifeSign = 2 * time.Second

// backendGone is a session whose backend has closed: with its engine, or alone
// (by KILL, by a time-out), which ends the session without a word, as it does
// for a client of the engine's own.
//
// Where the engine died, a client that waits for an answer hears that nobody
// knows the outcome. One that does not wait hears it with its next command: it
// would take an error that it has not asked for as the answer to that.
func (s *session) backendGone(r relay.Return) {
	if s.engineLives() {
		s.end(errEngineGone)
		return
	}
	seq, whole := s.scanner.Turn()
	switch {
	case !s.scanner.Busy():
		s.end(errEngineDied)
	case !whole || !s.deliver(r.ToClient):
		s.endWith(errUnasked, 0)
	default:
		s.endWith(errOutcomeUnknown, seq)
	}
}

// engineLives tells whether the engine of the backend that has closed still
// greets.
func (s *session) engineLives() bool {
	at := s.backend.at
	if s.engineDied(at.Generation) {
		return false
	}
	ctx, cancel := context.WithTimeout(s.ctx, lifeSign)
	defer cancel()
	conn, err := dialEngine(ctx, at)
	if err != nil {
		return false
	}
	defer conn.Close()
	defer guard(ctx, conn)()
	if (caller{upstream: s.target.Upstream, client: s.address, local: s.local}).announce(conn) != nil {
		return false
	}
	_, _, err = mysqlwire.ReadPacket(conn, maxLoginPacket)
	return err == nil && !s.engineDied(at.Generation) // one that was started again since is another
}

// engineDied tells whether the cluster has said so of a generation.
func (s *session) engineDied(generation uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return generation != 0 && s.dead == generation
}

// deliver gives the client what it had not taken yet.
func (s *session) deliver(rest []byte) bool {
	if len(rest) == 0 {
		return true
	}
	s.client.SetWriteDeadline(time.Now().Add(goodbyeLasts))
	defer s.client.SetWriteDeadline(time.Time{})
	_, err := s.client.Write(rest)
	return err == nil
}
