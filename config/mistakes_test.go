package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const listeners = "listeners: [{protocol: postgres, address: \"127.0.0.1:5432\"}]\n"

// in is a file whose one cluster has these further keys; they start on line 3.
func in(keys string) string {
	return listeners + "clusters:\n  - name: shop\n    engine: postgres\n    master: {password_file: p}\n" + keys
}

func TestMistakes(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want []string
	}{
		"empty":        {"", []string{"x.yaml: the file is empty; `serverlessproxy config example` prints a complete one"}},
		"syntax":       {"a: [1\nb: 2\n", []string{"x.yaml:2: not YAML: ',' or ']' must be specified"}},
		"not keys":     {"- a\n", []string{"x.yaml:1: this is a list; keys and values are wanted here"}},
		"twice":        {"log: {}\nlog: {}\n", []string{`x.yaml:2: not YAML: mapping key "log" already defined at [1:1]`}},
		"two files":    {"log: {}\n---\nlog: {}\n", []string{"x.yaml:3: a second document; put everything into the first one"}},
		"nothing":      {"log: {}\n", []string{"x.yaml:1: clusters: no cluster; at least one; `serverlessproxy config example` shows how", "x.yaml:1: listeners: no listener; at least one; `serverlessproxy config example` shows how"}},
		"merge":        {in("    scaling: {<<: {max_capacity: 4}}\n"), []string{"x.yaml:6: clusters.shop.scaling: merge keys (<<) are not read; write the keys out"}},
		"unknown key":  {in("    scaling: {max_capactiy: 4}\n"), []string{`x.yaml:6: clusters.shop.scaling.max_capactiy: unknown key; did you mean "max_capacity"?`}},
		"far off key":  {in("    zzzzzzz: 4\n"), []string{`x.yaml:6: clusters.shop.zzzzzzz: unknown key; remove it`}},
		"wrong driver": {in("    compute: {driver: process, address: \"a:1\"}\n"), []string{`x.yaml:6: clusters.shop.compute.address: unknown key; remove it`}},
		"capacity":     {in("    scaling: {min_capacity: 3, max_capacity: 128}\n"), []string{"x.yaml:6: clusters.shop.scaling.min_capacity: 3 is not a capacity of PostgreSQL; one of 1, 2, 4, 8, 16, 32, 64, 192, 384", "x.yaml:6: clusters.shop.scaling.max_capacity: 128 is not a capacity of PostgreSQL; one of 1, 2, 4, 8, 16, 32, 64, 192, 384"}},
		"min over max": {in("    scaling:\n      min_capacity: 8\n      max_capacity: 4\n"), []string{"x.yaml:7: clusters.shop.scaling.min_capacity: 8 is more than max_capacity, 4; at most max_capacity"}},
		"ranges":       {in("    scaling:\n      seconds_before_timeout: 9\n      seconds_until_auto_pause: 0\n      cooldown_after_up: 25h\n"), []string{"x.yaml:7: clusters.shop.scaling.seconds_before_timeout: 9 is out of range; 10 to 600", "x.yaml:8: clusters.shop.scaling.seconds_until_auto_pause: 0 is out of range; 1 to 86400", "x.yaml:9: clusters.shop.scaling.cooldown_after_up: 25h0m0s is out of range; 0s to 24h0m0s"}},
		"types":        {in("    wake_on: [a]\n    deletion_protection: \"yes\"\n    resume_timeout: 10\n    acu: {memory: 2, cpu: x}\n"), []string{`x.yaml:6: clusters.shop.wake_on: this is a list; text is wanted`, "x.yaml:7: clusters.shop.deletion_protection: this is text; true or false, without quotes", `x.yaml:8: clusters.shop.resume_timeout: "10" is not a duration; a number and a unit such as 500ms, 10s, 5m or 2h`, `x.yaml:9: clusters.shop.acu.memory: "2" is not a size; a number and a unit such as 512MiB or 2GiB`, "x.yaml:9: clusters.shop.acu.cpu: not a number; 0.01 to 64"}},
		"words":        {in("    wake_on: login\n"), []string{`x.yaml:6: clusters.shop.wake_on: "login" is not known; one of connect, query`}},
		"off":          {in("    encryption: {method: off}\n"), []string{"x.yaml:6: clusters.shop.encryption.method: the volume is always encrypted; auto, fscrypt or gocryptfs; external where the platform encrypts the disk itself"}},
		"false":        {in("    encryption: false\n"), []string{"x.yaml:6: clusters.shop.encryption: the volume is always encrypted; auto, fscrypt or gocryptfs; external where the platform encrypts the disk itself"}},
		"null":         {in("    encryption: ~\n"), []string{"x.yaml:6: clusters.shop.encryption: the volume is always encrypted; auto, fscrypt or gocryptfs; external where the platform encrypts the disk itself"}},
		"two keys":     {in("    encryption: {key_command: [a], key_file: b}\n"), []string{"x.yaml:6: clusters.shop.encryption.key_file: more than one source of the key; one of key_file, key_command and key_age"}},
		"store":        {in("    snapshot: {store: \"ftp://x\"}\n"), []string{`x.yaml:6: clusters.shop.snapshot.store: "ftp://x" is no store that is known; file:///DIR, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or azblob://CONTAINER/PREFIX`}},
		"ceilings":     {in("    connections: {ceilings: {3: 5, 2: x}}\n"), []string{`x.yaml:6: clusters.shop.connections.ceilings.3: "3" is not a capacity of PostgreSQL; one of 1, 2, 4, 8, 16, 32, 64, 192, 384`, "x.yaml:6: clusters.shop.connections.ceilings.2: not a whole number; 1 to 100000"}},
		"endpoint":     {in("    endpoint: shop.cluster-ro-c1.db.example\n"), []string{`x.yaml:6: clusters.shop.endpoint: "shop.cluster-ro-c1.db.example" is the form of a reader or custom endpoint, and connections to it are refused; a cluster endpoint: NAME.cluster-ID.SUFFIX`}},
		"bad name":     {listeners + "clusters: [{name: Shop_1, engine: postgres, master: {password_file: p}}]\n", []string{`x.yaml:2: clusters[0].name: "Shop_1" cannot name a cluster; lower-case letters, digits and hyphens, a letter first, at most 63`}},
		"no engine":    {listeners + "clusters: [{name: shop, master: {password_file: p}}]\n", []string{"x.yaml:2: clusters.shop.engine: missing; one of postgres, mysql, mariadb"}},
		"no password":  {listeners + "clusters: [{name: shop, engine: postgres}]\n", []string{"x.yaml:2: clusters.shop.master.password_file: missing; a file with the master's password, mode 0600"}},
		"superuser":    {listeners + "clusters: [{name: shop, engine: postgres, master: {user: postgres, password_file: p}}]\n", []string{`x.yaml:2: clusters.shop.master.user: "postgres" is the server's or the proxy's own account; another name, such as app`}},
		"fixed": {listeners + "clusters: [{name: shop, engine: postgres, master: {}, compute: {driver: fixed}, parameters: {a: b}, scaling: {auto_pause: true}}]\n", []string{
			"x.yaml:2: clusters.shop.compute.address: missing; where the server listens: HOST:PORT, or the path of its socket",
			"x.yaml:2: clusters.shop.compute.user: missing; a service account that may read the users' verifiers (with password_file), or a users_file",
			"x.yaml:2: clusters.shop.master: only driver process makes an account; remove it; the server of driver fixed has its own accounts",
			"x.yaml:2: clusters.shop.scaling.auto_pause: a server of driver fixed is run by others and cannot be paused; false, or driver process or command",
			"x.yaml:2: clusters.shop.parameters: driver fixed does not write the server's settings; remove it, and set them at the server",
			"x.yaml:2: clusters.shop.encryption.method: the volume of driver fixed is not the proxy's to encrypt; encryption: external, if the server's disk is encrypted where it runs",
		}},
		"command": {listeners + "clusters: [{name: shop, engine: postgres, encryption: external, compute: {driver: command, address: \"/run/s\", users_file: u, start: []}}]\n", []string{
			`x.yaml:2: clusters.shop.compute.start: names no program; a program and its arguments: ["/usr/local/bin/db-start", "shop"]`,
			`x.yaml:2: clusters.shop.compute.stop: missing; a program and its arguments: ["/usr/local/bin/db-stop", "shop"]`,
		}},
		"duplicates": {listeners + "clusters:\n  - {name: a, engine: postgres, master: {password_file: p}, endpoint: x.y}\n  - {name: a, engine: postgres, master: {password_file: p}, endpoint: X.y.}\n", []string{
			`x.yaml:4: clusters.a.endpoint: "X.y." is not a host name; a name such as shop.cluster-c1x2.db.example`,
			`x.yaml:4: clusters.a.name: "a" is taken (line 3); one that no other has`,
			`x.yaml:4: clusters.a.endpoint: "x.y" is taken (line 3); one that no other has`,
		}},
		"listeners": {`admin: {address: "127.0.0.1:1"}
clusters: [{name: shop, engine: postgres, master: {password_file: p}}]
listeners:
  - {protocol: postgres, address: "0.0.0.0:1"}
  - {protocol: mysql, address: "127.0.0.1:2"}
  - {protocol: mysql, address: "127.0.0.1:3", cluster: shop}
  - {protocol: postgres, address: "127.0.0.1:4", cluster: shopp}
  - {protocol: postgres, address: "127.0.0.1", instance: shop-1}
  - {protocol: postgres, address: "127.0.0.1:5", sole: true}
  - {address: "127.0.0.1:0"}
  - {protocol: postgres}
  - {protocol: postgres, address: "a b:5"}
  - {protocol: postgres, address: "localhost:70000"}
`, []string{
			`x.yaml:4: listeners[0].address: 0.0.0.0:1 is taken (line 1); another port`,
			`x.yaml:5: listeners[1].cluster: missing; a MySQL server speaks first, so a mysql listener needs the cluster in whose name it greets`,
			`x.yaml:6: listeners[2].cluster: "shop" speaks postgres, this listener mysql; a cluster of the listener's protocol`,
			`x.yaml:7: listeners[3].cluster: there is no cluster "shopp"; did you mean "shop"?`,
			`x.yaml:8: listeners[4].address: "127.0.0.1" is not HOST:PORT; an address`,
			`x.yaml:8: listeners[4].cluster: missing; the cluster whose endpoint refused clients are told to use`,
			`x.yaml:9: listeners[5].cluster: missing; with sole: true, the cluster that is served here`,
			`x.yaml:10: listeners[6].protocol: missing; one of postgres, mysql`,
			`x.yaml:11: listeners[7].address: missing; an address`,
			`x.yaml:12: listeners[8].address: "a b" is neither an IP address nor a host name; an address`,
			`x.yaml:13: listeners[9].address: "70000" is no port; an address`,
		}},
		"top": {"log: {level: loud}\nlimits: {unauthenticated: many}\ncost: {acu_hour: -1, currency: euro}\ntls: {cert: c}\nadmin: {hosts: [\"a:1\"]}\n" + in(""), []string{
			`x.yaml:1: log.level: "loud" is not known; one of debug, info, warn, error`,
			"x.yaml:2: limits.unauthenticated: not a whole number; 1 to 1000000",
			"x.yaml:3: cost.acu_hour: -1 is out of range; 0 to 1e+06",
			`x.yaml:3: cost.currency: "euro" is not a currency; three capital letters such as USD or EUR`,
			"x.yaml:4: tls.key: missing; the private key of tls.cert",
			`x.yaml:5: admin.hosts[0]: "a:1" is not a host name; a name without port, such as db-admin.example`,
		}},
		"lists": {in("    keepalive_queries: SELECT 1\n    connections: {admin_roles: [[a]], release_after: on}\n"), []string{
			"x.yaml:6: clusters.shop.keepalive_queries: this is text; a list of texts: [one, two]",
			"x.yaml:7: clusters.shop.connections.admin_roles[0]: this is a list; text is wanted",
			`x.yaml:7: clusters.shop.connections.release_after: "on" is not a duration; a number`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("x.yaml", []byte(test.text))
			var all *Errors
			if !errors.As(err, &all) {
				t.Fatalf("error is %v", err)
			}
			var got []string
			for _, p := range all.Problems {
				got = append(got, p.Error())
			}
			if len(got) != len(test.want) {
				t.Fatalf("%d mistakes, want %d:\n%s", len(got), len(test.want), strings.Join(got, "\n"))
			}
			for i := range got {
				if !strings.HasPrefix(got[i], test.want[i]) {
					t.Errorf(" got %s\nwant %s", got[i], test.want[i])
				}
			}
		})
	}
}

func TestFiles(t *testing.T) {
	path := write(t, "proxy.yaml", `
tls: {cert: cert.pem, key: key.pem, client_ca: cert.pem}
admin: {address: "0.0.0.0:9630"}
listeners: [{protocol: postgres, address: "127.0.0.1:5432"}]
clusters:
  - {name: a, engine: postgres, master: {password_file: a.password}}
  - {name: b, engine: postgres, master: {password_file: absent}}
  - {name: c, engine: postgres, master: {password_file: .}}
`, "cert.pem", "no certificate", "key.pem", "no key", "a.password", "x")
	dir := filepath.Dir(path)
	_, err := Load(path)
	want := fmt.Sprintf(`%[1]s:2: tls.client_ca: %[2]s/cert.pem holds no certificate; certificates in PEM
%[1]s:2: tls.cert: cannot be used: tls: failed to find any PEM data in certificate input; a PEM certificate, with its chain, and its own private key
%[1]s:7: clusters.b.master.password_file: %[2]s/absent does not exist; make it, or correct the path; a relative one starts at this file's directory
%[1]s:8: clusters.c.master.password_file: %[2]s is a directory; a file`, path, dir)
	if err == nil || err.Error() != want {
		t.Errorf(" got %v\nwant %s", err, want)
	}
}

func TestWarnings(t *testing.T) {
	path := write(t, "proxy.yaml", "admin: {address: \"0.0.0.0:9630\"}\n"+in(""), "p", "x")
	secret := filepath.Join(filepath.Dir(path), "p")
	if err := os.Chmod(secret, 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range c.Warnings {
		got = append(got, w.Key)
	}
	if want := "admin.address clusters.shop.master.password_file"; strings.Join(got, " ") != want {
		t.Errorf("warnings about %v, want %s", got, want)
	}
	if last := c.Warnings[1].Error(); !strings.HasSuffix(last, "others may read it (mode 0644); chmod 600 "+secret) {
		t.Error(last)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(string(Example()))
	f.Add(small)
	f.Add("a: &x {b: *x}\nc: *x\n<<: *y\n")
	f.Add("clusters: [{name: a, engine: mysql, compute: {driver: command, start: [1, {}]}}]\nlisteners: [[], 1, null]\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("x.yaml", []byte(text))
		if (c == nil) == (err == nil) {
			t.Fatalf("configuration %v, error %v", c, err)
		}
	})
}
