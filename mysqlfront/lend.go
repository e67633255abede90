package mysqlfront

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"serverlessproxy/cluster"
	"serverlessproxy/mysqlfront/mysqlwire"
	"serverlessproxy/relay"
)

// lend gives the session to the relay, with what has been read from either
// side and not been passed on. Without a backend the relay only waits for the
// client.
func (s *session) lend(fromClient, fromBackend []byte) {
	s.unread = fromClient
	s.mu.Lock()
	closing := s.closing
	if closing == nil {
		closing = context.Cause(s.ctx)
	}
	if closing != nil {
		s.mu.Unlock()
		s.end(closing)
		return
	}
	defer s.mu.Unlock()
	e := relay.Ends{Client: s.client, FromClient: fromClient}
	if s.backend != nil {
		e.Backend, e.FromBackend = s.backend.conn, fromBackend
		s.scanner.settle()
	}
	releases := s.releases()
	s.unread, s.scanner.next = nil, nil
	if s.backend != nil && s.seat.ReleaseAtOnce() && !releases {
		s.scanner.next = s.releaseLater
	}
	s.front.group.Add(1)
	s.loan = s.front.Relay.Lend(e, s.scanner, s.returned)
	switch {
	case s.draining && s.alone:
		s.loan.Sever()
	case s.draining, s.parking != nil, releases:
		s.loan.Recall()
	}
}

// releaseLater has the session come back at its next safe point. It is called
// in the relay, which must not be called from there.
func (s *session) releaseLater() { s.front.group.Go(s.recall) }

func (s *session) recall() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loan != nil {
		s.loan.Recall()
	}
}

// releases tells whether the session is to give its backend up at its next
// safe point, unless what kept it there has not changed.
func (s *session) releases() bool {
	return s.backend != nil && s.seat.ReleaseAtOnce() && s.stuck != s.scanner.Facts().Commands
}

// returned takes the session back from the relay and does what it came for.
// It runs on a goroutine of its own.
func (s *session) returned(r relay.Return) {
	defer s.front.group.Done()
	s.mu.Lock()
	s.loan = nil
	s.mu.Unlock()
	s.client, s.unread = r.Client, r.FromClient
	if s.backend != nil {
		s.backend.conn = r.Backend
	}
	switch r.Why {
	case relay.Stopped:
		s.stopped(r)
	case relay.Recalled:
		s.atSafePoint(r)
	case relay.Readable:
		s.wake(r.FromClient)
	case relay.ClientGone:
		s.end(errVanished)
	case relay.BackendGone:
		s.backendGone(r)
	case relay.Severed:
		if why := s.severed(); errors.Is(why, errEngineGone) {
			s.backendGone(r)
		} else {
			s.end(why)
		}
	default:
		s.front.Log.Warn("relay gave a session up", "session", s.seat.ID(), "error", r.Err)
		s.end(errEngineGone)
	}
}

// severed is why the session was cut.
func (s *session) severed() error {
	if why := s.why(); why != nil {
		return why
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return errDraining
	}
	return errEngineGone
}

// stopped deals with a command that does not simply pass.
func (s *session) stopped(r relay.Return) {
	switch s.scanner.Stopped() {
	case mysqlwire.StopQuit:
		s.end(errQuit)
	case mysqlwire.StopChangeUser:
		s.moved()
		s.changeUser(r)
	case mysqlwire.StopBegin:
		s.readBefore(r)
	case mysqlwire.StopStray:
		s.farewell(r)
	case mysqlwire.StopKill, mysqlwire.StopKillQuery:
		s.kill(r)
	case mysqlwire.StopStatement:
		s.prepareAgain(r)
	case mysqlwire.StopMalformed:
		s.front.Log.Debug("malformed packet", "session", s.seat.ID(), "client", s.address.String(), "error", s.scanner.Err())
		s.end(errBadPacket)
	default:
		s.lend(r.FromClient, r.FromBackend)
	}
}

// atSafePoint leaves, parks, or goes on. Where a connection is wrapped, what
// came in that moment has been read already and comes with the session: a
// request is passed on to this backend or the next, and an engine that says
// something unasked is left to say it.
func (s *session) atSafePoint(r relay.Return) {
	s.mu.Lock()
	draining, p, reading := s.draining, s.parking, s.reading
	s.parking, s.reading = nil, false
	s.mu.Unlock()
	switch {
	case p != nil && len(r.FromBackend) > 0:
		p.result <- errNotNow
	case p != nil:
		p.result <- s.park(p.ctx)
	case draining, len(r.FromClient)+len(r.FromBackend) > 0:
	case s.releases():
		s.release()
	case reading && s.backend != nil: // it may have died since that was asked for
		if errors.Is(s.readIdle(), errLost) {
			s.backendGone(relay.Return{})
			return
		}
	}
	if draining {
		s.end(errDraining)
		return
	}
	s.lend(r.FromClient, r.FromBackend)
}

// release parks the session because its backend is to be another's meanwhile.
// Where that fails it is tried again after the client's next command.
func (s *session) release() {
	const releaseLasts = time.Second
	ctx, cancel := context.WithTimeout(s.ctx, releaseLasts)
	defer cancel()
	s.releasing = true
	defer func() { s.releasing = false }()
	if err := s.park(ctx); err != nil {
		s.stuck = s.scanner.Facts().Commands
	}
}

// wake gives a session without a backend one, since its client has sent
// something. What does not need an engine does not wake it.
func (s *session) wake(read []byte) {
	atLeast := mysqlwire.HeaderSize + 1
	if s.aborted != nil {
		atLeast = 1 // it may be the rest of a packet
	}
	if len(read) < atLeast {
		more, err := s.readBurst(read, atLeast)
		if err != nil {
			s.end(errVanished)
			return
		}
		read = more
	}
	if s.aborted != nil {
		s.answerAborted(read)
		return
	}
	switch command, whole := firstCommand(read); {
	case !whole:
		s.end(errBadPacket)
	case command == mysql.COM_QUIT:
		s.end(errQuit)
	case command == mysql.COM_PING && len(read) == mysqlwire.HeaderSize+1:
		s.pong()
	case s.parked != nil && s.answerParked(read):
		s.lend(nil, nil)
	default:
		s.resume(read)
	}
}

// firstCommand is the command that what was read begins with.
func firstCommand(read []byte) (command byte, whole bool) {
	if len(read) <= mysqlwire.HeaderSize {
		return 0, false
	}
	return read[mysqlwire.HeaderSize], true
}

// burstSize is what a session that wakes reads at once. The rest waits.
const burstSize = 16 << 10

// readBurst reads what the client has sent, until there are so many bytes.
func (s *session) readBurst(before []byte, atLeast int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.front.HandshakeTimeout)
	defer cancel()
	defer guard(ctx, s.client)()
	b := make([]byte, burstSize)
	n := copy(b, before)
	for n < atLeast {
		m, err := s.client.Read(b[n:])
		n += m
		if err != nil {
			return nil, err
		}
	}
	return b[:n], nil
}

// pong answers a ping without an engine.
func (s *session) pong() {
	ok := mysqlwire.AppendOK(nil, mysqlwire.OK{Status: s.scanner.Status()}, s.hello.Capabilities)
	if err := s.tell(1, ok); err != nil {
		s.end(errVanished)
		return
	}
	s.lend(nil, nil)
}

// resume gets a backend and lends the session with what its client has sent.
func (s *session) resume(read []byte) {
	ctx, release := watch(s.ctx, s.client)
	var err error
	if s.parked != nil {
		err = s.restore(ctx)
	} else {
		_, err = s.connect(ctx, cluster.OnQuery)
	}
	err = because(ctx, err)
	release()
	switch {
	case err == nil:
	case passingTrouble(err) && refusableCommand(read[mysqlwire.HeaderSize]) && s.ctx.Err() == nil:
		s.refuse(read, err)
		return
	default:
		s.endWith(err, read[3]+1)
		return
	}
	s.lend(read, nil)
}

// tell writes one packet to the client.
func (s *session) tell(seq byte, payload []byte) error {
	ctx, cancel := context.WithTimeout(s.ctx, goodbyeLasts)
	defer cancel()
	defer guard(ctx, s.client)()
	_, err := mysqlwire.WritePacket(s.client, seq, payload)
	return err
}

// end ends the session. A client that waits for an answer is told why.
func (s *session) end(why error) {
	seq, asked := s.question(why)
	if !asked {
		why = fmt.Errorf("%w: %w", errUnasked, why)
	}
	s.endWith(why, seq)
}

// question is the number of the answer that the client waits for, if it does:
// to a command that has not been passed on. A client that has asked nothing
// would take what it is told for the answer to its next command.
func (s *session) question(why error) (seq byte, asked bool) {
	if errors.Is(why, errBadPacket) {
		return 1, true
	}
	if errors.Is(why, errQuit) || errors.Is(why, errVanished) || s.scanner.Busy() {
		return 0, false
	}
	const glance = 5 * time.Millisecond
	s.client.SetReadDeadline(time.Now().Add(glance))
	header := make([]byte, mysqlwire.HeaderSize)
	if _, err := io.ReadFull(io.MultiReader(bytes.NewReader(s.unread), s.client), header); err != nil {
		return 0, false
	}
	return header[3] + 1, true
}

// endWith ends the session, and tells the client why as the answer of that
// number.
func (s *session) endWith(why error, seq byte) {
	s.front.Log.Debug("session ends", "session", s.seat.ID(), "client", s.address.String(), "why", why)
	if errors.Is(why, errVanished) {
		s.target.Tally.Aborted.Add(1)
	}
	later := errors.Is(why, errForcedScale) || errors.Is(why, errEngineDied)
	if later && errors.Is(why, errUnasked) && !s.scanner.Busy() {
		s.dismiss()
		s.leave()
		s.answerNext(why)
		return
	}
	said, ok := answerTo(why)
	if ok && !errors.Is(why, errUnasked) {
		s.client.SetDeadline(time.Now().Add(goodbyeLasts))
		mysqlwire.WritePacket(s.client, seq, said.packet())
		closeGently(s.client)
	}
	s.client.Close()
	s.dismiss()
	s.leave()
}

// nextLasts is how long a client whose session is gone has to ask what it will
// be told then.
const nextLasts = time.Minute

// answerNext tells the client why its session has ended, as the answer to its
// next command.
func (s *session) answerNext(why error) {
	ctx, cancel := context.WithTimeout(s.front.ctx, nextLasts)
	defer cancel()
	defer guard(ctx, s.client)()
	p := &packets{conn: s.client}
	if _, err := p.read(mysqlwire.MaxHandshake); err == nil {
		said, _ := answerTo(why)
		p.write(said.packet())
	}
	closeGently(s.client)
}

// dismiss gives the backend up.
func (s *session) dismiss() {
	b := s.backend
	if b == nil {
		return
	}
	s.backend = nil
	s.setEngineID(0)
	if s.scanner.Busy() {
		if errors.Is(context.Cause(s.ctx), errKilled) {
			s.strikeDown(b)
		}
		b.abandon(s.ctx)
		return
	}
	b.quit()
}
