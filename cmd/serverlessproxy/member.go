package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
	"serverlessproxy/compute/process"
	"serverlessproxy/config"
	"serverlessproxy/credential"
	"serverlessproxy/metrics"
	"serverlessproxy/pool"
	"serverlessproxy/router"
)

// member is one cluster with all that belongs to it.
type member struct {
	config  config.Cluster
	works   *works
	cluster *cluster.Cluster
	pool    *pool.Pool
	users   *credential.Store
	target  *router.Target
	tally   *pool.Tally
	log     *slog.Logger

	saving sync.WaitGroup // copies of the users that are being made

	mu      sync.Mutex // protects version
	version string     // of the engine, once known
}

// newMember assembles a cluster. Nothing runs yet.
func newMember(c *config.Cluster, stateDir string, seen *metrics.View, ids *pool.IDs, log *slog.Logger) (*member, error) {
	works, err := build(c, stateDir, log)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(stateDir, "clusters", c.Name)
	m := &member{config: *c, works: works, tally: &pool.Tally{}, log: log.With("cluster", c.Name),
		users: credential.NewStore(filepath.Join(dir, "credentials.json"), log.With("cluster", c.Name))}
	m.cluster, err = cluster.New(cluster.Config{
		Settings: settingsOf(c), Name: c.Name, Dir: dir, Compute: m.making(), Sizer: m.size, Legal: c.Table.Check,
		Table: func() acu.Table { return m.config.Table },
		Hooks: cluster.Hooks{Started: m.started, Stopping: m.stopping}, Observer: seen, Log: log, StopTimeout: stopTimeout(works),
	})
	if err != nil {
		return nil, err
	}
	m.pool = pool.New(pool.Config{Cluster: c.Name, Waker: m.cluster, Limits: limitsOf(c), Observer: seen, IDs: ids})
	m.target = m.newTarget()
	seen.Add(metrics.Cluster{Name: c.Name, Engine: c.Engine, Driver: c.Compute.Driver, Protocol: c.Protocol,
		Version: m.engineVersion, Machine: m.cluster, Occupants: m.pool, Tally: m.tally, Volume: m.volumeBytes()})
	return m, nil
}

// stopTimeout is room for a stop command, and for looking whether its server
// is gone; 0: the cluster's own limit is enough.
func stopTimeout(w *works) time.Duration {
	if w.stopLimit == 0 {
		return 0
	}
	return 2*w.stopLimit + 10*time.Second
}

func settingsOf(c *config.Cluster) cluster.Settings {
	return cluster.Settings{
		Changes: changesOf(c), Min: c.Scaling.Min, Max: c.Scaling.Max,
		AutoPause: c.Scaling.AutoPause, PauseAfter: c.Scaling.PauseAfter, ResumeTimeout: c.ResumeTimeout,
		Autoscale: c.Scaling.Autoscale, AfterUp: c.Scaling.CooldownAfterUp, AfterDown: c.Scaling.CooldownAfterDown,
	}
}

func changesOf(c *config.Cluster) cluster.ChangeRules {
	return cluster.ChangeRules{Timeout: c.Scaling.Timeout, Action: cluster.TimeoutAction(c.Scaling.TimeoutAction), Restart: c.Scaling.Method == "restart"}
}

func limitsOf(c *config.Cluster) pool.Limits {
	return pool.Limits{Ceiling: c.Table.Ceiling, Reserved: c.Connections.Reserved,
		Queue: c.Connections.Overflow == "queue", QueueTimeout: c.Connections.QueueTimeout,
		ReleaseAfter: releaseAfter(c.Connections.ReleaseAfter), PinnedTimeout: max(c.Connections.PinnedTimeout, 0)}
}

// releaseAfter is the pool's word for the configuration's: there 0 means at
// every safe point, and off never.
func releaseAfter(configured time.Duration) time.Duration {
	switch configured {
	case config.Off:
		return 0
	case 0:
		return pool.AtOnce
	}
	return configured
}

func (m *member) newTarget() *router.Target {
	c := &m.config
	keys := credential.NewKeyring()
	if m.target != nil {
		keys = m.target.Keys
	}
	return &router.Target{Name: c.Name, Endpoint: c.Endpoint, Engine: c.Engine, Protocol: c.Protocol, Pool: m.pool, Tally: m.tally, Users: m.users,
		Keys: keys, Upstream: m.works.upstream, WakeOnQuery: c.WakeOn == "query", AdminRoles: c.Connections.AdminRoles, KeepaliveQueries: c.KeepaliveQueries}
}

// size is a capacity on this machine: the engine must admit the ceiling, the
// reserved slots and the proxy's own connections; and who is in stays in, also
// beyond the ceiling of a smaller capacity.
func (m *member) size(capacity acu.Capacity) acu.Size {
	extra := m.config.Connections.Reserved + m.works.own
	size := m.config.Table.Size(capacity, m.config.Unit, extra)
	if m.pool != nil {
		inside := 0
		for _, n := range m.pool.Counts() {
			inside += n
		}
		size.MaxConnections = max(size.MaxConnections, inside+extra)
	}
	return size
}

// started has the running engine asked for its users from now on, and keeps a
// copy in case it dies before the next pause.
func (m *member) started(ctx context.Context, b cluster.Backend) error {
	m.users.Live(m.works.source)
	size := m.size(m.cluster.Status().ResumeCapacity)
	m.saving.Go(func() { m.remember(context.WithoutCancel(ctx)) })
	if m.works.settle != nil {
		m.saving.Go(func() { m.settle(context.WithoutCancel(ctx), b, size) })
	}
	return nil
}

// settle gives a running engine what of its size would have slowed its start.
func (m *member) settle(ctx context.Context, b cluster.Backend, size acu.Size) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := m.works.settle(ctx, b.Address, size); err != nil {
		m.log.Warn("the engine does not have all of its size", "capacity", size.Capacity, "error", err)
	}
}

// remember saves the users and learns the engine's version. Clients do not
// wait for it.
func (m *member) remember(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := m.users.SaveAll(ctx); err != nil {
		m.log.Warn("cannot save the users", "error", err)
		return
	}
	if book, err := m.users.Saved(); err == nil {
		m.mu.Lock()
		m.version = book.ServerVersion
		m.mu.Unlock()
	}
}

// stopping saves the users while they can be read, for the time without an
// engine.
func (m *member) stopping(ctx context.Context, _ cluster.Backend) error {
	m.saving.Wait()
	if err := m.users.SaveAll(ctx); err != nil {
		return fmt.Errorf("save users: %w", err)
	}
	m.users.Asleep()
	return nil
}

// engineVersion is the version that runs, or the one that would.
func (m *member) engineVersion() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.version == "" {
		if book, err := m.users.Saved(); err == nil {
			m.version = book.ServerVersion
		}
	}
	// MariaDB greets with a prefix that keeps old replicas from misreading it.
	return strings.TrimPrefix(m.version, "5.5.5-")
}

// unknownUsers tells whether nobody could log in before the engine has run.
func (m *member) unknownUsers() bool {
	_, err := m.users.Saved()
	return err != nil
}

// making is the cluster's Compute: one that makes the cluster's data first,
// where there are none.
func (m *member) making() cluster.Compute {
	if m.works.local == nil {
		return m.works.compute
	}
	return &maker{Compute: m.works.local, member: m}
}

// maker creates a cluster before its first start. It has all the abilities of
// what it wraps.
type maker struct {
	*process.Compute
	member *member
}

func (k *maker) Start(ctx context.Context, size acu.Size) (cluster.Backend, error) {
	// Once it has run, data that are not there are lost, and no empty cluster
	// is made in their place.
	if k.member.unknownUsers() {
		if err := k.member.create(ctx); err != nil {
			return cluster.Backend{}, err
		}
	}
	return k.Compute.Start(ctx, size)
}

// create makes the cluster's data where there are none, with its master.
func (m *member) create(ctx context.Context) error {
	secret, err := config.ReadSecret(m.config.Master.PasswordFile)
	if err != nil {
		return fmt.Errorf("read master password: %w", err)
	}
	made, err := m.works.local.Create(ctx, process.Master{User: m.config.Master.User, Database: m.config.Master.Database, Password: credential.Secret(secret)})
	if made {
		m.log.Info("the cluster is made", "user", m.config.Master.User, "database", m.config.Master.Database)
	}
	return err
}

// run lives the cluster's life until ctx ends.
func (m *member) run(ctx context.Context) {
	sweeping, cancel := context.WithCancel(ctx)
	var sweeper sync.WaitGroup
	sweeper.Go(func() { m.pool.Run(sweeping) })
	defer sweeper.Wait()
	defer cancel()
	if err := m.cluster.Run(ctx, m.pool); err != nil && !errors.Is(err, context.Canceled) {
		m.log.Error("the cluster did not stop cleanly", "error", err)
	}
	m.saving.Wait()
	if err := m.works.closeUser.Close(); err != nil {
		m.log.Warn("cannot close the control connection", "error", err)
	}
}

// stop drains the sessions and stops the engine.
func (m *member) stop(ctx, draining context.Context) {
	m.pool.DrainAll(draining)
	if err := m.cluster.Stop(ctx); err != nil {
		m.log.Error("the engine did not stop cleanly", "error", err)
	}
}

// limits is what says how the engine is held to its size; nil where others
// see to that.
func (m *member) limits() func() string {
	if m.works.local == nil {
		return nil
	}
	return m.works.local.Limits
}

// encryption is how the volume is encrypted: so far only the platform can.
func (m *member) encryption() string {
	if m.config.Encryption.Method == "external" {
		return "external"
	}
	return "none"
}
