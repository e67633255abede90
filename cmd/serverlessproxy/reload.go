package main

import (
	"context"
	"reflect"

	"serverlessproxy/config"
)

// reload reads the configuration again and applies what can change while
// clients are connected; for the rest it says that a restart is needed. A
// file with mistakes changes nothing.
func (s *server) reload(ctx context.Context) {
	cfg, err := config.Load(s.config.File)
	if err != nil {
		s.log.Error("the configuration is not reloaded: nothing has changed", "error", err)
		return
	}
	if err := s.certificate.reload(); err != nil {
		s.log.Error("keeping the old TLS certificate", "error", err)
	}
	s.level.Set(cfg.Log.Level)
	s.config.Log.Level = cfg.Log.Level
	s.config.Limits.DrainTimeout = cfg.Limits.DrainTimeout
	for _, key := range needRestart(s.config, cfg) {
		s.log.Warn("this change needs a restart", "key", key)
	}
	for _, m := range s.members {
		if next := cfg.Cluster(m.config.Name); next != nil {
			m.reconfigure(ctx, next)
		}
	}
	if err := s.route(); err != nil {
		s.log.Error("the routes are not reloaded", "error", err)
	}
	s.log.Info("configuration reloaded", "file", cfg.File)
}

// reconfigure applies what of a cluster can change while it runs.
func (m *member) reconfigure(ctx context.Context, next *config.Cluster) {
	m.config.Scaling, m.config.Connections, m.config.Table = next.Scaling, next.Connections, next.Table
	m.config.ResumeTimeout, m.config.WakeOn, m.config.KeepaliveQueries = next.ResumeTimeout, next.WakeOn, next.KeepaliveQueries
	m.pool.Configure(limitsOf(&m.config))
	if err := m.cluster.Configure(ctx, settingsOf(&m.config)); err != nil {
		m.log.Error("the cluster's settings are not reloaded", "error", err)
	}
	m.tune(ctx, next.Parameters)
	m.target = m.newTarget()
}

// tune gives the engine the parameters that are configured now. What it refuses
// it has told by an event.
func (m *member) tune(ctx context.Context, parameters map[string]string) {
	if m.works.local == nil { // config has refused them
		return
	}
	if err := m.cluster.Tune(ctx, parameters); err != nil {
		m.log.Error("the cluster's parameters are not reloaded", "error", err)
	}
}

// needRestart names the keys that differ and cannot change while clients are
// connected.
func needRestart(old, next *config.Config) (keys []string) {
	differ := func(key string, a, b any) {
		if !reflect.DeepEqual(a, b) {
			keys = append(keys, key)
		}
	}
	differ("state_dir", old.StateDir, next.StateDir)
	differ("admin", old.Admin, next.Admin)
	differ("log.format", old.Log.Format, next.Log.Format)
	differ("limits.handshake_timeout", old.Limits.HandshakeTimeout, next.Limits.HandshakeTimeout)
	differ("limits.unauthenticated", old.Limits.Unauthenticated, next.Limits.Unauthenticated)
	differ("limits.keepalive", old.Limits.Keepalive, next.Limits.Keepalive)
	differ("tls", old.TLS, next.TLS)
	differ("listeners", old.Listeners, next.Listeners)
	for i := range old.Clusters {
		a := &old.Clusters[i]
		b := next.Cluster(a.Name)
		if b == nil {
			keys = append(keys, "clusters."+a.Name+" (removed)")
			continue
		}
		differ("clusters."+a.Name+".engine", a.Engine, b.Engine)
		differ("clusters."+a.Name+".endpoint", a.Endpoint, b.Endpoint)
		differ("clusters."+a.Name+".compute", a.Compute, b.Compute)
		differ("clusters."+a.Name+".acu", a.Unit, b.Unit)
	}
	for i := range next.Clusters {
		if old.Cluster(next.Clusters[i].Name) == nil {
			keys = append(keys, "clusters."+next.Clusters[i].Name+" (new)")
		}
	}
	return keys
}
