package pgfront

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"time"

	"serverlessproxy/cluster"
	"serverlessproxy/pgfront/pgwire"
	"serverlessproxy/pool"
	"serverlessproxy/relay"
)

// stopped is a session that is to be read before it goes on, whose client said
// goodbye or whose server did, or in which somebody broke the protocol.
func (s *session) stopped(r relay.Return) {
	if s.traffic.atBegin {
		s.traffic.atBegin = false
		s.readAtBegin()
		return
	}
	violated := s.traffic.tracker.Violation()
	switch {
	case !r.ByClient && s.traffic.tracker.Farewell() != pgwire.NoFarewell:
		s.serverLeaves()
		return
	case violated == nil && s.leavesBehind():
		s.client.Close()
		s.release()
	case violated == nil:
		s.backend.SetWriteDeadline(time.Now().Add(closeLimit))
		_, _ = s.backend.Write(goodbye) // an engine that does not hear it sees the end
		s.linger(lingerLimit, nil)
	case errors.Is(violated, pgwire.ErrServer):
		s.log.Warn("the server broke the protocol", "error", violated)
		s.cutOff(relay.Return{}, outOfStep())
		return
	default:
		s.log.Debug("the client broke the protocol", "error", violated)
		s.traffic.tally.Refuse(pool.RefusedProtocol)
		s.linger(closeLimit, nil) // what it sent before is answered first
		sayGoodbye(s.client, tell(violated).fatal())
	}
	s.finish()
}

// clientGone is a session whose client has closed, or half closed. What it
// sent is executed to the end, as the server itself would, and answered for as
// long as somebody takes the answers.
func (s *session) clientGone(r relay.Return) {
	s.traffic.tally.Aborted.Add(1)
	if s.backend != nil {
		s.linger(lingerLimit, r.ToClient)
	}
	s.finish()
}

// linger tells the backend that nothing more comes, and passes on what it
// still says until it ends.
func (s *session) linger(limit time.Duration, unsent []byte) {
	s.mu.Lock()
	s.lingering = true
	s.mu.Unlock()
	ctx, release := s.interruptible(s.front.ctx)
	defer release()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer interruptIO(ctx, s.backend)()
	defer interruptIO(ctx, s.client)()
	closeWrite(s.backend)
	rest := io.MultiReader(bytes.NewReader(unsent), bytes.NewReader(s.traffic.early), s.backend)
	n, _ := io.Copy(s.client, rest)
	s.traffic.tally.BytesOut.Add(n)
	if ctx.Err() != nil {
		s.cancelBackend()
	}
}

// leaveWith ends a session that stands at a safe point.
func (s *session) leaveWith(why *told) {
	sayGoodbye(s.client, why.fatal())
	s.finish()
}

// cutOff ends a session wherever it stands.
func (s *session) cutOff(r relay.Return, why *told) {
	s.client.SetWriteDeadline(time.Now().Add(goodbyeTimeout))
	if _, err := s.client.Write(r.ToClient); err == nil && !s.traffic.tracker.Torn() && why != nil {
		sayGoodbye(s.client, why.fatal())
	}
	s.client.Close()
	if s.traffic.tracker.Busy() {
		s.cancelBackend()
	}
	s.finish()
}

// turnAway ends a session that did not get as far as the relay, or that could
// not be given a backend again.
func (s *session) turnAway(err error) {
	var refused *engineError
	answer := tell(err)
	switch {
	case errors.As(err, &refused):
		s.log.Info("the server refused a login", "error", err)
		s.traffic.tally.Refuse(pool.RefusedAuth)
		s.traffic.tally.LoginFailures.Add(1)
		sayGoodbye(s.client, refused.message)
	case answer == nil:
		s.traffic.tally.Aborted.Add(1)
	default:
		s.log.Debug("turned a client away", "error", err)
		s.traffic.tally.Refuse(answer.refusal)
		sayGoodbye(s.client, answer.fatal())
	}
	s.finish()
}

// finish closes what is open and gives the seat back, once the engine has
// ended its side, or has had time to.
func (s *session) finish() {
	s.client.Close()
	if s.backend != nil {
		s.dismiss()
	}
	s.giveUp()
	if s.ears != nil {
		s.ears.dismiss(s)
	}
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	if s.seat != nil {
		s.seat.Leave()
	}
	close(s.ended)
	s.front.leave(s)
}

// dismiss asks the engine to end the session and waits until it has, so that
// the seat is not given to somebody whom the engine has no room for yet.
func (s *session) dismiss() { part(s.backend) }

// part asks a backend to end and waits until it has.
func part(backend net.Conn) {
	backend.SetDeadline(time.Now().Add(closeLimit))
	if _, err := backend.Write(pgwire.AppendTerminate(nil)); err == nil {
		closeWrite(backend)
	}
	_, _ = io.Copy(io.Discard, backend) // nothing that it says is of use, only its end
}

// giveUp closes the backend and forgets it: who asked for that has it now. No
// cancel is under way to it then.
func (s *session) giveUp() {
	s.cancelling.Lock()
	if s.backend != nil {
		s.backend.Close()
		s.backend = nil
	}
	s.forgetBackend()
	s.cancelling.Unlock()
	s.answerParks(nil)
}

// forgetBackend is called with cancelling held.
func (s *session) forgetBackend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.backed, s.lost = false, false
	s.at, s.real = cluster.Backend{}, pgwire.Key{}
}

func closeWrite(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
}
