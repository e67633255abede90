package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
	"serverlessproxy/compute/command"
	"serverlessproxy/compute/fixed"
	"serverlessproxy/compute/process"
	"serverlessproxy/compute/process/limits"
	"serverlessproxy/config"
	"serverlessproxy/credential"
	"serverlessproxy/engine/mysql"
	"serverlessproxy/engine/postgres"
	"serverlessproxy/router"
)

// works is what runs a cluster's engine, and what knows its users.
type works struct {
	compute   cluster.Compute
	local     *process.Compute // nil unless the engine runs on this machine
	place     process.Place    // of local
	source    credential.Source
	upstream  router.Upstream
	own       int                                                            // connections of the proxy's own
	stopLimit time.Duration                                                  // for a stop; 0: the cluster's own
	settle    func(ctx context.Context, address string, size acu.Size) error // what a running engine is told of its size; nil: nothing
	closeUser io.Closer
}

// kind is how one kind of engine is put together: the only place that
// chooses by an engine's name.
type kind struct {
	process         func(c *config.Cluster, place process.Place, log *slog.Logger) (*works, process.Engine)
	reach           func(s *config.Server, secret credential.Secret, passwords map[string]credential.Secret, log *slog.Logger) (*works, fixed.Config, error)
	checkParameters func(map[string]string) error
	own             int
}

var kinds = map[string]kind{
	"postgres": {process: processPostgres, reach: reachPostgres, checkParameters: postgres.CheckParameters, own: postgres.OwnConnections},
	"mariadb":  {process: processOf(mysql.MariaDB), reach: reachMySQL, checkParameters: mysql.CheckParameters, own: mysql.OwnConnections},
	"mysql":    {process: processOf(), reach: reachMySQL, checkParameters: mysql.CheckParameters, own: mysql.OwnConnections},
}

func processPostgres(c *config.Cluster, place process.Place, log *slog.Logger) (*works, process.Engine) {
	engine := postgres.New(postgres.Config{Name: c.Name, BinDir: c.Compute.Process.BinDir, Parameters: c.Parameters, Log: log})
	network, address := engine.Address(place)
	source := postgres.NewSource(postgres.Dial{Network: network, Address: address}, nil)
	return &works{source: source, closeUser: closer(source.Close)}, engine
}

// processOf is MariaDB or MySQL; without a flavor, whichever is installed.
func processOf(flavors ...*mysql.Flavor) func(*config.Cluster, process.Place, *slog.Logger) (*works, process.Engine) {
	return func(c *config.Cluster, place process.Place, log *slog.Logger) (*works, process.Engine) {
		engine := mysql.New(mysql.Config{BinDir: c.Compute.Process.BinDir, Accept: flavors, Parameters: c.Parameters, Log: log})
		source := engine.Source(place)
		w := &works{source: source, closeUser: source, settle: engine.Settle}
		if flavor, err := engine.Flavor(); err == nil {
			w.upstream.ProxyHeader = flavor.TakesProxyHeader
		}
		return w, engine
	}
}

func reachPostgres(s *config.Server, secret credential.Secret, passwords map[string]credential.Secret, log *slog.Logger) (*works, fixed.Config, error) {
	secure, err := serverTLS(s)
	source := postgres.NewSource(postgres.Dial{Network: s.Network, Address: s.Address, User: s.User, Password: secret, TLS: secure}, passwords)
	return &works{source: source, closeUser: closer(source.Close), upstream: router.Upstream{TLS: secure}}, fixed.Config{Ping: source.Check}, err
}

func reachMySQL(s *config.Server, secret credential.Secret, passwords map[string]credential.Secret, log *slog.Logger) (*works, fixed.Config, error) {
	secure, err := serverTLS(s)
	login := mysql.Login{User: s.User, Password: secret, TLS: secure}
	source := mysql.NewSource(mysql.SourceConfig{Network: s.Network, Address: s.Address, Log: log, Login: func() (mysql.Login, error) { return login, nil }})
	ping := func(ctx context.Context) error { return mysql.Ping(ctx, s.Network, s.Address, login) }
	return &works{source: source, closeUser: source, upstream: router.Upstream{TLS: secure}}, fixed.Config{Ping: ping, Refused: mysql.Refused}, err
}

// closer makes a Closer of a function.
type closer func()

func (c closer) Close() error { c(); return nil }

// build puts together what a cluster's configuration asks for.
func build(c *config.Cluster, stateDir string, log *slog.Logger) (*works, error) {
	k := kinds[c.Engine]
	if err := k.checkParameters(c.Parameters); err != nil {
		return nil, usageError{fmt.Errorf("clusters.%s.parameters: %w", c.Name, err)}
	}
	switch c.Compute.Driver {
	case "process":
		place, err := placeOf(c, stateDir)
		if err != nil {
			return nil, err
		}
		w, engine := k.process(c, place, log)
		w.local = process.New(process.Config{Name: c.Name, Engine: engine, Place: place, Log: log, Environment: engineEnvironment(),
			Limits: limits.New(limits.Policy(c.Compute.Process.Limits), c.Name, place.Data)})
		w.compute, w.own, w.place = w.local, k.own, place
		return w, nil
	case "command":
		w, reach, err := reachServer(c, k, log)
		if err == nil {
			w.compute = commandOf(c, stateDir, reach)
			w.stopLimit = c.Compute.Commands.Timeout
		}
		return w, err
	default: // fixed: config knows no other
		w, reach, err := reachServer(c, k, log)
		if err == nil {
			w.compute = fixed.New(reach)
		}
		return w, err
	}
}

// engineEnvironment is what of the proxy's own environment its engines get:
// the time zone, which a server takes for its own.
func engineEnvironment() []string {
	if zone, set := os.LookupEnv("TZ"); set {
		return []string{"TZ=" + zone}
	}
	return nil
}

// commandOf is a server that the operator's commands start and stop. They are
// the operator's own programs, and so have the proxy's environment.
func commandOf(c *config.Cluster, stateDir string, reach fixed.Config) *command.Compute {
	run := &c.Compute.Commands
	return command.New(command.Config{
		Commands: command.Commands{Start: run.Start, Stop: run.Stop, Resize: run.Resize, Status: run.Status},
		Limit:    run.Timeout, Dir: filepath.Join(stateDir, "clusters", c.Name), Environment: os.Environ(),
		Name: c.Name, Engine: c.Engine, Server: reach, Log: reach.Log,
	})
}

// reachServer is what knows a server that the proxy has no files of, and how
// it is reached. Its Compute is still missing.
func reachServer(c *config.Cluster, k kind, log *slog.Logger) (*works, fixed.Config, error) {
	server := &c.Compute.Server
	var secret credential.Secret
	if server.PasswordFile != "" {
		text, err := config.ReadSecret(server.PasswordFile)
		if err != nil {
			return nil, fixed.Config{}, err
		}
		secret = credential.Secret(text)
	}
	passwords := map[string]credential.Secret{}
	if server.UsersFile != "" {
		users, err := config.ReadUsers(server.UsersFile)
		if err != nil {
			return nil, fixed.Config{}, err
		}
		for name, text := range users {
			passwords[name] = credential.Secret(text)
		}
	}
	w, reach, err := k.reach(server, secret, passwords, log)
	if err != nil {
		return nil, reach, err
	}
	reach.Network, reach.Address, reach.Log = server.Network, server.Address, log.With("cluster", c.Name)
	w.own = k.own
	w.upstream.ProxyHeader, w.upstream.Passwords = server.ProxyProtocol, passwords
	return w, reach, nil
}

func serverTLS(s *config.Server) (*tls.Config, error) {
	if s.TLS.Mode == "disable" {
		return nil, nil
	}
	name := s.TLS.ServerName
	if name == "" {
		name, _, _ = net.SplitHostPort(s.Address)
	}
	secure := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name}
	if s.TLS.Mode == "require" {
		// The mode's word: encrypt, and ask nobody who answers.
		secure.InsecureSkipVerify = true
		return secure, nil
	}
	if s.TLS.CA != "" {
		text, err := os.ReadFile(s.TLS.CA)
		if err != nil {
			return nil, fmt.Errorf("read authorities: %w", err)
		}
		secure.RootCAs = x509.NewCertPool()
		if !secure.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("read authorities: %s holds no PEM certificate", s.TLS.CA)
		}
	}
	return secure, nil
}

// placeOf says where a cluster's engine lives, and as whom.
func placeOf(c *config.Cluster, stateDir string) (process.Place, error) {
	dir := filepath.Join(stateDir, "clusters", c.Name)
	place := process.Place{Data: c.Compute.Process.DataDir, Run: filepath.Join(dir, "run")}
	if place.Data == "" {
		place.Data = filepath.Join(dir, "data")
	}
	uid, gid, err := process.Owner(c.Compute.Process.User)
	if err != nil {
		return place, fmt.Errorf("clusters.%s: %w", c.Name, err)
	}
	place.UID, place.GID = uid, gid
	return place, nil
}
