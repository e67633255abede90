package pgfront

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"serverlessproxy/pgfront/pgwire"
)

// earsLimit is for handing over who listens.
const earsLimit = 10 * time.Second

// maxInbox is how much is kept for a parked client that does not read.
const maxInbox = 1 << 20

// mark is where in the engine's queue one backend ceases to deliver and
// another one begins.
type mark struct {
	channel, token string
	keeps          half
	heard          bool
}

// half is which notifications a dialogue keeps.
type half int

const (
	before half = iota
	after
)

// keepsNotification tells of a notification whether the client is to hear it
// from this backend.
func (d *dialogue) keepsNotification(body []byte) bool {
	if d.mark == nil {
		return true
	}
	channel, payload, _ := notification(body)
	if channel != d.mark.channel {
		return !d.mark.heard || d.mark.keeps == after
	}
	if payload == d.mark.token && !d.mark.heard {
		d.mark.heard = true
		if d.mark.keeps == after {
			d.aside = nil // parameters are told as a whole
		}
	}
	return false
}

// passMark has the backend listen for the mark and notify it, and reads until
// it comes.
func (d *dialogue) passMark() error {
	for _, text := range []string{"listen " + identifier(d.mark.channel), notify(d.mark.channel, d.mark.token)} {
		if err := d.say(text); err != nil {
			return err
		}
	}
	for !d.mark.heard {
		kind, body, err := d.reader.Next(maxReply)
		if err != nil {
			return err
		}
		if err := d.note(kind, body); err != nil {
			return err
		}
	}
	return nil
}

// say runs a statement without touching one of the client's.
func (d *dialogue) say(text string) error {
	batch := execute(parseMessage(nil, ourName, text, nil), ourName)
	replies, err := d.run(withSync(closeStatement(batch, ourName)))
	if err == nil && replies[0].failed != nil {
		return replies[0].failed
	}
	return err
}

// leaveEars has the hub hear what the session listens to, from a mark on; what
// came before it is in traffic.early. Unless the backend is broken, an error
// leaves the session as it was.
func (s *session) leaveEars(channels []string) error {
	ctx, cancel := context.WithTimeout(s.front.ctx, earsLimit)
	defer cancel()
	h := s.front.hubFor(s)
	token, err := h.admit(ctx, s, channels)
	if err != nil {
		return err
	}
	d := newDialogue(s.backend)
	d.reader = pgwire.NewReader(io.MultiReader(bytes.NewReader(s.traffic.early), s.backend))
	d.mark = &mark{channel: h.marker, token: token, keeps: before}
	stop := interruptIO(ctx, s.backend)
	defer stop()
	err = d.passMark()
	var refused *engineError
	if errors.As(err, &refused) {
		h.dismiss(s)
		s.takeInbox() // the backend goes on telling it
		if late := d.say("unlisten " + identifier(h.marker)); late != nil {
			err = fmt.Errorf("%w: %w", errBackendBroken, late)
		}
	} else if err != nil {
		h.dismiss(s)
		err = fmt.Errorf("%w: %w", errBackendBroken, err)
	}
	s.traffic.early = append(d.aside, d.reader.Rest()...)
	if err != nil {
		return err
	}
	s.traffic.early = d.aside // what follows is the hub's
	s.ears = h
	return nil
}

// takeEars has the new backend hear what the hub did, from a mark on. An error
// leaves the session with the hub.
func (s *session) takeEars(ctx context.Context, d *dialogue) error {
	h := s.ears
	if h == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, earsLimit)
	defer cancel()
	token := rand.Text()
	heard, err := h.until(s, token)
	if err != nil {
		return err
	}
	d.mark = &mark{channel: h.marker, token: token, keeps: after}
	err = d.passMark()
	if err == nil {
		select {
		case <-heard:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if err == nil {
		err = d.say("unlisten " + identifier(h.marker))
	}
	if err != nil {
		h.goOn(s, token)
		return fmt.Errorf("take notifications over: %w", err)
	}
	h.dismiss(s)
	s.ears = nil
	return nil
}

// hear keeps a notification for the parked client, and has it written. It is
// the hub that calls.
func (s *session) hear(message []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.ending != nil {
		return
	}
	if len(s.inbox)+len(message) > maxInbox {
		s.inbox = nil
		s.endLocked(tookTooLittle(), atOnce)
		return
	}
	s.inbox = append(s.inbox, message...)
	if s.loan != nil {
		s.loan.Recall()
	}
}

// takeInbox is what the client is to hear before all else.
func (s *session) takeInbox() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	inbox := s.inbox
	s.inbox = nil
	return inbox
}

// passOnInbox writes to the parked client what the hub heard for it.
func (s *session) passOnInbox() error {
	s.mu.Lock()
	ending := s.ending
	s.mu.Unlock()
	if ending != nil {
		return nil
	}
	inbox := s.takeInbox()
	if len(inbox) == 0 {
		return nil
	}
	s.traffic.tally.BytesOut.Add(int64(len(inbox)))
	return s.write(inbox)
}
