package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"serverlessproxy/admin"
)

// adminServer is the operator's API with its two ways in.
type adminServer struct {
	api       *admin.API
	listeners []net.Listener
	ready     atomic.Bool // clients are accepted
	server    *server
}

var errNotReady = errors.New("clients are not accepted yet, or any more")

// newAdmin opens the socket and, where one is configured, the address.
func newAdmin(ctx context.Context, s *server, q *quick) (*adminServer, error) {
	token, err := keptSecret(filepath.Join(s.config.StateDir, admin.TokenFile))
	if err != nil {
		return nil, err
	}
	a := &adminServer{server: s}
	a.api = admin.New(admin.Config{Clusters: a.clusters, Metrics: s.seen.Handler(), Ready: a.isReady, Token: token,
		Hosts: s.config.Admin.Hosts, Version: version, Log: s.log,
		Cost: admin.Cost{ACUHour: s.config.Cost.ACUHour, Currency: s.config.Cost.Currency}})
	socket, err := admin.Listen(ctx, filepath.Join(s.config.StateDir, admin.SocketFile))
	if err != nil {
		return nil, err
	}
	a.listeners = append(a.listeners, socket)
	if s.config.Admin.Address == "" {
		return a, nil
	}
	tcp, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.config.Admin.Address)
	if q != nil && errors.Is(err, syscall.EADDRINUSE) {
		tcp, err = q.move(ctx, s.config.Admin.Address, s.config.Limits.Keepalive)
	}
	if err != nil {
		socket.Close()
		return nil, fmt.Errorf("open admin address: %w; free the port or set admin.address to another", err)
	}
	s.adminAddress = tcp.Addr().String()
	a.listeners = append(a.listeners, tcp)
	return a, nil
}

func (a *adminServer) isReady() error {
	if !a.ready.Load() {
		return errNotReady
	}
	return nil
}

func (a *adminServer) serve(ctx context.Context) {
	if err := a.api.Serve(ctx, a.listeners...); err != nil {
		a.server.log.Error("the admin API has ended", "error", err)
	}
}

func (a *adminServer) clusters() []admin.Managed {
	var all []admin.Managed
	for _, m := range a.server.members {
		all = append(all, admin.Managed{Name: m.config.Name, Engine: m.config.Engine, Endpoint: m.config.Endpoint,
			Version: m.engineVersion, Encryption: m.encryption(), Limits: m.limits(), Machine: m.cluster, Occupants: m.pool})
	}
	return all
}
