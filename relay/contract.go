// Package relay moves bytes between a client and a backend, and shows each
// burst to a Scanner on its way.
//
// It owns a pair of connections for as long as they are lent to it: an event
// loop (Linux epoll) for plain sockets, two goroutines for connections that
// wrap others (TLS, compression) and elsewhere than on Linux. Both have the
// same outcomes. It knows no protocol: what a byte means is the Scanner's.
// It never blocks on a slow receiver: it stops reading from the peer instead.
// Nothing on the way of a byte through the loop allocates, locks or waits.
//
// Locks: a Loop's state belongs to its one thread alone, and others leave
// commands in a queue under Loop.mu. In a Pair each session has a mutex, under
// which its Scanner is called; Pair.mu protects the list of sessions. None is
// held while done is called.
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
// over is in FromClient or FromBackend of Return. Where that writing has to
// wait for its receiver, the other side's bytes go on being shown meanwhile
// (or two sides that wait for each other would wait for ever).
type Scanner interface {
	FromClient(b []byte) (n int, stop bool)
	FromBackend(b []byte) (n int, stop bool)
	// Safe tells whether the session stands at a safe point, where a Recall
	// may take it.
	Safe() bool
}

// Ends are the two connections of a session, and what has been read from
// each without having been passed on. Backend is nil for a parked session:
// then the relay only waits for the client, and the Scanner may be nil.
type Ends struct {
	Client, Backend         net.Conn
	FromClient, FromBackend []byte
}

// Why a session comes back.
type Why uint8

const (
	Stopped     Why = iota // the Scanner said stop
	Recalled               // Recall, at a safe point
	Severed                // Sever, wherever it stood
	Readable               // a parked session's client has sent something (nothing of a plain socket is read; what a wrapper had to read is in FromClient)
	ClientGone             // the client closed; everything it sent before has been written to the backend
	BackendGone            // the backend closed; everything it sent before has been written to the client
	Failed                 // the relay itself failed: Return.Err
)

var whyNames = [...]string{"stopped", "recalled", "severed", "readable", "client gone", "backend gone", "failed"}

func (w Why) String() string { return whyNames[w] }

// Return is how a session comes back: the connections are ordinary
// net.Conns again, in blocking use and without deadlines, and belong to whom
// done is called for. They may be other values than those that were lent, and
// the RemoteAddr of one whose peer is gone may be nil.
type Return struct {
	Ends
	Why Why
	// ToClient and ToBackend are what the Scanner passed on but that side did
	// not take: empty unless Why is Severed, Failed, or a side is gone.
	ToClient, ToBackend []byte
	Err                 error // why it failed, or what the gone side's read or write said; nil for a plain end
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
