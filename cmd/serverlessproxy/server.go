package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"

	"serverlessproxy/cluster"
	"serverlessproxy/config"
	"serverlessproxy/metrics"
	"serverlessproxy/mysqlfront"
	"serverlessproxy/pgfront"
	"serverlessproxy/pool"
	"serverlessproxy/relay"
	"serverlessproxy/router"
)

// server is everything that runs.
type server struct {
	log          *slog.Logger
	level        *slog.LevelVar
	seen         *metrics.View
	ids          *pool.IDs
	relay        *relay.Relay
	certificate  *certificate
	routes       atomic.Pointer[router.Table]
	fronts       map[string]sessionFront
	doors        []*door
	members      []*member
	admin        *adminServer
	adminAddress string

	living context.Context // ends when everything is to end
	end    context.CancelFunc
	tasks  sync.WaitGroup // doors, clusters, admin, events
	thrift thrift

	config *config.Config // what is in force; the main goroutine alone changes it
}

// sessionFront is a front with its end.
type sessionFront interface {
	front
	Close()
}

// newServer opens every port and assembles everything; nothing runs yet. On
// an error nothing is left open.
func newServer(ctx context.Context, cfg *config.Config, q *quick, log *slog.Logger) (s *server, err error) {
	s = &server{config: cfg, log: log, seen: metrics.New(), ids: &pool.IDs{}}
	s.living, s.end = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			s.closePorts()
			s.end()
		}
	}()
	if q != nil {
		q.choose(cfg)
	}
	if err := s.openPorts(ctx, q); err != nil {
		return nil, err
	}
	if s.certificate, err = loadCertificate(cfg.TLS.Cert, cfg.TLS.Key, cfg.TLS.ClientCA, cfg.StateDir, log); err != nil {
		return nil, err
	}
	for i := range cfg.Clusters {
		m, err := newMember(&cfg.Clusters[i], cfg.StateDir, s.seen, s.ids, log)
		if err != nil {
			return nil, err
		}
		s.members = append(s.members, m)
	}
	if err := s.route(); err != nil {
		return nil, err
	}
	if s.relay, err = relay.New(log); err != nil {
		return nil, err
	}
	if err := s.makeFronts(); err != nil {
		return nil, err
	}
	s.admin, err = newAdmin(ctx, s, q)
	return s, err
}

// route makes the table of targets anew.
func (s *server) route() error {
	var targets []*router.Target
	for _, m := range s.members {
		targets = append(targets, m.target)
	}
	table, err := router.NewTable(targets)
	if err != nil {
		return usageError{err}
	}
	s.routes.Store(table)
	return nil
}

func (s *server) makeFronts() error {
	secret, err := keptSecret(filepath.Join(s.config.StateDir, "mock.secret"))
	if err != nil {
		return err
	}
	gate := semaphore.NewWeighted(int64(s.config.Limits.Unauthenticated))
	unknown := map[string]*pool.Tally{"postgres": {}, "mysql": {}}
	for protocol, tally := range unknown {
		s.seen.AddUnknown(protocol, tally)
	}
	secure := s.certificate.current
	if s.config.TLS.Mode == "disable" {
		secure = func() *tls.Config { return nil }
	}
	s.fronts = map[string]sessionFront{
		"postgres": pgfront.New(pgfront.Config{Relay: s.relay, Routes: s.routes.Load, TLS: secure, TLSMode: pgfront.TLSMode(s.config.TLS.Mode),
			Log: s.log, HandshakeTimeout: s.config.Limits.HandshakeTimeout, MaxUnauthenticated: gate, Unknown: unknown["postgres"], Secret: []byte(secret)}),
		"mysql": mysqlfront.New(mysqlfront.Config{Relay: s.relay, Routes: s.routes.Load, TLS: secure, TLSMode: mysqlfront.TLSMode(s.config.TLS.Mode),
			Log: s.log, HandshakeTimeout: s.config.Limits.HandshakeTimeout, MaxUnauthenticated: gate, Unknown: unknown["mysql"]}),
	}
	for _, d := range s.doors {
		d.front = s.fronts[d.router.Protocol]
	}
	return nil
}

// openPorts opens every listening address, before anything is started.
func (s *server) openPorts(ctx context.Context, q *quick) error {
	for i := range s.config.Listeners {
		l := &s.config.Listeners[i]
		listener, err := openDoor(ctx, l.Address, s.config.Limits.Keepalive)
		if err != nil && q != nil && errors.Is(err, syscall.EADDRINUSE) {
			listener, err = q.move(ctx, l.Address, s.config.Limits.Keepalive)
		}
		if err != nil {
			return err
		}
		d := &door{Listener: listener, log: s.log,
			router: &router.Listener{Protocol: l.Protocol, Address: l.Address, Cluster: l.Cluster, Instance: l.Instance, Sole: l.Sole}}
		if l.ProxyProtocol {
			d.proxyTimeout = s.config.Limits.HandshakeTimeout
		}
		s.doors = append(s.doors, d)
	}
	return nil
}

func (s *server) closePorts() {
	for _, d := range s.doors {
		d.Close()
	}
}

// choose lets a quickstart's flags say where it listens.
func (q *quick) choose(cfg *config.Config) {
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		switch {
		case l.Protocol == "postgres" && q.options.PostgresAddress != "":
			l.Address = q.options.PostgresAddress
		case l.Protocol == "mysql" && q.options.MySQLAddress != "":
			l.Address = q.options.MySQLAddress
		}
	}
	if q.options.AdminAddress != "" {
		cfg.Admin.Address = q.options.AdminAddress
	}
}

// move finds the next free port for a taken one, and says so.
func (q *quick) move(ctx context.Context, taken string, keepalive time.Duration) (net.Listener, error) {
	next, err := nextFreePort(taken)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(q.out, "%s is taken: using %s\n", taken, next)
	return openDoor(ctx, next, keepalive)
}

// start makes what lacks, runs the clusters and opens the doors.
func (s *server) start(ctx context.Context) {
	for _, m := range s.members {
		s.tasks.Go(func() { m.run(s.living) })
		s.tasks.Go(func() { s.thrift.follow(s.living, m.cluster) })
	}
	// Until an engine has run once nobody knows its users: it is made and
	// started now. One that fails is told of in its status; the others serve.
	together(s.members, func(m *member) {
		if !m.unknownUsers() {
			return
		}
		if err := m.cluster.Resume(ctx, cluster.Manual); err != nil {
			m.log.Error("the cluster cannot be started", "error", err)
			return
		}
		m.saving.Wait()
	})
	s.tasks.Go(func() { s.admin.serve(s.living) })
	for _, d := range s.doors {
		s.tasks.Go(func() { d.serve(s.living) })
	}
	s.admin.ready.Store(true)
}

// stop closes the doors, lets what runs finish, and stops the engines.
// What runs may finish until draining ends; the engines' stop has all of ctx.
func (s *server) stop(ctx, draining context.Context) {
	s.admin.ready.Store(false)
	s.closePorts()
	together(s.members, func(m *member) { m.stop(ctx, draining) })
	for _, f := range s.fronts {
		f.Close()
	}
	s.end()
	s.tasks.Wait()
	if err := s.relay.Close(); err != nil {
		s.log.Error("cannot close the relay", "error", err)
	}
}
