package pgfront

import (
	"context"
	"errors"
	"fmt"
	"time"

	"serverlessproxy/pgfront/pgwire"
	"serverlessproxy/pool"
)

// captureLimit is for reading a session's state, while its client may wait. An
// engine that has thousands of backends to end is that slow.
const captureLimit = 8 * time.Second

// lateLimit is for the answers that are still owed then: a backend that gives
// none is dead, and its session told so.
const lateLimit = 30 * time.Second

// leastReaders is how many sessions are read at a time, at least. The first
// reading of a backend fills its caches (8 ms of the engine's CPU): a crowd that
// is read all at once would have each of them take too long.
const leastReaders = 4

// readersLimit is for the readings of other sessions that come first.
const readersLimit = 10 * time.Second

// errBackendBroken is a backend that answers no more, or wrongly.
var errBackendBroken = errors.New("the backend is of no use any more")

// capture reads the session's state from the engine and gives the backend up.
// Until that is done nothing has changed: whatever fails leaves the session on
// its backend, unless that is broken (errBackendBroken).
func (s *session) capture() error {
	if s.backend == nil {
		return nil
	}
	read, err := s.picture()
	if err != nil {
		s.seat.CountPark(pool.Recoverable)
		if !errors.Is(err, errBackendBroken) {
			s.log.Debug("cannot read a session's state now", "error", err)
			s.pin("unreadable")
			err = &pool.Pinned{Reasons: []string{"unreadable"}}
		}
		return err
	}
	if pins := read.decide(); len(pins) > 0 {
		s.seat.CountPark(pool.Recoverable)
		s.pin(pins...)
		return &pool.Pinned{Reasons: pins}
	}
	s.pin()
	if hasSpoken(s.client) && !s.seat.Insisted() {
		s.seat.CountPark(pool.Recoverable)
		return &pool.Pinned{Reasons: []string{pgwire.InRequest.String()}}
	}
	if err := s.seat.Ready(); err != nil {
		s.seat.CountPark(pool.Recoverable)
		return err
	}
	if len(read.channels) > 0 {
		if err := s.leaveEars(read.channels); err != nil {
			return s.keepsEars(err)
		}
	}
	s.keep(&read.state)
	return nil
}

// picture is the session's state: the last reading, if the client has said
// nothing since, else a new one. A thousand idle sessions are parked at once
// without a question.
func (s *session) picture() (*reading, error) {
	switch {
	case !s.known() || s.kept != nil && len(s.kept.channels) > 0:
		return s.read()
	case s.kept == nil: // its client has said nothing yet
		return &reading{}, nil
	}
	return &reading{state: *s.kept}, nil
}

// keepsEars is a session that listens and for which nobody else can.
func (s *session) keepsEars(err error) error {
	s.seat.CountPark(pool.Recoverable)
	if errors.Is(err, errBackendBroken) {
		return err
	}
	s.log.Debug("cannot listen for a session", "error", err)
	s.pin("unreadable")
	return &pool.Pinned{Reasons: []string{"unreadable"}}
}

// pin shows why the session was not parked, until it does something.
func (s *session) pin(reasons ...string) {
	s.traffic.pinned = len(reasons) > 0
	s.seat.Pin(reasons...)
}

// keep gives the backend up for what is known of the session.
func (s *session) keep(kept *state) {
	s.kept, s.carried = kept, true
	s.settled()
	s.release()
	s.seat.CountPark(pool.Done)
	if aside := s.traffic.early; len(aside) > 0 {
		s.traffic.early = nil
		n, _ := s.traffic.FromBackend(aside)
		_ = s.write(aside[:n]) // a client that is gone is noticed later
	}
}

// read asks the backend for the session's state.
func (s *session) read() (*reading, error) {
	ctx, cancel := context.WithTimeout(s.front.ctx, readersLimit)
	defer cancel()
	if err := s.front.readers.Acquire(ctx, 1); err != nil {
		return nil, &told{code: "57014", message: "too many sessions' states were to be read"}
	}
	defer s.front.readers.Release(1)
	d := newDialogue(s.backend)
	var r *reading
	left := 0 // how many answers the backend still owes
	err := s.within(captureLimit, s.backend, func() error {
		var err error
		r, err = s.askState(d, &left)
		return err
	})
	if err != nil && timedOut(err) && s.front.ctx.Err() == nil {
		if late := s.finishLate(d, left); late != nil {
			err = late
		} else {
			err = &told{code: "57014", message: "reading the session's state took too long"}
		}
	}
	s.traffic.early = append(d.aside, d.reader.Rest()...)
	for name, value := range d.reported {
		s.reported[name] = value
	}
	var known *told
	if err != nil && !errors.As(err, &known) {
		return nil, fmt.Errorf("%w: %w", errBackendBroken, err)
	}
	return r, err
}

// askState reads the state in one round trip, and in further ones what the
// statements look like that were not there before, and what is seldom asked.
func (s *session) askState(d *dialogue, left *int) (*reading, error) {
	names, more := s.traffic.tracker.Names()
	body, certain := s.traffic.tracker.Unnamed()
	ask := [][]byte{probe(names)}
	if body != nil || !certain {
		ask = append(ask, withSync(describe(nil, "")))
	}
	replies, err := d.count(left, ask...)
	if err != nil {
		return nil, err
	}
	if failed := replies[0].failed; failed != nil {
		if _, err := d.count(left, withSync(closeStatement(nil, ourName))); err != nil {
			return nil, err
		}
		return nil, &told{code: failed.code, message: "reading the session's state: " + failed.text}
	}
	r := interpret(replies[0].rows)
	r.unknownNames, r.hidden = more, s.traffic.tracker.NamedHidden()
	if len(replies) > 1 {
		s.readUnnamed(r, replies[1])
	}
	if err := s.askSeldom(d, r, left); err != nil {
		return nil, err
	}
	return r, s.askShapes(d, r, left)
}

// readUnnamed judges what the server says of the unnamed statement, whose text
// the client's own words tell.
func (s *session) readUnnamed(r *reading, of reply) {
	body, certain := s.traffic.tracker.Unnamed()
	switch {
	case of.failed == nil:
		r.unknownUnnamed = !certain || body == nil
		r.unnamed, r.unnamedShape = append([]byte(nil), body...), of.shape
	case of.failed.code == "26000":
		s.traffic.tracker.HasUnnamed(nil)
	default:
		r.broken = true
	}
}

// askSeldom asks what matters only where the probe found something.
func (s *session) askSeldom(d *dialogue, r *reading, left *int) error {
	if r.temporarySchema {
		found, err := s.askOne(d, left, askTemporary)
		if err != nil {
			return err
		}
		r.temporary = found != "f"
	}
	if len(r.privileged) > 0 || r.hidden {
		found, err := s.askOne(d, left, askSuperuser, s.user)
		if err != nil {
			return err
		}
		r.superuser = found == "t"
	}
	return nil
}

// askOne asks for one value.
func (s *session) askOne(d *dialogue, left *int, text string, values ...string) (string, error) {
	replies, err := d.count(left, withSync(execute(parseMessage(nil, ourName, text, nil), ourName, values...)), withSync(closeStatement(nil, ourName)))
	if err != nil {
		return "", err
	}
	if failed := replies[0].failed; failed != nil {
		return "", &told{code: failed.code, message: "reading the session's state: " + failed.text}
	}
	if len(replies[0].rows) != 1 {
		return "", nil
	}
	return replies[0].rows[0][0], nil
}

// askShapes has the statements described that were not there at the last
// reading.
func (s *session) askShapes(d *dialogue, r *reading, left *int) error {
	known := map[string]*statement{}
	if s.kept != nil {
		for i := range s.kept.statements {
			known[s.kept.statements[i].name] = &s.kept.statements[i]
		}
	}
	var ask [][]byte
	var of []*statement
	for i := range r.statements {
		st := &r.statements[i]
		if old := known[st.name]; old != nil && old.since == st.since && old.text == st.text {
			st.shape = old.shape
			continue
		}
		var batch []byte
		if st.fromSQL {
			batch = parseMessage(batch, ourName, st.text, nil) // fails if it is more than one statement
			batch = closeStatement(batch, ourName)
		}
		ask, of = append(ask, withSync(describe(batch, st.name))), append(of, st)
	}
	replies, err := d.count(left, ask...)
	if err != nil {
		return err
	}
	for i, reply := range replies {
		if reply.failed == nil {
			of[i].shape = reply.shape
			continue
		}
		r.several = r.several || of[i].fromSQL && reply.failed.code == "42601"
	}
	return nil
}

// release gives up a backend whose session's state is kept. No cancel is under
// way to it then.
func (s *session) release() {
	s.cancelling.Lock()
	generation := s.at.Generation
	left, keeps := s.backend, s.seat.Keeps(generation)
	var offered *spare
	if keeps {
		offered = s.offer()
	}
	s.backend = nil
	s.forgetBackend()
	s.cancelling.Unlock()
	s.describeBackend(0)
	switch {
	case offered != nil:
	case keeps:
		(&spare{conn: left}).Close()
	default: // while thousands end at once nobody's state is read in time
		part(left)
		left.Close()
	}
	if offered == nil {
		s.seat.Set(pool.Parked)
		return
	}
	s.seat.GiveUp(s.spareKey(), generation, offered)
}
