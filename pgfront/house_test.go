package pgfront_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/semaphore"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
	"serverlessproxy/credential"
	"serverlessproxy/pgfront"
	"serverlessproxy/pool"
	"serverlessproxy/pool/pooltest"
	"serverlessproxy/relay"
	"serverlessproxy/router"
)

// house is a Front with all that is around it, before the engine.
type house struct {
	t       *testing.T
	front   *pgfront.Front
	pool    *pool.Pool
	cluster *pooltest.Cluster
	target  *router.Target
	tally   *pool.Tally
	unknown *pool.Tally
	address *net.TCPAddr
	cert    tls.Certificate

	listener *router.Listener
}

// option changes a house before it is opened.
type option func(*house, *pgfront.Config)

func withTarget(change func(*router.Target)) option {
	return func(h *house, _ *pgfront.Config) { change(h.target) }
}

func withConfig(change func(*pgfront.Config)) option {
	return func(_ *house, c *pgfront.Config) { change(c) }
}

func wakeOnQuery(t *router.Target) { t.WakeOnQuery = true }

// open opens a house on a port of its own.
func open(t *testing.T, options ...option) *house {
	t.Helper()
	h := &house{t: t, tally: &pool.Tally{}, unknown: &pool.Tally{}}
	h.pool, h.cluster = pooltest.New("unix", server.socket)
	h.target = &router.Target{
		Name: "test", Endpoint: "test.cluster-x1.db.example", Engine: "postgres", Protocol: "postgres",
		Pool: h.pool, Tally: h.tally, Users: server, Keys: credential.NewKeyring(),
	}
	var err error
	if h.cert, _, _, err = newCertificate("localhost", h.target.Endpoint); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	lender, err := relay.New(log)
	if err != nil {
		t.Fatal(err)
	}
	config := pgfront.Config{
		Relay: lender, TLSMode: pgfront.TLSAllow, Log: log, HandshakeTimeout: 20 * time.Second,
		TLS:                func() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{h.cert}} },
		MaxUnauthenticated: semaphore.NewWeighted(100), Unknown: h.unknown,
	}
	h.listener = &router.Listener{Protocol: "postgres", Cluster: "test"}
	for _, change := range options {
		change(h, &config)
	}
	table, err := router.NewTable([]*router.Target{h.target})
	if err != nil {
		t.Fatal(err)
	}
	config.Routes = func() *router.Table { return table }
	h.front = pgfront.New(config)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.address = l.Addr().(*net.TCPAddr)
	var serving sync.WaitGroup
	serving.Go(func() { h.serve(l, &serving) })
	sweeping, stopSweeping := context.WithCancel(context.Background())
	serving.Go(func() { h.pool.Run(sweeping) })
	t.Cleanup(func() {
		stopSweeping()
		l.Close()
		h.front.Close()
		serving.Wait()
		h.pool.DrainAll(context.Background()) // or its spares would take the next house's room
		if err := lender.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *house) serve(l net.Listener, serving *sync.WaitGroup) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		serving.Go(func() { h.front.ServeConn(context.Background(), conn, h.listener) })
	}
}

// dsn is how user app reaches the house; more settings may follow.
func (h *house) dsn(more string) string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=app password=secret dbname=app sslmode=disable connect_timeout=20 %s", h.address.Port, more)
}

func (h *house) connect(more string) *pgx.Conn {
	h.t.Helper()
	conn, err := pgx.Connect(h.ctx(), h.dsn(more))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func (h *house) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	h.t.Cleanup(cancel)
	return ctx
}

// dial is a bare connection.
func (h *house) dial() *net.TCPConn {
	h.t.Helper()
	conn, err := net.DialTCP("tcp", nil, h.address)
	if err != nil {
		h.t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	h.t.Cleanup(func() { conn.Close() })
	return conn
}

func (h *house) refused(reason string) (n int64) {
	count := func(r string, c int64) {
		if r == reason {
			n += c
		}
	}
	h.tally.Refused(count)
	h.unknown.Refused(count)
	return n
}

// engineBackend is where the cluster of a house serves.
func engineBackend() cluster.Backend {
	return cluster.Backend{Network: "unix", Address: server.socket, Generation: 1}
}

func asleep(h *house, _ *pgfront.Config) { h.cluster.Sleep() }

type acuCapacity = acu.Capacity

func (h *house) poolLimits() pool.Limits { return pooltest.Limits(100) }
