// Package mysqlfront is the MySQL/MariaDB side of the endpoint: the whole life
// of a client's session, from the greeting to the last byte.
//
//	ServeConn ─► greet ─► TLS ─► route ─► authenticate ─► seat ─► backend … held … ─► log in ─► relay
//	returned  ◄─ relay: a command that the session must answer itself, a safe point that was asked for, an end
//
// It owns both connections of a session while the relay has not got them, the
// proof of who a client is, the numbers that clients know their connections
// by, and what errors look like on the wire (errors.go alone). It never knows
// how a cluster wakes, what runs the engine, or how bytes are moved.
//
// A session owns no goroutine while it is lent to the relay. Locks: Front.mu
// protects the list of sessions; freshness.mu what sessions begin with, and is
// held while that is read, so that it is read once; session.mu protects what the pool's calls and
// the session's own goroutine share and is never held during I/O; a session's
// engineMu is held while a KILL that names its backend is under way, so that
// it cannot reach the backend's next owner.
package mysqlfront

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"serverlessproxy/pool"
	"serverlessproxy/relay"
	"serverlessproxy/router"
	"serverlessproxy/throttle"
)

// TLSMode says whether clients may, must or cannot encrypt; the words are the
// configuration's.
type TLSMode string

const (
	TLSDisable TLSMode = "disable"
	TLSAllow   TLSMode = "allow"
	TLSRequire TLSMode = "require"
)

// Gate bounds the connections that have not authenticated yet. It is shared by
// all fronts: *semaphore.Weighted.
type Gate interface {
	TryAcquire(n int64) bool
	Release(n int64)
}

// Config is what a Front is given.
type Config struct {
	Relay              relay.Lender
	Routes             func() *router.Table
	TLS                func() *tls.Config // nil, or returning nil: no TLS
	TLSMode            TLSMode
	Log                *slog.Logger
	HandshakeTimeout   time.Duration
	MaxUnauthenticated Gate
	Unknown            *pool.Tally // counts connections whose cluster is not known
}

// Front serves MySQL's protocol.
type Front struct {
	Config
	greetings greetings
	failures  throttle.Throttle
	rsaKey    func() (*rsa.PrivateKey, error)
	decoys    decoys
	fresh     freshness

	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	group  sync.WaitGroup // every connection that is served, and every loan

	watching   sync.Once
	background sync.WaitGroup // watchIdle

	mu       sync.Mutex // protects what follows
	closed   bool
	sessions map[uint32]*session // nil while a client is not in yet
	nextID   uint32

	readings readings
}

// rsaBits is the size of the key by which clients without TLS send passwords.
const rsaBits = 2048

// New returns a Front. It serves until Close.
func New(c Config) *Front {
	f := &Front{Config: c, sessions: map[uint32]*session{}, nextID: firstID}
	f.ctx, f.cancel = context.WithCancelCause(context.Background())
	f.rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) {
		return rsa.GenerateKey(rand.Reader, rsaBits)
	})
	f.decoys = newDecoys()
	return f
}

// ServeConn serves one client's connection, which is the Front's from now on.
// It returns when the session is lent to the relay or has ended; a session
// that is lent goes on by the relay's calls. ctx binds what is done until
// then.
func (f *Front) ServeConn(ctx context.Context, conn net.Conn, l *router.Listener) {
	if !f.enter() {
		conn.Close()
		return
	}
	defer f.group.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(f.ctx, func() { cancel(context.Cause(f.ctx)) })()
	v := &visitor{front: f, listener: l, conn: bare(conn), address: conn.RemoteAddr(), tally: f.Unknown}
	v.serve(ctx)
}

// bare is the plain socket of a connection that only names other addresses (a
// load balancer's client): the relay can have it as it is.
func bare(conn net.Conn) net.Conn {
	if wrapper, ok := conn.(interface{ NetConn() net.Conn }); ok {
		return bare(wrapper.NetConn())
	}
	return conn
}

// enter counts somebody in, unless the Front is closed.
func (f *Front) enter() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.group.Add(1)
	f.watching.Do(func() { f.background.Go(f.watchIdle) })
	return true
}

// Wait returns when no session is left.
func (f *Front) Wait() { f.group.Wait() }

// errClosed is why a Front that is closed ends its sessions.
var errClosed = errors.New("the front is closed")

// Close ends all sessions at once and returns when they have ended.
func (f *Front) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.cancel(errClosed)
	for _, s := range f.everybody() {
		s.Close(pool.Draining)
	}
	f.group.Wait()
	f.background.Wait()
}
