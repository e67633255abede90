package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"serverlessproxy/acu"
)

// kindOfEngine is what the name of an engine stands for in a configuration.
type kindOfEngine struct {
	protocol string
	table    acu.Table
	min      acu.Capacity // v1's default
	user     string       // the operating system's user of Debian's package
}

var engines = map[string]kindOfEngine{
	"postgres": {"postgres", acu.Postgres, 2, "postgres"},
	"mysql":    {"mysql", acu.MySQL, 1, "mysql"},
	"mariadb":  {"mysql", acu.MySQL, 1, "mysql"},
}

// cluster reads one cluster. The engine comes first: most defaults are its.
func cluster(s *section, stateDir string) Cluster {
	var c Cluster
	s.text("name", &c.Name)
	if clusterName.MatchString(c.Name) {
		s.rename("clusters." + c.Name)
	} else {
		s.wrong("name", named(c.Name), "lower-case letters, digits and hyphens, a letter first, at most 63")
	}
	s.oneOf("engine", &c.Engine, "postgres", "mysql", "mariadb")
	kind := engines[c.Engine]
	c.Protocol = kind.protocol
	c.Endpoint = defaultEndpoint(c.Name)
	s.text("endpoint", &c.Endpoint)
	if s.has("endpoint") {
		checkEndpoint(s, c.Endpoint)
	}
	c.Compute = compute(s.section("compute"), kind)
	c.Master = master(s, c.Compute.Driver)
	c.Scaling = scaling(s.section("scaling"), kind, c.Compute.Driver)
	c.Parameters = parameters(s, c.Compute.Driver)
	c.Unit = unit(s.section("acu"))
	c.Table, c.Connections = connections(s.section("connections"), kind.table)
	c.Snapshot = snapshot(s.section("snapshot"), stateDir)
	c.Encryption = encryption(s, c.Compute.Driver)
	s.truth("deletion_protection", &c.DeletionProtection)
	c.WakeOn, c.ResumeTimeout = "connect", time.Minute
	s.oneOf("wake_on", &c.WakeOn, "connect", "query")
	s.duration("resume_timeout", &c.ResumeTimeout, span[time.Duration]{time.Second, time.Hour})
	c.KeepaliveQueries = []string{"SELECT 1", "/* ping */ SELECT 1", "-- ping"}
	s.texts("keepalive_queries", &c.KeepaliveQueries)
	s.done()
	return c
}

func named(name string) string {
	if name == "" {
		return "missing"
	}
	return fmt.Sprintf("%q cannot name a cluster", name)
}

// defaultEndpoint has the form that lets instances be told from it, and an
// identifier that no other cluster's has.
func defaultEndpoint(name string) string { return name + ".cluster-" + name + ".localhost" }

func isHostName(name string) bool { return len(name) <= 253 && hostName.MatchString(name) }

// checkEndpoint refuses names that clients could not use: those of the forms
// that mean an instance are refused at the door.
func checkEndpoint(s *section, endpoint string) {
	if !isHostName(endpoint) {
		s.wrong("endpoint", fmt.Sprintf("%q is not a host name", endpoint), "a name such as shop.cluster-c1x2.db.example")
		return
	}
	_, rest, _ := strings.Cut(strings.ToLower(endpoint), ".")
	if strings.HasPrefix(rest, "cluster-ro-") || strings.HasPrefix(rest, "cluster-custom-") {
		s.wrong("endpoint", fmt.Sprintf("%q is the form of a reader or custom endpoint, and connections to it are refused", endpoint),
			"a cluster endpoint: NAME.cluster-ID.SUFFIX")
	}
}

func master(s *section, driver string) Master {
	sub := s.section("master")
	if driver != "process" {
		if s.has("master") {
			s.wrong("master", "only driver process makes an account", "remove it; the server of driver "+driver+" has its own accounts")
		}
		return Master{}
	}
	m := Master{User: "app", Database: "app"}
	sub.text("user", &m.User)
	sub.text("database", &m.Database)
	sub.file("password_file", &m.PasswordFile, secret)
	sub.identifier("user", m.User)
	sub.identifier("database", m.Database)
	if slices.Contains([]string{"postgres", "root", "mysql", "mariadb.sys", "serverlessproxy"}, m.User) {
		sub.wrong("user", fmt.Sprintf("%q is the server's or the proxy's own account", m.User), "another name, such as app")
	}
	if m.PasswordFile == "" {
		sub.wrong("password_file", "missing", "a file with the master's password, mode 0600")
	}
	sub.done()
	return m
}

// identifier holds a name to what all three engines take.
func (s *section) identifier(key, name string) {
	if name == "" || len(name) > 63 || strings.ContainsRune(name, 0) {
		s.wrong(key, fmt.Sprintf("%q cannot be a name", name), "1 to 63 bytes")
	}
}

func compute(s *section, kind kindOfEngine) Compute {
	c := Compute{Driver: "process"}
	s.oneOf("driver", &c.Driver, "process", "fixed", "command")
	switch c.Driver {
	case "process":
		c.Process.User, c.Process.Limits = kind.user, "memory"
		s.directory("bin_dir", &c.Process.BinDir)
		s.directory("data_dir", &c.Process.DataDir)
		s.text("user", &c.Process.User)
		s.oneOf("limits", &c.Process.Limits, "memory", "all", "off")
	case "fixed":
		c.Server = server(s)
	case "command":
		c.Server = server(s)
		c.Commands = commands(s)
	}
	s.done()
	return c
}

func (s *section) directory(key string, into *string) {
	s.text(key, into)
	*into = s.r.resolve(*into)
}

// server reads how to reach a server that others run.
func server(s *section) Server {
	v := Server{Network: "tcp"}
	s.text("address", &v.Address)
	switch {
	case v.Address == "":
		s.wrong("address", "missing", "where the server listens: HOST:PORT, or the path of its socket")
	case filepath.IsAbs(v.Address):
		v.Network = "unix"
	default:
		s.address("address", &v.Address)
	}
	s.text("user", &v.User)
	s.file("password_file", &v.PasswordFile, secret)
	s.file("users_file", &v.UsersFile, secret)
	s.truth("proxy_protocol", &v.ProxyProtocol)
	v.TLS = serverTLS(s.section("tls"))
	switch {
	case v.User == "" && v.UsersFile == "":
		s.wrong("user", "missing", "a service account that may read the users' verifiers (with password_file), or a users_file")
	case v.User == "" && v.PasswordFile != "":
		s.wrong("user", "missing", "whose password password_file holds")
	}
	return v
}

func serverTLS(s *section) ServerTLS {
	t := ServerTLS{Mode: "disable"}
	s.oneOf("mode", &t.Mode, "disable", "require", "verify-full")
	s.file("ca", &t.CA, authorities)
	s.text("server_name", &t.ServerName)
	if t.Mode != "verify-full" && t.CA+t.ServerName != "" {
		s.wrong("mode", t.Mode+" does not check a certificate", "verify-full, or no ca and server_name")
	}
	s.done()
	return t
}

func commands(s *section) Commands {
	c := Commands{Timeout: 45 * time.Second}
	s.program("start", &c.Start)
	s.program("stop", &c.Stop)
	s.texts("resize", &c.Resize)
	s.texts("status", &c.Status)
	for _, program := range [][]string{c.Start, c.Stop, c.Resize, c.Status} {
		s.findProgram(program)
	}
	s.duration("command_timeout", &c.Timeout, span[time.Duration]{time.Second, time.Hour})
	for _, key := range []string{"start", "stop"} {
		if !s.has(key) {
			s.wrong(key, "missing", `a program and its arguments: ["/usr/local/bin/db-`+key+`", "shop"]`)
		}
	}
	return c
}

func (s *section) program(key string, into *[]string) {
	s.texts(key, into)
	if s.has(key) && (len(*into) == 0 || (*into)[0] == "") {
		s.wrong(key, "names no program", `a program and its arguments: ["/usr/local/bin/db-`+key+`", "shop"]`)
	}
}

// findProgram has a program that is named by a relative path start at the
// file's directory, as all paths do; one without a slash is looked for in PATH.
func (s *section) findProgram(program []string) {
	if len(program) > 0 && strings.Contains(program[0], "/") {
		program[0] = s.r.resolve(program[0])
	}
}

// parameters reads engine settings as they would stand in the engine's own
// file. Which of them exist, only the engine can tell.
func parameters(s *section, driver string) map[string]string {
	n := s.value("parameters")
	all := map[string]string{}
	if n == nil {
		return all
	}
	sub := s.section("parameters")
	for _, key := range sub.keys {
		var value string
		sub.text(key, &value)
		all[key] = value
	}
	if driver != "process" && len(all) > 0 {
		s.wrong("parameters", "driver "+driver+" does not write the server's settings", "remove it, and set them at the server")
	}
	if _, ok := n.(*ast.MappingNode); ok {
		sub.done()
	}
	return all
}

func unit(s *section) acu.Unit {
	u := acu.DefaultUnit
	s.size("memory", &u.Memory)
	s.decimal("cpu", &u.CPU, span[float64]{0.01, 64})
	s.done()
	return u
}
