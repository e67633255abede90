package config

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"
)

// maxFile bounds a configuration file.
const maxFile = 1 << 20

// Load reads a configuration file and the files that it names. The error is
// an *Errors with every mistake, or says why the file cannot be read.
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	r := newReader(path)
	c := r.parse(data)
	r.checkFiles()
	return r.result(c)
}

// Parse reads a configuration without looking at any file; name is where it
// came from, for messages and for the paths in it.
func Parse(name string, data []byte) (*Config, error) {
	r := newReader(name)
	c := r.parse(data)
	return r.result(c)
}

func (r *reader) result(c *Config) (*Config, error) {
	if err := NewErrors(r.problems); err != nil {
		return nil, err
	}
	c.Warnings = inOrder(r.warnings)
	c.lines = r.lines
	return c, nil
}

func (r *reader) parse(data []byte) *Config {
	c := &Config{File: r.file}
	if len(data) > maxFile {
		r.add(Problem{Wrong: "larger than 1 MiB", Right: "a configuration is a few hundred lines"})
		return c
	}
	top := r.read(data)
	if len(r.problems) > 0 {
		return c
	}
	c.StateDir = "/var/lib/serverlessproxy"
	top.text("state_dir", &c.StateDir)
	if c.StateDir == "" {
		top.wrong("state_dir", "empty", "a directory of the proxy's own")
	}
	c.StateDir = r.resolve(c.StateDir)
	c.Admin = admin(top.section("admin"))
	c.Log = log(top.section("log"))
	c.Limits = limits(top.section("limits"))
	c.Cost = cost(top.section("cost"))
	c.TLS = tlsFiles(top.section("tls"))
	clusters := top.sections("clusters")
	for _, s := range clusters {
		c.Clusters = append(c.Clusters, cluster(s, c.StateDir))
	}
	listeners := top.sections("listeners")
	for _, s := range listeners {
		c.Listeners = append(c.Listeners, listener(s))
	}
	top.done()
	checkTogether(c, together{top: top, listeners: listeners, clusters: clusters})
	return c
}

func newReader(name string) *reader {
	return &reader{file: name, anchors: anchors{}, lines: map[string]int{}, asked: func(string) {}}
}

func admin(s *section) Admin {
	a := Admin{Address: "127.0.0.1:9630"}
	if words, _ := scalar(s.value("address")); words == "off" {
		a.Address = ""
	} else {
		s.address("address", &a.Address)
	}
	s.texts("hosts", &a.Hosts)
	for i, host := range a.Hosts {
		if !isHostName(host) {
			s.wrong(fmt.Sprintf("hosts[%d]", i), fmt.Sprintf("%q is not a host name", host), "a name without port, such as db-admin.example")
		}
	}
	if host, _, err := net.SplitHostPort(a.Address); err == nil && !isLoopback(host) {
		s.warn("address", "the admin API is plain HTTP, and others than this machine can reach it",
			"keep it on 127.0.0.1 and put a server with TLS before it")
	}
	s.done()
	return a
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

func log(s *section) Log {
	level, format := "info", "text"
	s.oneOf("level", &level, "debug", "info", "warn", "error")
	s.oneOf("format", &format, "text", "json")
	s.done()
	l := Log{Format: format}
	if err := l.Level.UnmarshalText([]byte(level)); err != nil {
		l.Level = slog.LevelInfo
	}
	return l
}

func limits(s *section) Limits {
	l := Limits{HandshakeTimeout: 10 * time.Second, Unauthenticated: 500, DrainTimeout: 30 * time.Second, Keepalive: 30 * time.Second}
	s.duration("handshake_timeout", &l.HandshakeTimeout, span[time.Duration]{time.Second, 10 * time.Minute})
	s.integer("unauthenticated", &l.Unauthenticated, span[int]{1, 1_000_000})
	s.duration("drain_timeout", &l.DrainTimeout, span[time.Duration]{0, time.Hour})
	s.duration("keepalive", &l.Keepalive, span[time.Duration]{time.Second, 2 * time.Hour})
	s.done()
	return l
}

func cost(s *section) Cost {
	c := Cost{ACUHour: 0.06, Currency: "USD"}
	s.decimal("acu_hour", &c.ACUHour, span[float64]{0, 1e6})
	s.text("currency", &c.Currency)
	if !currency.MatchString(c.Currency) {
		s.wrong("currency", fmt.Sprintf("%q is not a currency", c.Currency), "three capital letters such as USD or EUR")
	}
	s.done()
	return c
}

func tlsFiles(s *section) TLS {
	t := TLS{Mode: "allow"}
	s.oneOf("mode", &t.Mode, "disable", "allow", "require")
	s.file("cert", &t.Cert, public)
	s.file("key", &t.Key, secret)
	s.file("client_ca", &t.ClientCA, authorities)
	switch {
	case t.Cert != "" && t.Key == "":
		s.wrong("key", "missing", "the private key of tls.cert")
	case t.Cert == "" && t.Key != "":
		s.wrong("cert", "missing", "the certificate of tls.key")
	case t.Cert != "":
		s.r.pairs = append(s.r.pairs, filePair{s: s, cert: t.Cert, key: t.Key})
	}
	if t.Mode == "disable" && t.Cert+t.ClientCA != "" {
		s.warn("mode", "a certificate is given and TLS is disabled", "mode: allow, or require")
	}
	s.done()
	return t
}

func listener(s *section) Listener {
	var l Listener
	s.oneOf("protocol", &l.Protocol, "postgres", "mysql")
	s.address("address", &l.Address)
	s.text("cluster", &l.Cluster)
	s.truth("sole", &l.Sole)
	s.text("instance", &l.Instance)
	s.truth("proxy_protocol", &l.ProxyProtocol)
	s.done()
	switch {
	case l.Cluster != "":
	case l.Sole:
		s.wrong("cluster", "missing", "with sole: true, the cluster that is served here")
	case l.Instance != "":
		s.wrong("cluster", "missing", "the cluster whose endpoint refused clients are told to use")
	case l.Protocol == "mysql":
		s.wrong("cluster", "missing", "a MySQL server speaks first, so a mysql listener needs the cluster in whose name it greets")
	}
	return l
}
