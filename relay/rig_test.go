package relay

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"math/big"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

const patience = 20 * time.Second

// way is one implementation over one kind of connection: every test of the
// table runs on each.
type way struct {
	name    string
	lender  func(testing.TB) Lender
	client  func(testing.TB) (app, ours net.Conn)
	backend func(testing.TB) (app, ours net.Conn)
	// reads tells that a parked client is read to find out whether it sent
	// something.
	reads bool
}

func ways() []way {
	return append([]way{
		{name: "pair/tcp", lender: pairLender, client: tcpPair, backend: tcpPair},
		{name: "pair/unix", lender: pairLender, client: unixPair, backend: unixPair},
		{name: "pair/tls", lender: pairLender, client: tlsPair, backend: unixPair, reads: true},
		{name: "pair/tls to tls", lender: pairLender, client: tlsPair, backend: tlsPair, reads: true},
		{name: "pair/opaque", lender: pairLender, client: opaquePair, backend: tcpPair, reads: true},
		{name: "relay/tls", lender: relayLender, client: tlsPair, backend: unixPair, reads: true},
		{name: "relay/plain", lender: relayLender, client: tcpPair, backend: unixPair},
	}, loopWays()...)
}

func eachWay(t *testing.T, test func(t *testing.T, w way)) {
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) { test(t, w) })
	}
}

var quiet = slog.New(slog.DiscardHandler)

func pairLender(t testing.TB) Lender {
	p := NewPair(quiet)
	t.Cleanup(func() { must(t, p.Close()) })
	return p
}

func relayLender(t testing.TB) Lender {
	r, err := New(quiet)
	must(t, err)
	t.Cleanup(func() { must(t, r.Close()) })
	return r
}

// rig is one session between a client and a server, both ours to play.
type rig struct {
	testing.TB
	lender       Lender
	user, server net.Conn // what the client and the engine hold
	ends         Ends
	back         chan Return

	mu   sync.Mutex // protects following fields
	over bool
	ours []net.Conn // what came back
}

func newRig(t testing.TB, w way) *rig {
	r := &rig{TB: t, lender: w.lender(t), back: make(chan Return, 1)}
	r.user, r.ends.Client = w.client(t)
	r.server, r.ends.Backend = w.backend(t)
	for _, c := range []net.Conn{r.user, r.server} {
		must(t, c.SetDeadline(time.Now().Add(3*patience)))
	}
	t.Cleanup(r.end)
	return r
}

// returned takes a session back, also after the end of the test.
func (r *rig) returned(b Return) {
	r.mu.Lock()
	r.ours = append(r.ours, b.Client)
	if b.Backend != nil {
		r.ours = append(r.ours, b.Backend)
	}
	over := r.over
	r.mu.Unlock()
	r.back <- b
	if over {
		r.end()
	}
}

// end closes all that has come back.
func (r *rig) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	for _, c := range r.ours {
		_ = c.Close()
	}
}

// lend lends the session; what comes back is r.ends again, after await.
func (r *rig) lend(s Scanner) Loan {
	r.Helper()
	return r.lender.Lend(r.ends, s, r.returned)
}

func (r *rig) await(want Why) Return {
	r.Helper()
	select {
	case b := <-r.back:
		if b.Why != want {
			r.Fatalf("came back %v (%v), want %v", b.Why, b.Err, want)
		}
		r.ends = b.Ends
		return b
	case <-time.After(patience):
		r.Fatalf("did not come back, want %v", want)
	}
	panic("unreachable")
}

func (r *rig) stays() {
	r.Helper()
	select {
	case b := <-r.back:
		r.Fatalf("came back %v (%v), should have stayed", b.Why, b.Err)
	case <-time.After(30 * time.Millisecond):
	}
}

// say may be called from any goroutine.
func (r *rig) say(c net.Conn, what string) {
	r.Helper()
	if _, err := c.Write([]byte(what)); err != nil {
		r.Errorf("write %.40q: %v", what, err)
	}
}

func (r *rig) hear(c net.Conn, want string) {
	r.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		r.Fatalf("heard %.40q, %d bytes (%v), want %.40q", got[:n], n, err, want)
	}
}

// hearEnd expects that nothing more comes.
func (r *rig) hearEnd(c net.Conn) {
	r.Helper()
	if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
		r.Fatalf("heard %q (%v), want the end", rest, err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func closeAtEnd(t testing.TB, c io.Closer) { t.Cleanup(func() { _ = c.Close() }) }

func tcpPair(t testing.TB) (app, ours net.Conn) { return dialled(t, "tcp", "127.0.0.1:0") }

func unixPair(t testing.TB) (app, ours net.Conn) {
	return dialled(t, "unix", filepath.Join(t.TempDir(), "s"))
}

func dialled(t testing.TB, network, address string) (app, ours net.Conn) {
	l, err := net.Listen(network, address)
	must(t, err)
	defer l.Close()
	app, err = net.Dial(network, l.Addr().String())
	must(t, err)
	closeAtEnd(t, app)
	ours, err = l.Accept()
	must(t, err)
	closeAtEnd(t, ours)
	return app, ours
}

// tlsPair gives a client's TLS connection and the server's side of it.
func tlsPair(t testing.TB) (app, ours net.Conn) {
	rawApp, rawOurs := tcpPair(t)
	a := tls.Client(&splitter{Conn: rawApp}, &tls.Config{InsecureSkipVerify: true})
	o := tls.Server(rawOurs, &tls.Config{Certificates: []tls.Certificate{certificate()}})
	failed := make(chan error, 1)
	go func() { failed <- a.Handshake() }()
	must(t, o.Handshake())
	must(t, <-failed)
	return a, o
}

var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// opaque hides what it wraps.
type opaque struct{ net.Conn }

func opaquePair(t testing.TB) (app, ours net.Conn) {
	app, ours = tcpPair(t)
	return app, opaque{ours}
}

// halfClose ends what c sends, and leaves what it hears.
func halfClose(t testing.TB, c net.Conn) {
	must(t, c.(interface{ CloseWrite() error }).CloseWrite())
}

// smallBuffers makes connections hold little. (Not too little: a TCP window
// smaller than a loopback segment makes each byte wait for a timer.)
func smallBuffers(t testing.TB, conns ...net.Conn) {
	for _, c := range conns {
		switch s := underlyingOf(c).(type) {
		case *net.TCPConn:
			must(t, errorsOf(s.SetReadBuffer(128<<10), s.SetWriteBuffer(64<<10)))
		case *net.UnixConn:
			must(t, errorsOf(s.SetReadBuffer(4<<10), s.SetWriteBuffer(4<<10)))
		}
	}
}

func underlyingOf(c net.Conn) net.Conn {
	if o, ok := c.(opaque); ok {
		return o.Conn
	}
	return underlying(c)
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
