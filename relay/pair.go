package relay

import (
	"errors"
	"log/slog"
	"sync"
	"time"
)

// Pair carries sessions with two goroutines each: for connections that wrap
// others, and where there is no event loop.
type Pair struct {
	log      *slog.Logger
	carriers sync.WaitGroup

	mu     sync.Mutex // protects following fields
	lent   map[*pairing]struct{}
	closed bool
}

// NewPair returns a Pair.
func NewPair(log *slog.Logger) *Pair {
	return &Pair{log: log, lent: make(map[*pairing]struct{})}
}

// grace is how long a write that nobody waits for any more may still take,
// and how long the last words of a side that cannot be written to are awaited.
const grace = 100 * time.Millisecond

// past is a deadline that interrupts.
var past = time.Unix(1, 0)

// pairing is one loan of a Pair. Each of its lanes is read by one goroutine;
// the last to end gives the session back.
type pairing struct {
	pair            *Pair
	done            func(Return)
	client, backend lane

	mu       sync.Mutex // protects following fields and the Scanner
	scanner  Scanner
	carrying int // goroutines
	writing  int // bursts that have been shown and are being written
	recalled bool
	over     bool
	outcome  Return // once over
}

// Lend implements Lender.
func (p *Pair) Lend(e Ends, s Scanner, done func(Return)) Loan {
	x := &pairing{pair: p, scanner: s, done: done}
	x.client.set(client, e.Client, e.FromClient)
	if e.Backend != nil {
		x.backend.set(backend, e.Backend, e.FromBackend)
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		x.over, x.outcome.Why = true, Severed
		go x.giveBack()
		return x
	}
	p.lent[x] = struct{}{}
	if e.Backend == nil {
		x.carrying = 1
		p.carriers.Add(1)
		go x.await()
		return x
	}
	x.carrying = 2
	p.carriers.Add(2)
	go x.carry(&x.client, &x.backend)
	go x.carry(&x.backend, &x.client)
	return x
}

// Close severs all loans and joins the goroutines that carry them. The
// functions that the sessions are given back to may run still.
func (p *Pair) Close() error {
	p.mu.Lock()
	p.closed = true
	for x := range p.lent {
		x.Sever()
	}
	p.mu.Unlock()
	p.carriers.Wait()
	return nil
}

// Recall implements Loan.
func (x *pairing) Recall() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.recalled = true
	x.recallLocked()
}

// Keep implements Loan.
func (x *pairing) Keep() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.recalled = false
}

// Sever implements Loan.
func (x *pairing) Sever() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.endLocked(Severed, nil)
}

// recallLocked takes the session if it was recalled and stands at a safe
// point, with nothing on its way.
func (x *pairing) recallLocked() {
	if !x.recalled || x.over || x.writing > 0 || x.broken() || x.client.held > 0 || x.backend.held > 0 {
		return
	}
	if x.backend.conn == nil {
		x.endLocked(Recalled, nil)
		return
	}
	if safe, err := isSafe(x.scanner); err != nil {
		x.endLocked(Failed, err)
	} else if safe {
		x.endLocked(Recalled, nil)
	}
}

func (x *pairing) broken() bool { return x.client.broken != nil || x.backend.broken != nil }

// endLocked decides how the session comes back, and interrupts who reads.
// Writes are left to finish where somebody is there to take them.
func (x *pairing) endLocked(why Why, err error) {
	if x.over {
		return
	}
	x.over = true
	x.outcome.Why, x.outcome.Err = why, err
	x.client.interrupt(writesTo(client, why))
	x.backend.interrupt(writesTo(backend, why))
}

// writesTo is what becomes of a write to a side when the session ends.
func writesTo(s side, why Why) writing {
	if why == Severed || why == s.gone() {
		return abandoned
	}
	return finished
}

// carry is the body of the goroutine that reads one lane and writes to the
// other.
func (x *pairing) carry(from, to *lane) {
	m := move{from: from, to: to}
	for x.step(&m) {
	}
	x.leave()
}

// move is one burst on its way.
type move struct {
	from, to *lane
	shown    []byte
	n        int // how much of it goes on
	stop     bool
}

// step moves one burst: one read, one look, one write. It tells whether there
// may be another.
func (x *pairing) step(m *move) bool {
	b, err := m.from.next(x)
	m.shown = b
	if !x.look(m, err) {
		return false
	}
	var written int
	if m.n > 0 {
		written, err = m.to.conn.Write(b[:m.n])
	}
	return x.settle(m, written, err)
}

// look shows the Scanner what was read.
func (x *pairing) look(m *move, readErr error) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		return false // what was read goes back with the session
	}
	if readErr != nil {
		x.endLocked(m.from.side.gone(), m.from.reason(readErr))
		return false
	}
	var err error
	if m.n, m.stop, err = show(x.scanner, m.from.side, m.shown); err != nil {
		x.endLocked(Failed, err)
		return false
	}
	x.writing++
	return true
}

// settle notes what became of a burst. It tells whether there may be another.
func (x *pairing) settle(m *move, written int, writeErr error) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.writing--
	if writeErr != nil {
		// The other goroutine reads that side's last words, and ends it.
		m.to.breaks(writeErr, m.shown[written:m.n])
		x.rearmLocked(m.to)
		m.from.keep(m.n)
		return false
	}
	m.from.keep(m.n)
	if m.stop && !x.over {
		x.outcome.ByClient = m.from.side == client
		x.endLocked(Stopped, nil)
	}
	x.recallLocked()
	return !x.over
}

// rearm lets a lane be read without a deadline, unless the session is over.
func (x *pairing) rearm(l *lane) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.rearmLocked(l)
}

func (x *pairing) rearmLocked(l *lane) {
	deadline := time.Time{}
	switch {
	case x.over:
		deadline = past
	case l.broken != nil:
		deadline = time.Now().Add(grace)
	}
	_ = l.conn.SetReadDeadline(deadline) // fails for a closed one, whose read fails too
}

// await is the body of the goroutine that waits for a parked session's client.
func (x *pairing) await() {
	err := x.client.await(x)
	x.mu.Lock()
	if err != nil {
		x.endLocked(ClientGone, x.client.reason(err))
	} else {
		x.endLocked(Readable, nil)
	}
	x.mu.Unlock()
	x.leave()
}

// leave ends a goroutine; the last one gives the session back.
func (x *pairing) leave() {
	x.mu.Lock()
	x.carrying--
	last := x.carrying == 0
	x.mu.Unlock()
	if last {
		x.pair.mu.Lock()
		delete(x.pair.lent, x)
		x.pair.mu.Unlock()
	}
	x.pair.carriers.Done()
	if last {
		x.giveBack()
	}
}

// giveBack returns the session. No goroutine carries it any more.
func (x *pairing) giveBack() {
	x.mu.Lock()
	if !x.over { // both sides refused a write
		x.endLocked(ClientGone, x.client.broken)
	}
	r := x.outcome
	x.mu.Unlock()
	if p := (*panicked)(nil); errors.As(r.Err, &p) {
		x.pair.log.Error("a session's scanner panicked", "panic", p.value, "stack", string(p.stack))
	}
	r.Client, r.FromClient, r.ToClient = x.client.returned()
	r.Backend, r.FromBackend, r.ToBackend = x.backend.returned()
	x.done(r)
}
