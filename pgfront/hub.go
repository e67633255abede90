package pgfront

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"serverlessproxy/cluster"
)

// A hub listens for the parked sessions of one database: one backend listens
// to all their channels. Who notifies whom is handed over exactly: a session's
// backend and the hub listen both, and then a marker is notified, which both
// hear at the same place in the engine's queue. Up to it the one delivers, from
// it on the other.
//
// A hub outlives the last session that parks, and is there again before anybody
// else may use a new backend. If it loses its backend while others work, nobody
// knows what its members missed: they are ended.
//
// Locks: talking is held while something is written to the backend, so that
// its answers come in the order of those who wait for them; mu protects the
// rest, may be held when a session's mutex is taken, and never during I/O.
type hub struct {
	log      *slog.Logger
	marker   string // the channel of the markers
	encoding string
	readers  *sync.WaitGroup

	opening sync.Mutex // one at a time makes a line
	talking sync.Mutex // before mu

	mu       sync.Mutex // protects what follows
	line     *line      // nil: no backend
	members  map[*session]*member
	channels map[string]map[*session]*member
	marks    map[string]func()
	idle     *time.Timer // runs while there are no members
	silent   bool        // since everything was heard, no session has had a backend
}

// member is a parked session.
type member struct {
	channels []string
	turn     turn
	token    string   // of the marker that it waits for
	later    [][]byte // after the marker, while the session's new backend takes over
}

// turn is whether it is the hub's turn to deliver.
type turn int

const (
	notYet   turn = iota // the marker that ends the backend's turn is on its way
	delivers             // up to the marker that begins the next backend's turn
	noMore               // the next backend delivers, if it goes on
)

var (
	errHubLost  = errors.New("the backend that listens for parked sessions is gone")
	errHubOther = errors.New("the backend that listens for parked sessions is one of another engine")
)

// hubIdle is how long a hub without members keeps its backend.
const hubIdle = time.Minute

func newHub(log *slog.Logger, encoding string, readers *sync.WaitGroup) *hub {
	return &hub{
		log: log, encoding: encoding, readers: readers,
		marker:  "serverlessproxy: " + rand.Text(),
		members: map[*session]*member{}, channels: map[string]map[*session]*member{}, marks: map[string]func(){},
	}
}

// admit listens for a session too. It delivers from the marker on that comes
// back as token, which the session's own backend is to notify.
func (h *hub) admit(ctx context.Context, s *session, channels []string) (token string, err error) {
	if err := h.open(ctx, s, s.at); err != nil {
		return "", err
	}
	token = rand.Text()
	m := &member{channels: channels, token: token}
	h.talking.Lock()
	h.mu.Lock()
	h.joinLocked(s, m)
	h.marks[token] = func() { m.turn = delivers }
	h.mu.Unlock()
	answered := h.ask(listen(channels))
	h.talking.Unlock()
	if err := wait(ctx, answered); err != nil {
		h.dismiss(s)
		return "", fmt.Errorf("listen for a parked session: %w", err)
	}
	return token, nil
}

func (h *hub) joinLocked(s *session, m *member) {
	h.members[s] = m
	for _, c := range m.channels {
		if h.channels[c] == nil {
			h.channels[c] = map[*session]*member{}
		}
		h.channels[c][s] = m
	}
}

// until ends the hub's turn at the marker with a token: heard is closed then.
func (h *hub) until(s *session, token string) (heard <-chan struct{}, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.members[s]
	if m == nil || h.line == nil {
		return nil, mayHaveMissed()
	}
	done := make(chan struct{})
	m.token = token
	h.marks[token] = func() {
		m.turn = noMore
		close(done)
	}
	return done, nil
}

// goOn takes until back: the session has no other backend after all.
func (h *hub) goOn(s *session, token string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.marks, token)
	m := h.members[s]
	if m == nil {
		return
	}
	m.turn = delivers
	for _, message := range m.later {
		s.hear(message)
	}
	m.later = nil
}

// dismiss listens for a session no more.
func (h *hub) dismiss(s *session) {
	h.talking.Lock()
	defer h.talking.Unlock()
	h.mu.Lock()
	unwanted := h.forgetLocked(s)
	open := h.line != nil
	if len(h.members) == 0 {
		if h.idle != nil {
			h.idle.Stop()
		}
		h.idle = time.AfterFunc(hubIdle, h.closeUnused)
	}
	h.mu.Unlock()
	if open && len(unwanted) > 0 {
		h.ask(unlisten(unwanted)) // nobody waits: one channel too many harms nobody
	}
}

// forgetLocked returns the channels that nobody wants any more.
func (h *hub) forgetLocked(s *session) (unwanted []string) {
	m := h.members[s]
	if m == nil {
		return nil
	}
	delete(h.members, s)
	delete(h.marks, m.token)
	for _, c := range m.channels {
		delete(h.channels[c], s)
		if len(h.channels[c]) == 0 {
			delete(h.channels, c)
			unwanted = append(unwanted, c)
		}
	}
	return unwanted
}

// heard is a notification that came to the hub.
func (h *hub) heard(channel, payload string, message []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if channel == h.marker {
		if reached := h.marks[payload]; reached != nil {
			delete(h.marks, payload)
			reached()
		}
		return
	}
	for s, m := range h.channels[channel] {
		switch m.turn {
		case delivers:
			s.hear(message)
		case noMore:
			m.later = append(m.later, message)
		}
	}
}

// hush waits until everything is heard that was notified so far: no session
// has a backend any more.
func (h *hub) hush(ctx context.Context) {
	token, reached := rand.Text(), make(chan struct{})
	h.talking.Lock()
	h.mu.Lock()
	l := h.line
	if l == nil {
		h.mu.Unlock()
		h.talking.Unlock()
		return
	}
	h.marks[token] = func() {
		h.silent = true
		close(reached)
	}
	h.mu.Unlock()
	h.ask(notify(h.marker, token))
	h.talking.Unlock()
	select {
	case <-reached:
	case <-l.gone:
	case <-ctx.Done():
	}
}

// stir says that a session is to have a backend.
func (h *hub) stir() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.silent = false
}

// wake puts the hub in place on a new backend, before anybody else is there.
// Sessions for which nobody can listen are ended.
func (h *hub) wake(ctx context.Context, at cluster.Backend) error {
	h.mu.Lock()
	var members []*session
	users := map[string]bool{}
	for s := range h.members {
		if !users[s.user] {
			users[s.user] = true
			members = append(members, s)
		}
	}
	if h.line != nil && h.line.generation != at.Generation {
		h.hangUpLocked()
	}
	h.mu.Unlock()
	var err error
	for _, s := range members {
		if err = h.open(ctx, s, at); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err == nil {
		return nil
	}
	if passing(err) || ctx.Err() != nil {
		return fmt.Errorf("listen for parked sessions: %w", err)
	}
	h.log.Warn("nobody can listen for parked sessions any more; they end", "error", err)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.endAllLocked()
	return nil
}

func (h *hub) endAllLocked() {
	for s := range h.members {
		h.forgetLocked(s)
		s.end(mayHaveMissed(), atSafePoint)
	}
}

func (h *hub) closeUnused() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.members) == 0 {
		h.hangUpLocked()
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.idle != nil {
		h.idle.Stop()
	}
	h.hangUpLocked()
}

// mayHaveMissed is what a client is told that listened when nobody could hear
// for it.
func mayHaveMissed() *told {
	return &told{
		code:    "57P02",
		message: "terminating connection because notifications may have been lost",
		detail:  "The server behind this endpoint ended or was restarted while nothing else kept what it notified.",
		hint:    "Reconnect and LISTEN again, and look for what has changed meanwhile.",
	}
}

func tookTooLittle() *told {
	return &told{code: "53400", message: "terminating connection because it does not read its notifications"}
}

func identifier(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func listen(channels []string) string   { return forEach("listen ", channels) }
func unlisten(channels []string) string { return forEach("unlisten ", channels) }

func forEach(verb string, channels []string) string {
	var b strings.Builder
	for _, c := range channels {
		b.WriteString(verb + identifier(c) + ";")
	}
	return b.String()
}

// notify is of a payload of ours, which holds no quote.
func notify(channel, payload string) string {
	return "notify " + identifier(channel) + ", '" + payload + "'"
}

// wait waits for an answer.
func wait(ctx context.Context, answered <-chan error) error {
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
