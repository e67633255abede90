package mysqlfront_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"golang.org/x/sync/semaphore"

	"serverlessproxy/cluster"
	"serverlessproxy/credential"
	"serverlessproxy/mysqlfront"
	"serverlessproxy/pool"
	"serverlessproxy/pool/pooltest"
	"serverlessproxy/relay"
	"serverlessproxy/router"
)

// house is a front before the engine, with everything that it needs.
type house struct {
	t       *testing.T
	address string
	front   *mysqlfront.Front
	pool    *pool.Pool
	cluster *pooltest.Cluster
	tally   *pool.Tally
	unknown *pool.Tally
	target  *router.Target
}

// build makes a house; change is asked before the doors open.
func build(t *testing.T, change func(*mysqlfront.Config, *router.Target, *router.Listener)) *house {
	t.Helper()
	e := needEngine(t)
	h := &house{t: t, tally: &pool.Tally{}, unknown: &pool.Tally{}}
	h.pool, h.cluster = pooltest.New("unix", e.socket)
	h.target = &router.Target{
		Name: "my", Endpoint: "my.cluster-x1.db.example", Protocol: "mysql", Pool: h.pool, Tally: h.tally,
		Users: directory{engine: e}, Keys: credential.NewKeyring(), Upstream: router.Upstream{ProxyHeader: true},
	}
	log := slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	lender, err := relay.New(log)
	if err != nil {
		t.Fatal(err)
	}
	config := mysqlfront.Config{
		Relay: lender, TLS: certificate(t), TLSMode: mysqlfront.TLSAllow, Log: log,
		HandshakeTimeout: 5 * time.Second, MaxUnauthenticated: semaphore.NewWeighted(50), Unknown: h.unknown,
	}
	listener := &router.Listener{Protocol: "mysql", Cluster: "my"}
	if change != nil {
		change(&config, h.target, listener)
	}
	table, err := router.NewTable([]*router.Target{h.target})
	if err != nil {
		t.Fatal(err)
	}
	config.Routes = func() *router.Table { return table }
	h.front = mysqlfront.New(config)
	h.listen(listener, lender)
	return h
}

func (h *house) listen(l *router.Listener, lender *relay.Relay) {
	accept, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	h.address = accept.Addr().String()
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := accept.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { h.front.ServeConn(context.Background(), conn, l) })
		}
	})
	h.t.Cleanup(func() {
		accept.Close()
		h.front.Close()
		lender.Close()
		serving.Wait()
	})
}

// serve has the cluster available, on another generation of the engine.
func (h *house) serve() {
	h.cluster.Serve(cluster.Backend{Network: "unix", Address: needEngine(h.t).socket, Generation: 2})
}

// open is a pool of connections of one user; options as in a DSN.
func (h *house) open(login, database, options string) *sql.DB {
	db, err := sql.Open("mysql", fmt.Sprintf("%s@tcp(%s)/%s?%s", login, h.address, database, options))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { db.Close() })
	return db
}

// fails expects a login to fail with a message that begins so.
func (h *house) fails(login, database, options, want string) {
	h.t.Helper()
	err := h.open(login, database, options).Ping()
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		h.t.Errorf("login of %s to %q with %q: %v, want %s", login, database, options, err, want)
	}
}

func (h *house) hostPort() (host, port string) {
	host, port, _ = net.SplitHostPort(h.address)
	return host, port
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// testLog writes to the test's own log, until the test is over.
type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	if l.t.Context().Err() == nil {
		l.t.Log(strings.TrimSpace(string(b)))
	}
	return len(b), nil
}

var _ io.Writer = testLog{}

// certificate makes one for the front.
func certificate(t *testing.T) func() *tls.Config {
	t.Helper()
	der, key, err := makeCertificate()
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	return func() *tls.Config { return config }
}

func makeCertificate() ([]byte, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"my.cluster-x1.db.example"}}
	der, err := x509.CreateCertificate(rand.Reader, form, form, &key.PublicKey, key)
	return der, key, err
}

func init() {
	mysql.SetLogger(quiet{}) // the driver's own log of what the tests provoke
}

type quiet struct{}

func (quiet) Print(...any) {}
