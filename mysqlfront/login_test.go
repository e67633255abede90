package mysqlfront_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/pingcap/tidb/pkg/parser/auth"

	"serverlessproxy/credential"
	"serverlessproxy/mysqlfront"
	"serverlessproxy/pool"
	"serverlessproxy/pool/pooltest"
	"serverlessproxy/router"
)

// TestLogins logs in by every method, in the clear and over TLS, and asks the
// engine whom it sees.
func TestLogins(t *testing.T) {
	h := build(t, nil)
	for _, login := range []struct{ login, options, want string }{
		{"app:pw", "", "app@localhost app@%"},
		{"app:pw", "tls=skip-verify", "app@localhost app@%"},
		{"shy:pw", "", "shy@localhost shy@localhost"},
		{"tls:pw", "tls=skip-verify", "tls@localhost tls@%"},
		{"ed:pw", "", "ed@localhost ed@%"},
		{"ed:pw", "tls=skip-verify", "ed@localhost ed@%"},
		{"two:pw1", "", "two@localhost two@%"},
		{"two:pw2", "", "two@localhost two@%"},
		{"two:pw2", "tls=skip-verify", "two@localhost two@%"},
		{"nopw", "", "nopw@localhost nopw@%"},
		{"boss:pw", "", "boss@localhost boss@%"},
	} {
		var user, account string
		db := h.open(login.login, "app", login.options)
		if err := db.QueryRow("SELECT USER(), CURRENT_USER()").Scan(&user, &account); err != nil {
			t.Errorf("%s %s: %v", login.login, login.options, err)
			continue
		}
		if got := user + " " + account; got != login.want {
			t.Errorf("%s %s: %s, want %s", login.login, login.options, got, login.want)
		}
		db.Close()
	}
}

// TestRefusedLogins sees the engine's own words, and that no cluster was
// woken for them.
func TestRefusedLogins(t *testing.T) {
	h := build(t, nil)
	h.cluster.Sleep()
	var failing sync.WaitGroup // at once, since failures are answered late
	for _, login := range []struct{ login, database, options, want string }{
		{"app:bad", "app", "", "Error 1045 (28000): Access denied for user 'app'@'localhost' (using password: YES)"},
		{"app", "app", "", "Error 1045 (28000): Access denied for user 'app'@'localhost' (using password: NO)"},
		{"nobody:pw", "app", "", "Error 1045 (28000): Access denied for user 'nobody'@'localhost' (using password: YES)"},
		{"nobody", "", "", "Error 1045 (28000): Access denied for user 'nobody'@'localhost' (using password: NO)"},
		{"nopw:pw", "app", "", "Error 1045 (28000): Access denied for user 'nopw'@'localhost' (using password: YES)"},
		{"ed:bad", "app", "", "Error 1045 (28000): Access denied for user 'ed'@'localhost' (using password: YES)"},
		{"two:bad", "app", "", "Error 1045 (28000): Access denied for user 'two'@'localhost' (using password: YES)"},
		{"shy:elsewhere", "app", "", "Error 1045 (28000): Access denied for user 'shy'@'localhost' (using password: YES)"},
		{"sock:pw", "", "", "Error 1698 (28000): Access denied for user 'sock'@'localhost'"},
		{"locked:pw", "", "", "Error 4151 (HY000): Access denied, this account is locked"},
		{"locked:bad", "", "", "Error 1045 (28000): Access denied for user 'locked'@'localhost' (using password: YES)"},
		{"tls:pw", "app", "", "Error 1045 (28000): Access denied for user 'tls'@'localhost' (using password: YES)"},
		{"app:pw", "nothere", "", "Error 1044 (42000): Access denied for user 'app'@'%' to database 'nothere'"},
		{"app:pw", "other", "", "Error 1044 (42000): Access denied for user 'app'@'%' to database 'other'"},
		{"boss:pw", "nothere", "", "Error 1049 (42000): Unknown database 'nothere'"},
		{"app:pw", "app", "connectionAttributes=instance:my-1", "Error 1130 (HY000): this address is an instance's; connect to the cluster endpoint my.cluster-x1.db.example"},
		{"app:pw", "app", "connectionAttributes=endpoint:my-1.x1.db.example", "Error 1130 (HY000): this address is an instance's; connect to the cluster endpoint my.cluster-x1.db.example"},
		{"app:pw", "app", "connectionAttributes=endpoint:nosuch", "Error 1049 (42000): Unknown cluster"},
	} {
		failing.Go(func() { h.fails(login.login, login.database, login.options, login.want) })
	}
	failing.Wait()
	if n := h.cluster.Woken(); n != 0 {
		t.Errorf("woke the cluster %d times", n)
	}
	if n := h.tally.LoginFailures.Load(); n != 15 {
		t.Errorf("counted %d failed logins, want 15", n)
	}
	refused := refusals(h.tally, h.unknown)
	if refused["instance"] != 2 || refused["unknown_cluster"] != 1 || refused["auth"] != 15 {
		t.Errorf("refusals counted as %v", refused)
	}
}

func refusals(tallies ...*pool.Tally) map[string]int64 {
	all := map[string]int64{}
	for _, tally := range tallies {
		tally.Refused(func(reason string, n int64) { all[reason] += n })
	}
	return all
}

// TestCachingSHA2 logs in accounts whose verifier is MySQL's: in full over
// TLS, in full by RSA, and fast once the password is known.
func TestCachingSHA2(t *testing.T) {
	verifier := newCachingVerifier("pw")
	h := build(t, func(_ *mysqlfront.Config, target *router.Target, _ *router.Listener) {
		target.Users = directory{needEngine(t), func(b *credential.Book) {
			b.Greeting.DefaultPlugin = "caching_sha2_password"
			for i, a := range b.Accounts {
				if a.User == "sha" {
					b.Accounts[i].Methods = []credential.Method{{Plugin: "caching_sha2_password", Verifier: verifier}}
				}
			}
		}}
	})
	h.fails("sha:bad", "app", "", "Error 1045")
	h.fails("sha:bad", "app", "tls=skip-verify", "Error 1045")
	h.fails("sha", "app", "", "Error 1045 (28000): Access denied for user 'sha'@'localhost' (using password: NO)")
	h.fails("nobody:pw", "app", "", "Error 1045")
	for _, options := range []string{"", "", "tls=skip-verify"} {
		db := h.open("sha:pw", "app", options)
		if err := db.Ping(); err != nil {
			t.Errorf("login with %q: %v", options, err)
		}
		db.Close()
	}
	h.fails("sha:bad", "app", "", "Error 1045")
	if err := h.open("app:pw", "app", "").Ping(); err != nil {
		t.Errorf("native account after a greeting with another default: %v", err)
	}
}

func newCachingVerifier(password string) credential.Secret {
	return credential.Secret(hashPassword(password))
}

// TestServerName: the host name that a client connects to, told by TLS, names
// the cluster, or an instance that nobody may connect to.
func TestServerName(t *testing.T) {
	h := build(t, func(_ *mysqlfront.Config, _ *router.Target, l *router.Listener) { l.Cluster = "" })
	h.cluster.Sleep()
	for host, want := range map[string]string{
		"my-1.x1.db.example":              "Error 1130 (HY000): this address is an instance's; connect to the cluster endpoint my.cluster-x1.db.example",
		"my.cluster-ro-x1.db.example":     "Error 1130",
		"other.cluster-x2.db.example":     "Error 1049 (42000): Unknown cluster",
		"my.cluster-custom-x1.db.example": "Error 1130",
	} {
		h.fails("app:pw", "app", "tls="+towards(t, host), want)
	}
	h.fails("app:pw", "app", "", "Error 1049 (42000): Unknown cluster")
	if n := h.cluster.Woken(); n != 0 {
		t.Errorf("woke the cluster %d times", n)
	}
	h.serve()
	for _, options := range []string{"tls=" + towards(t, "my.cluster-x1.db.example"), "connectionAttributes=endpoint:my", "connectionAttributes=endpoint:my.cluster-x1.db.example"} {
		if err := h.open("app:pw", "app", options).Ping(); err != nil {
			t.Errorf("%s: %v", options, err)
		}
	}
}

// towards makes the driver connect to a host of that name.
func towards(t *testing.T, host string) string {
	name := "towards-" + host
	if err := mysql.RegisterTLSConfig(name, &tls.Config{ServerName: host, InsecureSkipVerify: true}); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestRequireTLS turns plain connections away.
func TestRequireTLS(t *testing.T) {
	h := build(t, func(c *mysqlfront.Config, _ *router.Target, _ *router.Listener) { c.TLSMode = mysqlfront.TLSRequire })
	h.fails("app:pw", "app", "", "Error 3159 (HY000): Connections using insecure transport are prohibited")
	if err := h.open("app:pw", "app", "tls=skip-verify").Ping(); err != nil {
		t.Error(err)
	}
}

// TestCeiling refuses the one too many, but not who may use the reserve.
func TestCeiling(t *testing.T) {
	h := build(t, nil)
	limits := poolLimits(2)
	limits.Reserved = 1
	h.pool.Configure(limits)
	db := h.open("app:pw", "app", "")
	for range 2 {
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	h.fails("app:pw", "app", "", "Error 1040 (08004): Too many connections")
	if err := h.open("boss:pw", "app", "").Ping(); err != nil {
		t.Errorf("superuser over the ceiling: %v", err)
	}
}

// TestConfiguredPassword logs in to the engine by what the operator knows.
func TestConfiguredPassword(t *testing.T) {
	h := build(t, func(_ *mysqlfront.Config, target *router.Target, _ *router.Listener) {
		target.Upstream.Passwords = map[string]credential.Secret{"app": "pw"}
		target.Users = directory{needEngine(t), func(b *credential.Book) {
			for i, a := range b.Accounts {
				if a.User == "app" {
					b.Accounts[i].Methods = []credential.Method{{Plugin: "caching_sha2_password", Verifier: newCachingVerifier("another")}}
				}
			}
		}}
	})
	if err := h.open("app:another", "app", "").Ping(); err != nil {
		t.Error(err)
	}
}

// TestOtherAccount refuses a client for which the engine, not told where it
// comes from, would choose another account.
func TestOtherAccount(t *testing.T) {
	h := build(t, func(_ *mysqlfront.Config, target *router.Target, _ *router.Listener) {
		target.Upstream.ProxyHeader = false
		target.Users = directory{needEngine(t), func(b *credential.Book) { b.Greeting.SkipNameResolve = true }}
		target.Upstream.Passwords = map[string]credential.Secret{"shy": "pw"}
	})
	h.fails("shy:elsewhere", "", "", "Error 1045 (28000): Access denied for user 'shy'@'127.0.0.1'")
	if err := h.open("app:pw", "app", "").Ping(); err != nil {
		t.Error(err)
	}
}

// TestCommandLine runs MariaDB's own client.
func TestCommandLine(t *testing.T) {
	h := build(t, nil)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-uapp", "-ppw", "app"}, "app@localhost\tapp"},
		{[]string{"-uapp", "-ppw", "--ssl", "app"}, "app@localhost\tapp"},
		{[]string{"-uapp", "-ppw", "--compress", "app"}, "app@localhost\tapp"},
		{[]string{"-uapp", "-ppw", "--compress", "--ssl", "app"}, "app@localhost\tapp"},
		{[]string{"-ued", "-ppw", "app"}, "ed@localhost\tapp"},
		{[]string{"-ued", "-ppw", "--ssl", "app"}, "ed@localhost\tapp"},
	} {
		out, err := h.mariadb("SELECT USER(), DATABASE()", c.args...)
		if err != nil || strings.TrimSpace(out) != c.want {
			t.Errorf("mariadb %s: %q, %v", c.args, out, err)
		}
	}
}

func (h *house) mariadb(statement string, args ...string) (string, error) {
	host, port := h.hostPort()
	args = append([]string{"--no-defaults", "-h" + host, "-P" + port, "-N", "-e", statement}, args...)
	command := exec.CommandContext(h.t.Context(), "mariadb", args...)
	var failure bytes.Buffer
	command.Stderr = &failure
	out, err := command.Output()
	if err != nil {
		return string(out), errors.New(failure.String())
	}
	return string(out), nil
}

func hashPassword(password string) string {
	return auth.NewHashPassword(password, "caching_sha2_password")
}

func poolLimits(n int) pool.Limits { return pooltest.Limits(n) }
