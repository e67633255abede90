package relay

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
)

// loops are a relay's event loops; sessions go to them in turn.
type loops struct {
	all  []*Loop
	turn atomic.Uint32
}

func newLoops(log *slog.Logger, n int) (*loops, error) {
	ls := &loops{}
	for range n {
		l, err := NewLoop(log)
		if err != nil {
			return nil, errors.Join(err, ls.Close())
		}
		ls.all = append(ls.all, l)
	}
	return ls, nil
}

// lend lends a session to a loop, or returns nil where none can carry it.
func (ls *loops) lend(e Ends, s Scanner, done func(Return)) Loan {
	if isPlain(e.Client) && (e.Backend == nil || isPlain(e.Backend)) {
		return ls.next().Lend(e, s, done)
	}
	return nil
}

// watch waits for the client of a parked session whose connection wraps a
// socket and holds nothing itself. What comes is left to pair to read. nil
// where the socket cannot be seen.
func (ls *loops) watch(c net.Conn, done func(Return), pair *Pair) Loan {
	if underlying(c) == nil {
		return nil
	}
	v := &vigil{pair: pair, done: done}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.loan = ls.next().watch(c, v.woken)
	return v
}

func (ls *loops) next() *Loop {
	return ls.all[ls.turn.Add(1)%uint32(len(ls.all))]
}

func (ls *loops) Close() error {
	var errs []error
	for _, l := range ls.all {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// vigil is the loan of a parked session whose client's connection wraps a
// socket. A loop watches the socket; when something comes, a goroutine of the
// pair finds out whether it is a request, an end, or neither yet.
type vigil struct {
	pair *Pair
	done func(Return)

	mu                sync.Mutex // protects following fields
	loan              Loan       // the loop's, then the pair's
	recalled, severed bool
}

func (v *vigil) woken(r Return) {
	if ended := r.Why == ClientGone && r.Err == nil; r.Why != Readable && !ended {
		v.done(r)
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.loan = v.pair.Lend(Ends{Client: r.Client}, nil, v.done)
	if v.severed {
		v.loan.Sever()
	}
	if v.recalled {
		v.loan.Recall()
	}
}

func (v *vigil) Recall() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.recalled = true
	v.loan.Recall()
}

func (v *vigil) Keep() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.recalled = false
	v.loan.Keep()
}

func (v *vigil) Sever() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.severed = true
	v.loan.Sever()
}
