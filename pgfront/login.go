package pgfront

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"serverlessproxy/cluster"
	"serverlessproxy/credential"
	"serverlessproxy/pgfront/pgwire"
	"serverlessproxy/pool"
	"serverlessproxy/throttle"
)

// How often a login is tried again while the engine is starting or stopping.
const (
	firstRetry   = 10 * time.Millisecond
	longestRetry = 500 * time.Millisecond
	spareEnds    = time.Second // for the engine to see that a spare is gone
)

// waitForBackend holds the client until the cluster serves, and logs in. The
// backend is the session's then. The same whether the session is new or was
// parked.
func (s *session) waitForBackend(parent context.Context, trigger cluster.Trigger) (*opened, error) {
	ctx, stop := s.waiting(parent)
	defer stop()
	var spared time.Time // when spares were ended for this session
	var until time.Time  // of the tries; set by the first that fails
	for wait := firstRetry; ; wait = min(2*wait, longestRetry) {
		grant, err := s.ask(ctx, trigger)
		if err != nil {
			return nil, causeOf(ctx, err)
		}
		o, err := s.inTurn(ctx, grant)
		if err == nil {
			s.has(o)
			return o, nil
		}
		s.giveUp()
		if crowded(err) && s.seat.EndSpares() {
			spared = time.Now()
		}
		if ctx.Err() != nil || !passing(err) && !(crowded(err) && time.Since(spared) < spareEnds) {
			return nil, causeOf(ctx, err)
		}
		if until.IsZero() {
			until = time.Now().Add(retryLimit)
		}
		if time.Now().After(until) {
			return nil, startingUp(err.Error())
		}
		s.seat.Set(pool.Held)
		throttle.Pause(ctx, wait)
	}
}

// inTurn begins a login when it is the session's turn. An engine that has been
// stopped meanwhile is one that cannot be reached.
func (s *session) inTurn(ctx context.Context, grant pool.Grant) (*opened, error) {
	limited, cancel := context.WithTimeoutCause(ctx, turnLimit, startingUp("the logins of other sessions before this one took too long; try again"))
	defer cancel()
	done, err := s.seat.TurnToLogIn(limited)
	if err != nil {
		if offered, ok := grant.Spare.(*spare); ok {
			offered.Close()
		}
		return nil, err
	}
	defer done()
	s.begins(grant.Backend)
	return s.open(ctx, grant)
}

// open gives the session a backend that is what its last one was.
func (s *session) open(ctx context.Context, grant pool.Grant) (*opened, error) {
	o, err := s.backendOf(ctx, grant)
	if err != nil {
		return nil, err
	}
	if s.kept == nil {
		if err := s.learnKeepalives(ctx, o); err != nil {
			o.conn.Close()
			return nil, err
		}
		return o, nil
	}
	if err := s.rebuild(ctx, o); err != nil {
		o.conn.Close()
		s.countRestore(err)
		return nil, err
	}
	s.seat.CountRestore(pool.Done)
	return o, nil
}

// ask waits until the cluster serves.
func (s *session) ask(ctx context.Context, trigger cluster.Trigger) (pool.Grant, error) {
	if s.replication == none {
		return s.seat.Borrow(ctx, trigger, s.spareKey())
	}
	at, err := s.seat.Backend(ctx, trigger)
	return pool.Grant{Backend: at}, err
}

// backendOf is the spare of a grant, where it is of use, or a new login.
func (s *session) backendOf(ctx context.Context, grant pool.Grant) (*opened, error) {
	if offered, ok := grant.Spare.(*spare); ok {
		o, err := s.revive(ctx, offered)
		if err == nil {
			return o, nil
		}
		s.log.Debug("a spare backend is of no use", "error", err)
		offered.Close()
	}
	return s.logIn(ctx, grant.Backend)
}

func (s *session) countRestore(err error) {
	if passing(err) || s.front.ctx.Err() != nil {
		s.seat.CountRestore(pool.Recoverable)
		return
	}
	s.log.Warn("cannot restore a session", "error", err)
	s.seat.CountRestore(pool.Fatal)
}

// causeOf is why ctx ended, if that is why there is an error.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// begins a login to a backend: from here on, who wants the session parked
// waits for it.
func (s *session) begins(at cluster.Backend) {
	for _, h := range s.front.hubsOf(s.target.Pool) {
		h.stir()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.backed, s.at, s.lost = true, at, false
}

// has the backend, which a cancel may reach from here on.
func (s *session) has(o *opened) {
	s.backend, s.origin, s.traffic.early = o.conn, o.origin, o.rest
	s.mu.Lock()
	s.real = o.key
	s.mu.Unlock()
	s.describeBackend(o.key.PID)
}

// greetWith passes on what the engine says to a new session; the key is ours.
func (s *session) greetWith(o *opened) error {
	s.carried = true // there is nothing yet
	s.reported = o.parameters
	s.front.register(s, o.key.PID)
	b := pgwire.AppendBackendKeyData(o.greeting, s.shown)
	return s.write(pgwire.AppendReady(b, pgwire.IdleStatus))
}

// greetAsleep greets as the engine would, from what is known of it.
func (s *session) greetAsleep() error {
	s.carried = true // there is nothing yet
	s.reported = s.asleep
	s.front.register(s, unusedPID())
	var b []byte
	for _, name := range slices.Sorted(maps.Keys(s.reported)) {
		b = pgwire.AppendParameterStatus(b, name, s.reported[name])
	}
	b = pgwire.AppendBackendKeyData(b, s.shown)
	return s.write(pgwire.AppendReady(b, pgwire.IdleStatus))
}

func (s *session) write(b []byte) error {
	ctx, release := s.interruptible(s.front.ctx)
	defer release()
	ctx, cancel := context.WithTimeout(ctx, loginLimit)
	defer cancel()
	defer interruptIO(ctx, s.client)()
	if _, err := s.client.Write(b); err != nil {
		return fmt.Errorf("%w: %w", errClientGone, err)
	}
	return nil
}

// unusedPID is a process id that no process of the engine's machine has.
func unusedPID() uint32 {
	const first = 1<<22 + 1 // Linux's own limit, PID_MAX_LIMIT, and one
	var b [4]byte
	rand.Read(b[:])
	return first + binary.BigEndian.Uint32(b[:])%(1<<31-1-first)
}

// freshParameters is what a new session of this role will report, as far as
// that is known without the engine: what the engine reported to a session,
// changed by what this one asks for. What differs is told later.
func freshParameters(reported map[string]string, role credential.Role, asked []pgwire.Parameter) map[string]string {
	if len(reported) == 0 {
		return nil
	}
	fresh := maps.Clone(reported)
	fresh["is_superuser"] = "off"
	if role.Superuser {
		fresh["is_superuser"] = "on"
	}
	fresh["session_authorization"] = role.Name
	fresh["application_name"] = ""
	for _, p := range asked {
		switch strings.ToLower(p.Name) {
		case "application_name":
			fresh["application_name"] = p.Value
		case "timezone":
			fresh["TimeZone"] = p.Value
		case "client_encoding":
			fresh["client_encoding"] = encodingName(p.Value)
		}
	}
	return fresh
}

// encodingName is how the server spells a client's encoding, for the ones that
// clients spell differently.
func encodingName(asked string) string {
	switch name := strings.ToUpper(strings.Trim(asked, "'\"")); strings.NewReplacer("-", "", "_", "").Replace(name) {
	case "UTF8", "UNICODE":
		return "UTF8"
	case "SQLASCII":
		return "SQL_ASCII"
	default:
		return name
	}
}

// wake serves a parked session whose client has spoken, and lends it again.
func (s *session) wake(ctx context.Context) {
	for {
		if s.aborted != nil {
			if !s.answerAborted(ctx) {
				return
			}
			continue
		}
		goodbye, err := s.peek(ctx)
		answered := false
		if err == nil && !goodbye {
			answered, err = s.answerAsleep()
		}
		if err == nil && !goodbye && !answered {
			err = s.serveParked(ctx)
		}
		switch {
		case err != nil:
			s.turnAway(err)
			return
		case goodbye:
			s.finish()
			return
		case s.backend != nil || len(s.pending) == 0:
			s.lend()
			return
		}
	}
}

// serveParked gives a parked session a backend, for its client's request, or
// answers that with why it cannot.
func (s *session) serveParked(ctx context.Context) error {
	s.awaitRequest(true)
	o, err := s.waitForBackend(ctx, cluster.OnQuery)
	s.awaitRequest(false)
	if err == nil {
		return s.catchUp(o)
	}
	if answer := s.unserved(err); answer != nil {
		return s.skipRequest(ctx, answer)
	}
	return err
}

func (s *session) awaitRequest(waits bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.canCancel = waits
}

// unserved is what the client gets as the answer to its request where it stays
// connected, parked as it was: nil where it cannot.
func (s *session) unserved(err error) *told {
	var (
		refused *engineError
		resume  *cluster.ResumeError
	)
	answer := tell(err)
	switch {
	case errors.As(err, &refused), answer == nil:
		return nil
	case errors.Is(err, errCanceled):
	case errors.As(err, &resume), answer.code == startingUp("").code:
		s.log.Warn("cannot serve a parked session", "error", err)
	default:
		return nil
	}
	return answer
}
