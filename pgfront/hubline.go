package pgfront

import (
	"bytes"
	"context"
	"net"
	"slices"
	"strings"
	"time"

	"serverlessproxy/cluster"
	"serverlessproxy/pgfront/pgwire"
)

// line is a hub's backend.
type line struct {
	conn       net.Conn
	generation uint64
	reader     *pgwire.Reader
	gone       chan struct{} // closed when it is read no more

	owed []chan error // who waits for an answer, in order; under hub.mu
}

// open sees to it that the hub has a backend that listens for all its members,
// logging in as one of them where there is none.
func (h *hub) open(ctx context.Context, as *session, at cluster.Backend) error {
	h.opening.Lock()
	defer h.opening.Unlock()
	h.mu.Lock()
	now := h.line
	channels := []string{h.marker}
	for c := range h.channels {
		channels = append(channels, c)
	}
	h.mu.Unlock()
	if now != nil && now.generation == at.Generation {
		return nil
	}
	if now != nil {
		return errHubOther
	}
	o, err := as.logIn(ctx, at)
	if err != nil {
		return err
	}
	l := &line{conn: o.conn, generation: at.Generation, gone: make(chan struct{})}
	l.reader = pgwire.NewReader(o.conn)
	h.mu.Lock()
	h.line = l
	h.mu.Unlock()
	h.readers.Go(func() { h.read(l) })
	h.talking.Lock()
	prepared, listening := h.ask(h.manners()), h.ask(listen(channels))
	h.talking.Unlock()
	if err = wait(ctx, prepared); err == nil {
		err = wait(ctx, listening)
	}
	if err != nil {
		h.close()
	}
	return err
}

// manners makes settings of the user's that would end or change what the hub
// hears those that it needs.
func (h *hub) manners() string {
	quoted := "'" + strings.ReplaceAll(h.encoding, "'", "''") + "'"
	return `select pg_catalog.set_config(name, case name when 'application_name' then 'serverlessproxy: LISTEN' when 'client_encoding' then ` + quoted +
		` else '0' end, false) from pg_catalog.pg_settings where name in ('application_name', 'client_encoding', 'statement_timeout', 'lock_timeout', 'transaction_timeout', 'idle_session_timeout', 'idle_in_transaction_session_timeout')`
}

// ask says something to the backend; the answer comes to the channel. It is
// called with talking held.
func (h *hub) ask(text string) <-chan error {
	answer := make(chan error, 1)
	h.mu.Lock()
	l := h.line
	if l == nil {
		answer <- errHubLost
	} else {
		l.owed = append(l.owed, answer)
	}
	h.mu.Unlock()
	if l != nil {
		l.conn.SetWriteDeadline(time.Now().Add(closeLimit))
		if _, err := l.conn.Write(appendQuery(nil, text)); err != nil {
			l.conn.Close() // whoever reads finds out
		}
	}
	return answer
}

// read is the body of the goroutine that hears what the backend says.
func (h *hub) read(l *line) {
	var failed error
	for {
		kind, body, err := l.reader.Next(maxReply)
		if err != nil {
			h.lose(l, err)
			return
		}
		switch kind {
		case pgwire.NotificationResponse:
			if channel, payload, ok := notification(body); ok {
				h.heard(channel, payload, pgwire.AppendMessage(nil, kind, body))
			}
		case pgwire.ErrorResponse:
			failed = newEngineError(body)
		case pgwire.ReadyForQuery:
			h.answered(l, failed)
			failed = nil
		}
	}
}

func (h *hub) answered(l *line, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(l.owed) > 0 {
		l.owed[0] <- err
		l.owed = slices.Delete(l.owed, 0, 1)
	}
}

// lose is the end of a backend. Where nobody could notify anybody since
// everything was heard, nothing is lost, and the hub sleeps with the engine.
func (h *hub) lose(l *line, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(l.gone)
	l.conn.Close()
	for _, answer := range l.owed {
		answer <- errHubLost
	}
	if h.line != l {
		return // it was hung up
	}
	h.line = nil
	if !h.silent && len(h.members) > 0 {
		h.log.Warn("the backend that listens for parked sessions is gone; they end, since notifications may be lost", "error", err)
		h.endAllLocked()
	}
}

// hangUpLocked ends the backend, if there is one; its reader finds out.
func (h *hub) hangUpLocked() {
	l := h.line
	if l == nil {
		return
	}
	h.line = nil
	clear(h.marks)
	l.conn.SetDeadline(time.Now().Add(goodbyeTimeout))
	h.readers.Go(func() {
		_, _ = l.conn.Write(goodbye) // an engine that does not hear it sees the end
		l.conn.Close()
	})
}

// notification reads a NotificationResponse.
func notification(body []byte) (channel, payload string, ok bool) {
	if len(body) < 4 {
		return "", "", false
	}
	c, rest, ok := bytes.Cut(body[4:], []byte{0})
	if !ok {
		return "", "", false
	}
	p, _, ok := bytes.Cut(rest, []byte{0})
	return string(c), string(p), ok
}
