package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const password = "bench-password"

// target is one way to the engines.
type target struct {
	name      string
	addresses map[string]string // by protocol
	pids      []int             // the proxy's processes; none for direct
	tls       bool
}

// bed is the test bed: the two engines and the proxies before them.
type bed struct {
	dir     string
	targets []target
	running []*exec.Cmd // in the order of their start
}

func newBed(ctx context.Context, dir, binary string) (*bed, error) {
	b := &bed{dir: dir}
	direct := target{name: "direct", addresses: map[string]string{}, tls: true}
	for protocol, start := range map[string]func(context.Context) (string, error){"postgres": b.startPostgres, "mysql": b.startMariaDB} {
		address, err := start(ctx)
		if err != nil {
			return b, fmt.Errorf("start %s: %w", protocol, err)
		}
		direct.addresses[protocol], direct.addresses[protocol+release0] = address, address
	}
	b.targets = append(b.targets, direct)
	if err := b.load(ctx, direct); err != nil {
		return b, err
	}
	for _, start := range []func(context.Context, target) error{
		func(ctx context.Context, t target) error { return b.startProxy(ctx, t, binary) },
		b.startPgbouncer, b.startHaproxy,
	} {
		if err := start(ctx, direct); err != nil {
			return b, err
		}
	}
	return b, nil
}

// stop ends everything in the reverse order of its start, cleanly.
func (b *bed) stop() {
	for i := len(b.running) - 1; i >= 0; i-- {
		cmd := b.running[i]
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if strings.HasSuffix(cmd.Path, "postgres") {
			_ = cmd.Process.Signal(syscall.SIGINT)
		}
		ended := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		ended.Stop()
	}
}

// start runs a command as a user until the bed stops.
func (b *bed) start(name string, cmd *exec.Cmd) (int, error) {
	logFile, err := os.Create(filepath.Join(b.dir, name+".log"))
	if err != nil {
		return 0, err
	}
	defer logFile.Close()
	cmd.Stdout, cmd.Stderr = logFile, logFile
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	b.running = append(b.running, cmd)
	return cmd.Process.Pid, nil
}

// as makes a command run as an engine's user where we are root.
func as(name string, cmd *exec.Cmd) *exec.Cmd {
	if os.Getuid() != 0 {
		return cmd
	}
	who, err := user.Lookup(name)
	if err != nil {
		return cmd
	}
	uid, _ := strconv.Atoi(who.Uid)
	gid, _ := strconv.Atoi(who.Gid)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	cmd.Dir = "/"
	return cmd
}

func (b *bed) folder(name, owner string) (string, error) {
	path := filepath.Join(b.dir, name)
	if err := os.Mkdir(path, 0o700); err != nil {
		return "", err
	}
	if os.Getuid() == 0 {
		who, err := user.Lookup(owner)
		if err != nil {
			return "", err
		}
		uid, _ := strconv.Atoi(who.Uid)
		gid, _ := strconv.Atoi(who.Gid)
		return path, os.Chown(path, uid, gid)
	}
	return path, nil
}

func freePort() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// await tries until it holds, for at most 30 s.
func await(ctx context.Context, what string, try func() error) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := try()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func pgBin(name string) string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		return name
	}
	return found[len(found)-1]
}

func (b *bed) startPostgres(ctx context.Context) (string, error) {
	data, err := b.folder("pg", "postgres")
	if err != nil {
		return "", err
	}
	if out, err := as("postgres", exec.CommandContext(ctx, pgBin("initdb"), "-D", data+"/db", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")).CombinedOutput(); err != nil {
		return "", fmt.Errorf("initdb: %w: %s", err, tail(out))
	}
	hba := "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
	if err := os.WriteFile(data+"/db/pg_hba.conf", []byte(hba), 0o644); err != nil {
		return "", err
	}
	port := strconv.Itoa(freePort())
	settings := []string{"-D", data + "/db", "-p", port, "-k", data, "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300", "-c", "shared_buffers=512MB", "-c", "ssl=on",
		"-c", "ssl_cert_file=" + data + "/server.crt", "-c", "ssl_key_file=" + data + "/server.key"}
	if out, err := as("postgres", exec.CommandContext(ctx, "openssl", "req", "-new", "-x509", "-days", "2", "-nodes", "-subj", "/CN=localhost", "-out", data+"/server.crt", "-keyout", data+"/server.key")).CombinedOutput(); err != nil {
		return "", fmt.Errorf("openssl: %w: %s", err, tail(out))
	}
	if _, err := b.start("postgres", as("postgres", exec.Command(pgBin("postgres"), settings...))); err != nil {
		return "", err
	}
	setup := "create role app login password '" + password + "'; create role proxy superuser login password '" + password + "'; create database app owner app;"
	return "127.0.0.1:" + port, await(ctx, "PostgreSQL does not answer", func() error {
		for _, statement := range strings.SplitAfter(setup, ";") {
			if strings.TrimSpace(statement) == "" {
				continue
			}
			out, err := exec.CommandContext(ctx, "psql", "-X", "-h", data, "-p", port, "-U", "postgres", "-c", statement, "postgres").CombinedOutput()
			if err != nil && !strings.Contains(string(out), "already exists") {
				return fmt.Errorf("%w: %s", err, tail(out))
			}
		}
		return nil
	})
}

func (b *bed) startMariaDB(ctx context.Context) (string, error) {
	data, err := b.folder("my", "mysql")
	if err != nil {
		return "", err
	}
	if out, err := as("mysql", exec.CommandContext(ctx, "mariadb-install-db", "--no-defaults", "--datadir="+data+"/db", "--auth-root-authentication-method=normal", "--skip-test-db")).CombinedOutput(); err != nil {
		return "", fmt.Errorf("mariadb-install-db: %w: %s", err, tail(out))
	}
	port := strconv.Itoa(freePort())
	if _, err := b.start("mariadb", as("mysql", exec.Command("/usr/sbin/mariadbd", "--no-defaults", "--datadir="+data+"/db", "--socket="+data+"/my.sock", "--port="+port,
		"--bind-address=127.0.0.1", "--max-connections=300", "--innodb-buffer-pool-size=512M", "--pid-file="+data+"/pid"))); err != nil {
		return "", err
	}
	setup := "create database if not exists app; create user if not exists app@'%' identified by '" + password + "'; grant all on *.* to app@'%'"
	return "127.0.0.1:" + port, await(ctx, "MariaDB does not answer", func() error {
		out, err := exec.CommandContext(ctx, "mariadb", "--no-defaults", "-S", data+"/my.sock", "-u", "root", "-e", setup).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, tail(out))
		}
		return nil
	})
}

// load makes the tables of pgbench and sysbench. They are small: a new backend
// takes a page fault for each page of the shared buffers that it touches, and
// with a large table a run of a few seconds would measure that, and compare
// new backends with pgbouncer's, which are warm from the run before.
func (b *bed) load(ctx context.Context, direct target) error {
	pg := exec.CommandContext(ctx, "pgbench", "-i", "-q", "-s", "1")
	pg.Env = pgEnv(direct)
	if out, err := pg.CombinedOutput(); err != nil {
		return fmt.Errorf("pgbench -i: %w: %s", err, tail(out))
	}
	if out, err := exec.CommandContext(ctx, "sysbench", append(sysbenchArgs(direct, "oltp_read_write"), "prepare")...).CombinedOutput(); err != nil {
		return fmt.Errorf("sysbench prepare: %w: %s", err, tail(out))
	}
	return nil
}

func (b *bed) file(name, text string) string {
	path := filepath.Join(b.dir, name)
	_ = os.WriteFile(path, []byte(text), 0o644)
	return path
}

func listening(address string) func() error {
	return func() error {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	}
}

func (b *bed) startPgbouncer(ctx context.Context, direct target) error {
	host, port, _ := strings.Cut(direct.addresses["postgres"], ":")
	listen := freePort()
	users := b.file("userlist.txt", fmt.Sprintf("%q %q\n", "app", password))
	conf := b.file("pgbouncer.ini", fmt.Sprintf(`[databases]
app = host=%s port=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %s
pool_mode = session
max_client_conn = 300
default_pool_size = 250
ignore_startup_parameters = extra_float_digits
client_tls_sslmode = allow
client_tls_cert_file = %s
client_tls_key_file = %s
`, host, port, listen, users, b.dir+"/pg/bouncer.crt", b.dir+"/pg/bouncer.key"))
	if out, err := as("postgres", exec.CommandContext(ctx, "sh", "-c", fmt.Sprintf("cp %[1]s/server.crt %[1]s/bouncer.crt; cp %[1]s/server.key %[1]s/bouncer.key", b.dir+"/pg"))).CombinedOutput(); err != nil {
		return fmt.Errorf("copy certificate: %w: %s", err, tail(out))
	}
	pid, err := b.start("pgbouncer", as("postgres", exec.Command("pgbouncer", conf)))
	if err != nil {
		return err
	}
	address := fmt.Sprintf("127.0.0.1:%d", listen)
	b.targets = append(b.targets, target{name: "pgbouncer", addresses: map[string]string{"postgres": address}, pids: []int{pid}, tls: true})
	return await(ctx, "pgbouncer does not listen", listening(address))
}

func (b *bed) startHaproxy(ctx context.Context, direct target) error {
	pg, my := freePort(), freePort()
	conf := b.file("haproxy.cfg", fmt.Sprintf(`global
  maxconn 1000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen pg
  bind 127.0.0.1:%d
  server s %s
listen my
  bind 127.0.0.1:%d
  server s %s
`, pg, direct.addresses["postgres"], my, direct.addresses["mysql"]))
	pid, err := b.start("haproxy", exec.Command("haproxy", "-db", "-f", conf))
	if err != nil {
		return err
	}
	b.targets = append(b.targets, target{name: "haproxy", pids: []int{pid}, tls: true,
		addresses: map[string]string{"postgres": fmt.Sprintf("127.0.0.1:%d", pg), "mysql": fmt.Sprintf("127.0.0.1:%d", my)}})
	return await(ctx, "haproxy does not listen", listening(fmt.Sprintf("127.0.0.1:%d", pg)))
}

func (b *bed) startProxy(ctx context.Context, direct target, binary string) error {
	pg, my, pg0, my0, admin := freePort(), freePort(), freePort(), freePort(), freePort()
	secret := b.file("app.password", password+"\n")
	_ = os.Chmod(secret, 0o600)
	conf := b.file("serverlessproxy.yaml", fmt.Sprintf(`state_dir: %s/state
admin: {address: "127.0.0.1:%d"}
listeners:
  - {protocol: postgres, address: "127.0.0.1:%d", cluster: pg}
  - {protocol: mysql, address: "127.0.0.1:%d", cluster: my}
  - {protocol: postgres, address: "127.0.0.1:%d", cluster: pg0}
  - {protocol: mysql, address: "127.0.0.1:%d", cluster: my0}
clusters:
%s`, b.dir, admin, pg, my, pg0, my0, strings.Join([]string{
		clusterOf("pg", "postgres", direct, secret), clusterOf("my", "mysql", direct, secret),
		clusterOf("pg0", "postgres"+release0, direct, secret), clusterOf("my0", "mysql"+release0, direct, secret)}, "")))
	pid, err := b.start("serverlessproxy", exec.Command(binary, "serve", "--config", conf))
	if err != nil {
		return err
	}
	b.targets = append(b.targets, target{name: "serverlessproxy", pids: []int{pid}, tls: true,
		addresses: map[string]string{"postgres": fmt.Sprintf("127.0.0.1:%d", pg), "mysql": fmt.Sprintf("127.0.0.1:%d", my),
			"postgres" + release0: fmt.Sprintf("127.0.0.1:%d", pg0), "mysql" + release0: fmt.Sprintf("127.0.0.1:%d", my0)}})
	return await(ctx, "serverlessproxy does not listen", listening(fmt.Sprintf("127.0.0.1:%d", pg)))
}

// clusterOf is a cluster of the configuration, before the engine of a protocol.
func clusterOf(name, protocol string, direct target, secret string) string {
	engine, user, capacity, release := "postgres", "proxy", 2, "off"
	if strings.HasPrefix(protocol, "mysql") {
		engine, user, capacity = "mariadb", "app", 4
	}
	if strings.HasSuffix(protocol, release0) {
		release = "0"
	}
	return fmt.Sprintf(`  - name: %s
    engine: %s
    endpoint: %[1]s.cluster-bench.db.example
    compute: {driver: fixed, address: "%[3]s", user: %[4]s, password_file: %[5]s}
    encryption: {method: external}
    connections: {release_after: "%[7]s"}
    scaling: {min_capacity: %[6]d, max_capacity: %[6]d, autoscale: false, auto_pause: false}
`, name, engine, direct.addresses[protocol], user, secret, capacity, release)
}
