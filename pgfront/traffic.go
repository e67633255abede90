package pgfront

import (
	"cmp"
	"sync/atomic"
	"time"

	"serverlessproxy/pgfront/pgwire"
	"serverlessproxy/pool"
)

// traffic is the Scanner of a session: it shows each burst to the tracker and
// tells the pool what the session is doing. It takes no lock.
type traffic struct {
	tracker pgwire.Tracker
	seat    *pool.Seat
	tally   *pool.Tally
	phase   pool.Phase
	pinned  bool // the seat says so
	// resting: an attempt to park has just failed, and nothing has happened
	// since that would make another one go otherwise.
	resting atomic.Bool
	did     atomic.Uint32 // since the session's state was read: nothing, something…
	early   []byte        // from the backend, before the relay has it

	readings  *atomic.Int32 // how many sessions may be read now before they begin a transaction; nil: none
	beginRead time.Time     // when this one was
	atBegin   bool          // it is to be read now: the reason of a stop

	pin   pgwire.Pin
	noted atomic.Uint32 // pin, for others to read
}

var goodbye = pgwire.AppendTerminate(nil)

// FromClient implements relay.Scanner.
func (t *traffic) FromClient(b []byte) (n int, stop bool) {
	if t.did.Load() != nothing && t.tracker.Begins(b) && t.mayRead() {
		t.atBegin = true
		return 0, true
	}
	n, stop = t.tracker.FromClient(b)
	if t.tracker.Vacates() {
		t.seat.EndSparesSoon()
	}
	if t.tracker.Ended() {
		n -= len(goodbye) // whether the backend is to hear it is seen then
	}
	t.tally.BytesIn.Add(int64(n))
	if n > 0 && t.did.Load() != something {
		t.did.Store(something)
	}
	if t.resting.Load() {
		t.resting.Store(false)
	}
	t.enter()
	return n, stop
}

// FromBackend implements relay.Scanner.
func (t *traffic) FromBackend(b []byte) (n int, stop bool) {
	n, stop = t.tracker.FromServer(b)
	t.tally.BytesOut.Add(int64(n))
	if queries, transactions := t.tracker.Take(); queries+transactions > 0 {
		t.tally.Queries.Add(queries)
		t.tally.Transactions.Add(transactions)
	}
	t.enter()
	return n, stop
}

// Safe implements relay.Scanner.
func (t *traffic) Safe() bool { return t.tracker.Safe() && !t.resting.Load() }

// enter tells the pool of a new phase, if it is one.
func (t *traffic) enter() {
	phase := pool.Idle
	switch {
	case t.tracker.Busy():
		phase = pool.Active
	case t.tracker.InTransaction():
		phase = pool.InTransaction
	}
	if phase != t.phase {
		t.phase = phase
		t.seat.Set(phase)
		if t.pinned && phase != pool.Idle {
			t.pinned = false
			t.seat.Pin() // until the next attempt finds out
		}
	}
	if pin := t.tracker.Pinned(); pin != t.pin {
		t.pin = pin
		t.noted.Store(uint32(pin))
	}
}

// settle tells the pool the phase whatever it was told before, since the seat
// has changed it meanwhile.
func (t *traffic) settle() {
	t.phase = pool.Held // none that enter finds
	t.enter()
}

// heldBy is what holds the session from a safe point, as last noted, in the
// words of pool.Pinned.
func (t *traffic) heldBy() string {
	return cmp.Or(pgwire.Pin(t.noted.Load()).String(), pgwire.InRequest.String())
}
