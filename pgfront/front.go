// Package pgfront is the PostgreSQL side of the endpoint: the whole life of a
// client's session, from the start-up packet to the last byte.
//
//	ServeConn ─► greet ─► route ─► prove ─► seat ─► backend … held … ─► log in ─► relay
//	returned  ◄─ relay: a safe point that was asked for, a parked client that speaks, an end
//
// It owns both connections of a session while the relay has not got them, the
// proof of who a client is, the keys that clients cancel by, and what errors
// look like on the wire (errors.go alone). It never knows how a cluster wakes,
// what runs the engine, or how bytes are moved.
//
// A session owns no goroutine while it is lent to the relay. Locks: Front.mu
// protects the registry of sessions, and prints.mu what spares are judged by;
// session.mu protects what the pool's calls
// and the session's own goroutine share and is never held during I/O (a
// Scanner may not take it: the relay is asked under it); session.cancelling is
// held while a cancel is on its way to the session's backend, which is not
// given up meanwhile, so that it cannot reach the backend's next owner.
package pgfront

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"serverlessproxy/pgfront/pgwire"
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
	Acquire(ctx context.Context, n int64) error
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
	// Secret makes the salts of users that there are not, so that they look
	// like those of users that there are; nil: random, until the next start.
	Secret []byte
}

// Front serves PostgreSQL's protocol.
type Front struct {
	Config
	failures throttle.Throttle
	prints   prints

	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	group  sync.WaitGroup // every connection that is served, and every session

	watching   sync.Once
	background sync.WaitGroup // watchIdle, and who reads for a hub
	readers    *semaphore.Weighted
	hubs       hubs
	readings   atomic.Int32 // see traffic.readings

	mu       sync.Mutex // protects what follows
	closed   bool
	sessions map[*session]struct{}
	keys     map[pgwire.Key]*session
	// keepalives are the engine's answers, by cluster and text.
	keepalives map[string]map[string]*keepalive
}

// New returns a Front. It serves until Close.
func New(c Config) *Front {
	if c.Secret == nil {
		c.Secret = make([]byte, 32)
		rand.Read(c.Secret)
	}
	if c.HandshakeTimeout <= 0 {
		c.HandshakeTimeout = 10 * time.Second
	}
	f := &Front{Config: c, sessions: map[*session]struct{}{}, keys: map[pgwire.Key]*session{}, keepalives: map[string]map[string]*keepalive{}}
	f.readers = semaphore.NewWeighted(int64(max(leastReaders, 2*runtime.GOMAXPROCS(0))))
	f.readings.Store(readAtOnceBegin)
	f.ctx, f.cancel = context.WithCancelCause(context.Background())
	return f
}

// ServeConn serves one client's connection, which is the Front's from now on.
// It returns when the session is lent to the relay or has ended; a session
// that is lent goes on by the relay's calls. ctx binds what is done until
// then. conn is a plain socket, or wraps one (NetConn) to name other addresses
// and changes nothing else.
func (f *Front) ServeConn(ctx context.Context, conn net.Conn, l *router.Listener) {
	if !f.enter(nil) {
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

// bare is the socket itself, which an event loop can carry.
func bare(conn net.Conn) net.Conn {
	if wrapper, ok := conn.(interface{ NetConn() net.Conn }); ok {
		return bare(wrapper.NetConn())
	}
	return conn
}

// enter counts a connection in, or a session where there is one, unless the
// Front is closed.
func (f *Front) enter(s *session) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.group.Add(1)
	if s != nil {
		f.watching.Do(func() {
			f.background.Add(1)
			go f.watchIdle()
		})
		f.sessions[s] = struct{}{}
	}
	return true
}

// leave forgets a session.
func (f *Front) leave(s *session) {
	f.mu.Lock()
	delete(f.sessions, s)
	delete(f.keys, s.shown)
	f.mu.Unlock()
	f.group.Done()
}

// Wait returns when no connection and no session is left.
func (f *Front) Wait() { f.group.Wait() }

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
	f.closeHubs()
	f.background.Wait()
}
