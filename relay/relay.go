package relay

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
)

// Relay lends each session to what carries it best: an event loop where both
// ends are plain sockets, a pair of goroutines elsewhere.
type Relay struct {
	loops *loops
	pair  *Pair
}

// Option changes how a Relay is made.
type Option func(*options)

type options struct{ loops int }

// WithLoops sets the number of event loops, each a thread; at least 1, which
// is the default. More than there is work for cost more: one per several busy
// cores.
func WithLoops(n int) Option {
	return func(o *options) { o.loops = max(n, 1) }
}

// New starts a relay.
func New(log *slog.Logger, opts ...Option) (*Relay, error) {
	o := options{loops: 1}
	for _, opt := range opts {
		opt(&o)
	}
	loops, err := newLoops(log, o.loops)
	if err != nil {
		return nil, fmt.Errorf("start relay: %w", err)
	}
	return &Relay{loops: loops, pair: NewPair(log)}, nil
}

// Lend implements Lender.
func (r *Relay) Lend(e Ends, s Scanner, done func(Return)) Loan {
	if loan := r.loops.lend(e, s, done); loan != nil {
		return loan
	}
	if parked := e.Backend == nil && len(e.FromClient) == 0; parked {
		held, err := buffered(e.Client)
		if held == nil && err == nil {
			if loan := r.loops.watch(e.Client, done, r.pair); loan != nil {
				return loan
			}
		}
		e.FromClient = held
	}
	return r.pair.Lend(e, s, done)
}

// Close severs every loan and joins all threads and goroutines of the relay.
// It does not wait for the functions that Return is given to. A session lent
// after Close comes back Severed.
func (r *Relay) Close() error {
	return errors.Join(r.loops.Close(), r.pair.Close())
}

// isPlain tells whether a connection is a socket with nothing around it.
func isPlain(c net.Conn) bool {
	switch c.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	}
	return false
}

// underlying is the plain socket at the bottom of a connection, or nil where
// its wrappers do not tell.
func underlying(c net.Conn) net.Conn {
	for !isPlain(c) {
		wrapper, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		c = wrapper.NetConn()
	}
	return c
}
