package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

const small = `state_dir: state
listeners:
  - {protocol: postgres, address: "127.0.0.1:5432", cluster: shop}
clusters:
  - name: shop
    engine: postgres
    master: {password_file: shop.password}
`

// write puts files into a directory of the test's and returns the first's path.
func write(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, files[0])
}

func TestDefaults(t *testing.T) {
	path := write(t, "proxy.yaml", small, "shop.password", "secret\n")
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	shop := c.Cluster("shop")
	if shop == nil || c.Cluster("other") != nil {
		t.Fatalf("clusters: %+v", c.Clusters)
	}
	for what, pair := range map[string][2]any{
		"state_dir": {c.StateDir, filepath.Join(dir, "state")},
		"password":  {shop.Master, Master{"app", "app", filepath.Join(dir, "shop.password")}},
		"compute":   {shop.Compute, Compute{Driver: "process", Process: Process{User: "postgres", Limits: "memory"}}},
		"endpoint":  {shop.Endpoint, "shop.cluster-shop.localhost"},
		"scaling": {shop.Scaling, Scaling{
			Min: 2, Max: 16, Autoscale: true, AutoPause: true, PauseAfter: 5 * time.Minute, Timeout: 5 * time.Minute,
			TimeoutAction: "RollbackCapacityChange", CooldownAfterUp: 15 * time.Minute, CooldownAfterDown: 310 * time.Second, Method: "auto",
		}},
		"release_after": {shop.Connections.ReleaseAfter, Off},
		"store":         {shop.Snapshot.Store, "file://" + filepath.Join(dir, "state", "snapshots")},
		"ceiling":       {shop.Table.Ceiling(2), 400},
		"keepalive":     {len(shop.KeepaliveQueries), 3},
		"resume":        {shop.ResumeTimeout, time.Minute},
		"encryption":    {shop.Encryption, Encryption{Method: "auto"}},
		"admin":         {c.Admin.Address, "127.0.0.1:9630"},
		"warnings":      {len(c.Warnings), 0},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: %+v, want %+v", what, pair[0], pair[1])
		}
	}
}

func TestWithin(t *testing.T) {
	// Everything that is not a default, read back.
	text := `
state_dir: /srv/proxy
admin: {address: "off", hosts: [db.example]}
log: {level: warn, format: json}
limits: {handshake_timeout: 3s, unauthenticated: 7, drain_timeout: 0, keepalive: 1m}
cost: {acu_hour: 0.1, currency: EUR}
tls: {mode: require}
listeners:
  - {protocol: mysql, address: "[::]:3306", cluster: blog, sole: true, proxy_protocol: true}
  - {protocol: mysql, address: "[::]:3307", cluster: blog, instance: blog-1}
clusters:
  - name: blog
    engine: mariadb
    endpoint: blog.cluster-c1x2.db.example
    compute:
      driver: fixed
      address: "10.0.0.5:3306"
      user: proxy
      proxy_protocol: true
      tls: {mode: verify-full, server_name: db}
    scaling: {min_capacity: 1, max_capacity: 256, autoscale: false, auto_pause: false}
    acu: {memory: 512MiB, cpu: 1}
    wake_on: query
    keepalive_queries: []
    connections: {overflow: queue, queue_timeout: 5s, reserved: 0, admin_roles: [dba], ceilings: {1: 5, 2: 10}, release_after: 0, pinned_timeout: 1h}
    snapshot: {after: 0, store: "s3://bucket/prefix", keep: 1}
    encryption: external
`
	c, err := Parse("x.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	blog := c.Cluster("blog")
	for what, pair := range map[string][2]any{
		"admin":  {c.Admin, Admin{Hosts: []string{"db.example"}}},
		"limits": {c.Limits, Limits{3 * time.Second, 7, 0, time.Minute}},
		"server": {blog.Compute.Server, Server{
			Network: "tcp", Address: "10.0.0.5:3306", User: "proxy", ProxyProtocol: true,
			TLS: ServerTLS{Mode: "verify-full", ServerName: "db"},
		}},
		"connections": {blog.Connections, Connections{"queue", 5 * time.Second, 0, []string{"dba"}, 0, time.Hour}},
		"own ceiling": {blog.Table.Ceiling(2), 10},
		"v1 ceiling":  {blog.Table.Ceiling(4), 270},
		"unit":        {blog.Unit.Memory, int64(512 << 20)},
		"listeners":   {c.Listeners[0], Listener{"mysql", "[::]:3306", "blog", true, "", true}},
		"line":        {c.Problem("clusters.blog.scaling.min_capacity", "", "").Line, 21},
		"encryption":  {blog.Encryption.Method, "external"},
		"autopause":   {blog.Scaling.AutoPause, false},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: %+v, want %+v", what, pair[0], pair[1])
		}
	}
}

func TestAliases(t *testing.T) {
	c, err := Parse("x.yaml", []byte(`
listeners: [{protocol: postgres, address: "127.0.0.1:1", cluster: a}]
clusters:
  - {name: a, engine: postgres, master: &m {password_file: p}, scaling: &s {max_capacity: 4}}
  - {name: b, engine: postgres, master: *m, scaling: *s}
`))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Cluster("b").Scaling.Max; got != 4 {
		t.Errorf("max through an alias: %d", got)
	}
}

func TestLoadSaysWhyAFileCannotBeRead(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "absent.yaml"))
	if !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "read configuration: ") {
		t.Errorf("%v", err)
	}
}

var quotedKey = regexp.MustCompile(`[a-z_]+`)

func TestExample(t *testing.T) {
	path := write(t, "example.yaml", string(Example()), "shop.password", "x", "blog.password", "x")
	got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	minimal := `
listeners:
  - {protocol: postgres, address: "127.0.0.1:5432", cluster: shop}
  - {protocol: mysql, address: "127.0.0.1:3306", cluster: blog}
clusters:
  - {name: shop, engine: postgres, master: {password_file: shop.password}}
  - {name: blog, engine: mariadb, master: {password_file: blog.password}}
`
	if err := os.WriteFile(path, []byte(minimal), 0o600); err != nil {
		t.Fatal(err)
	}
	want, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	got.lines, want.lines = nil, nil
	// An empty list and none are the same.
	for _, c := range []*Config{got, want} {
		c.Admin.Hosts = nil
		for i := range c.Clusters {
			c.Clusters[i].Connections.AdminRoles = nil
			c.Clusters[i].Encryption.KeyCommand = nil
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the example is not the defaults:\n got %+v\nwant %+v", got, want)
	}
	t.Run("names every key", func(t *testing.T) {
		words := map[string]bool{}
		for _, word := range quotedKey.FindAllString(string(Example()), -1) {
			words[word] = true
		}
		for key := range keysOfAllDrivers() {
			if !words[key] {
				t.Errorf("key %s is not in the example", key)
			}
		}
	})
}

// TestDocumented holds docs/configuration.md to the keys that there are.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for key := range keysOfAllDrivers() {
		if !strings.Contains(string(text), "`"+key+"`") {
			t.Errorf("docs/configuration.md does not tell of %s", key)
		}
	}
}

// keysOfAllDrivers is every key that is asked for while a file is read.
func keysOfAllDrivers() map[string]bool {
	all := map[string]bool{}
	for _, driver := range []string{"process", "fixed", "command"} {
		r := newReader("x.yaml")
		r.asked = func(key string) { all[key] = true }
		text := "listeners: [{}]\nclusters: [{compute: {driver: " + driver + "}}]"
		r.parse([]byte(text))
	}
	return all
}

func TestQuickstart(t *testing.T) {
	text, err := Quickstart(QuickstartOptions{MaxCapacity: 4, SecondsUntilAutoPause: 3, PostgresAddress: "127.0.0.1:5433"})
	if err != nil {
		t.Fatal(err)
	}
	path := write(t, "serverlessproxy.yaml", string(text), "pg.password", "x", "my.password", "x")
	c, err := Load(path)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	pg, my := c.Cluster("pg"), c.Cluster("my")
	if pg == nil || my == nil || pg.Engine != "postgres" || my.Engine != "mariadb" {
		t.Fatalf("%+v", c.Clusters)
	}
	if pg.Scaling.Max != 4 || pg.Scaling.Min != 2 || my.Scaling.Min != 2 || pg.Scaling.PauseAfter != 3*time.Second {
		t.Errorf("scaling %+v and %+v", pg.Scaling, my.Scaling)
	}
	if c.StateDir != filepath.Dir(path) || c.Listeners[0].Address != "127.0.0.1:5433" || len(c.Warnings) > 0 {
		t.Errorf("%+v", c)
	}
	for name, o := range map[string]QuickstartOptions{
		"--engine oracle: not known; one of postgres, mysql, mariadb":                               {Engines: []string{"oracle"}},
		"--engine mysql: mariadb speaks the same protocol already; choose one":                      {Engines: []string{"mariadb", "mysql"}},
		"--min-capacity 3: not a capacity of PostgreSQL; one of 1, 2, 4, 8, 16, 32, 64, 192, 384":   {MinCapacity: 3},
		"--max-capacity 128: not a capacity of PostgreSQL; one of 1, 2, 4, 8, 16, 32, 64, 192, 384": {MaxCapacity: 128},
		"--min-capacity 8: more than --max-capacity 4":                                              {MinCapacity: 8, MaxCapacity: 4},
		"--seconds-until-auto-pause 90000: out of range; 1 to 86400":                                {SecondsUntilAutoPause: 90000},
	} {
		if _, err := Quickstart(o); err == nil || err.Error() != name {
			t.Errorf("%+v: %v, want %s", o, err, name)
		}
	}
	if _, err := Quickstart(QuickstartOptions{MinCapacity: 32}); err != nil {
		t.Errorf("a minimum over the default maximum: %v", err)
	}
	if _, err := Quickstart(QuickstartOptions{MaxCapacity: 1}); err != nil {
		t.Errorf("a maximum under the default minimum: %v", err)
	}
}

func TestReadSecret(t *testing.T) {
	for content, want := range map[string]string{"s3cret\n": "s3cret", "a b\r\nmore": "a b", "x": "x"} {
		if got, err := ReadSecret(write(t, "p", content)); err != nil || got != want {
			t.Errorf("%q: %q, %v", content, got, err)
		}
	}
	if _, err := ReadSecret(write(t, "p", "\nx")); err == nil {
		t.Error("an empty first line is no password")
	}
}

func TestReadUsers(t *testing.T) {
	got, err := ReadUsers(write(t, "users", "; comment\n\n\"app\" \"pa\"\"ss\"\n\"a b\"\t\"\"\n"))
	if want := map[string]string{"app": `pa"ss`, "a b": ""}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{`app "s3cret"`, `"app" s3cret`, `"app" "s3cret`, `"app" "s3cret" x`, `"" "s3cret"`, "\"a\" \"s3cret\"\n\"a\" \"s3cret\""} {
		_, err := ReadUsers(write(t, "users", bad))
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestLoadByRelativeName: a file may be called by a name that is no path from
// the root; what it names beside it is found all the same.
func TestLoadByRelativeName(t *testing.T) {
	text, err := Quickstart(QuickstartOptions{})
	if err != nil {
		t.Fatal(err)
	}
	path := write(t, "serverlessproxy.yaml", string(text), "pg.password", "x", "my.password", "x")
	t.Chdir(filepath.Dir(path))
	c, err := Load(filepath.Base(path))
	if err != nil {
		t.Fatal(err)
	}
	if c.StateDir != filepath.Dir(path) {
		t.Errorf("the state is kept in %s, want %s", c.StateDir, filepath.Dir(path))
	}
}
