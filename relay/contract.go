// Package relay moves bytes between a client and a backend, and shows each
// burst to a Scanner on its way.
//
// It owns a pair of connections for as long as they are lent to it: an event
// loop (Linux epoll) for plain sockets, two goroutines for connections that
// wrap others (TLS, compression) and elsewhere than on Linux. Both have the
// same outcomes. It knows no protocol: what a byte means is the Scanner's.
// It never blocks on a slow receiver: it stops reading from the peer instead.
// Nothing on the way of a byte allocates, locks or waits.
package relay

import "net"

// Scanner looks through the bytes of one session. It is called by one
// goroutine at a time while the session is lent. It never blocks.
//
// FromClient and FromBackend are shown what was read, after what they left
// over last time. The first n bytes go on to the other side; the rest is kept
// and shown again, with what follows it, once more has been read. (A Scanner
// leaves over only what it must see whole: a few bytes of a header, or a
// message that it will not pass on.) Bytes among the first n may be changed
// in place. With stop, the session is handed back once the n bytes and all
// that came before them are written: Return.Why is Stopped, and what was left
// over is in FromClient or FromBackend of Return.
type Scanner interface {
	FromClient(b []byte) (n int, stop bool)
	FromBackend(b []byte) (n int, stop bool)
	// Safe tells whether the session stands at a safe point, where a Recall
	// may take it.
	Safe() bool
}

// Ends are the two connections of a session, and what has been read from
// each without having been passed on. Backend is nil for a parked session:
// then the relay only waits for the client.
type Ends struct {
	Client, Backend         net.Conn
	FromClient, FromBackend []byte
}

// Why a session comes back.
type Why int

const (
	Stopped     Why = iota // the Scanner said stop
	Recalled               // Recall, at a safe point
	Severed                // Sever, wherever it stood
	Readable               // a parked session's client has sent something (nothing of it is read)
	ClientGone             // the client closed; everything it sent before has been written to the backend
	BackendGone            // the backend closed; everything it sent before has been written to the client
	Failed                 // the relay itself failed: Return.Err
)

// Return is how a session comes back: the connections are ordinary
// net.Conns again, in blocking use, and belong to whom done is called for.
type Return struct {
	Ends
	Why Why
	Err error // what the gone side's read or write said, nil for a plain end
	// ByClient tells, for Stopped, whose bytes stopped it.
	ByClient bool
}

// Loan is a session that is lent. Its methods may be called from anywhere, at
// any time, also after the session came back (then they do nothing).
type Loan interface {
	// Recall asks for the session at its next safe point.
	Recall()
	// Keep takes a Recall back. It may come too late.
	Keep()
	// Sever asks for the session at once.
	Sever()
}

// Lender is what a front lends its sessions to.
type Lender interface {
	// Lend hands the session over; done is called once, on a goroutine of its
	// own, when it comes back. The caller touches neither the connections nor
	// the Scanner until then. A Recall that comes before the first byte holds.
	Lend(e Ends, s Scanner, done func(Return)) Loan
}
