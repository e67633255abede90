package pgfront_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"serverlessproxy/credential"
)

// engine is a real server: trusting on its Unix socket, asking for passwords
// over TCP.
type engine struct {
	dir    string
	port   int
	cmd    *exec.Cmd
	cert   tls.Certificate
	socket string
}

var server *engine

// bin finds PostgreSQL's programs.
func bin(name string) string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) > 0 {
		return found[len(found)-1]
	}
	return name
}

// The engine ends when the thread that started it does (Pdeathsig), so that it
// does not outlive a test that panics: that thread must be the main one.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	flag.Parse()
	if worker := flag.Lookup("test.fuzzworker"); worker != nil && worker.Value.String() == "true" {
		os.Exit(m.Run())
	}
	var err error
	server, err = startEngine()
	if err != nil {
		fmt.Fprintln(os.Stderr, "start PostgreSQL:", err)
		os.Exit(1)
	}
	status := m.Run()
	server.stop()
	if status == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}
	os.Exit(status)
}

func startEngine() (*engine, error) {
	dir, err := os.MkdirTemp("", "pgfront")
	if err != nil {
		return nil, err
	}
	os.Chmod(dir, 0o755)
	e := &engine{dir: dir}
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return nil, err
	}
	credential, err := engineUser()
	if err != nil {
		return nil, err
	}
	if err := e.own(credential); err != nil {
		return nil, err
	}
	if out, err := e.command(credential, "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if err := e.configure(data, credential); err != nil {
		return nil, err
	}
	e.cmd = e.command(credential, "postgres", "-D", data)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	e.cmd.Stdout, e.cmd.Stderr = log, log
	if err := e.cmd.Start(); err != nil {
		return nil, err
	}
	e.socket = filepath.Join(dir, ".s.PGSQL."+strconv.Itoa(e.port))
	if err := e.wait(); err != nil {
		e.stop()
		return nil, err
	}
	return e, e.populate()
}

// engineUser is postgres where the tests run as root.
func engineUser() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

func (e *engine) own(c *syscall.Credential) error {
	if c == nil {
		return nil
	}
	return filepath.Walk(e.dir, func(path string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(c.Uid), int(c.Gid))
	})
}

func (e *engine) command(c *syscall.Credential, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(bin(name), args...)
	cmd.Dir = e.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c, Pdeathsig: syscall.SIGQUIT}
	return cmd
}

func (e *engine) configure(data string, c *syscall.Credential) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	e.port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	var certPEM, keyPEM []byte
	if e.cert, certPEM, keyPEM, err = newCertificate("localhost"); err != nil {
		return err
	}
	settings := fmt.Sprintf(`
listen_addresses = '127.0.0.1'
port = %d
unix_socket_directories = '%s'
fsync = off
wal_level = logical
ssl = on
max_connections = 60
`, e.port, e.dir)
	hba := `
local all all trust
local replication all trust
hostssl all clear 127.0.0.1/32 password
host all md5user 127.0.0.1/32 md5
host all all 127.0.0.1/32 scram-sha-256
`
	for name, content := range map[string][]byte{
		"pg_hba.conf": []byte(hba), "server.crt": certPEM, "server.key": keyPEM,
	} {
		if err := os.WriteFile(filepath.Join(data, name), content, 0o600); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(filepath.Join(data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(settings); err != nil {
		return err
	}
	return e.own(c)
}

func newCertificate(names ...string) (cert tls.Certificate, certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return cert, nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return cert, nil, nil, err
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return cert, nil, nil, err
	}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})
	cert, err = tls.X509KeyPair(certPEM, keyPEM)
	return cert, certPEM, keyPEM, err
}

func (e *engine) wait() error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		conn, err := e.connect(context.Background(), "postgres", "postgres")
		if err == nil {
			return conn.Close(context.Background())
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(e.dir, "log"))
			return fmt.Errorf("%w\n%s", err, log)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// connect goes to the engine itself, as anybody.
func (e *engine) connect(ctx context.Context, user, database string) (*pgx.Conn, error) {
	return pgx.Connect(ctx, fmt.Sprintf("host=%s port=%d user=%s database=%s sslmode=disable", e.dir, e.port, user, database))
}

func (e *engine) populate() error {
	ctx := context.Background()
	conn, err := e.connect(ctx, "postgres", "postgres")
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, q := range strings.Split(`
create role app login password 'secret' createdb
create role "émile" login password 'pässword'
create role boss superuser login password 'secret'
create role nologin password 'secret'
create role expired login password 'secret' valid until '2001-01-01'
create role nopassword login
create role outsider login password 'secret'
create role repl login replication password 'secret'
create role limited login password 'secret' connection limit 0
create role clear login password 'secret'
set password_encryption = md5
create role md5user login password 'secret'
create database app owner app
create database "émile"
create database closed
alter database closed allow_connections false
create database private
revoke connect on database private from public
`, "\n") {
		if q == "" {
			continue
		}
		if _, err := conn.Exec(ctx, q); err != nil {
			return fmt.Errorf("%s: %w", q, err)
		}
	}
	return nil
}

func (e *engine) stop() {
	if e.cmd.Process != nil {
		e.cmd.Process.Signal(syscall.SIGQUIT)
		e.cmd.Wait()
	}
	os.RemoveAll(e.dir)
}

// Book implements credential.Directory, as the engine's own room will do
// better.
func (e *engine) Book(ctx context.Context, user, database string) (*credential.Book, error) {
	conn, err := e.connect(ctx, "postgres", "postgres")
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.Background())
	book := &credential.Book{Roles: map[string]credential.Role{}, Databases: map[string]credential.Database{}, Parameters: map[string]string{}}
	for _, name := range []string{"server_version", "server_encoding", "client_encoding", "application_name", "is_superuser", "session_authorization", "DateStyle", "IntervalStyle", "TimeZone", "integer_datetimes", "standard_conforming_strings", "default_transaction_read_only", "in_hot_standby"} {
		book.Parameters[name] = conn.PgConn().ParameterStatus(name)
	}
	var role credential.Role
	var verifier *string
	err = conn.QueryRow(ctx, `select rolname, rolpassword, rolcanlogin, rolsuper, rolreplication, nullif(rolvaliduntil, 'infinity') from pg_authid where rolname = $1`, user).
		Scan(&role.Name, &verifier, &role.CanLogin, &role.Superuser, &role.Replication, &role.ValidUntil)
	if err == nil {
		if verifier != nil {
			role.Verifier = credential.Secret(*verifier)
		}
		book.Roles[user] = role
	} else if err != pgx.ErrNoRows {
		return nil, err
	}
	db := credential.Database{}
	var mayConnect bool
	err = conn.QueryRow(ctx, `select datname, datallowconn, coalesce((select has_database_privilege(rolname, $1, 'CONNECT') from pg_roles where rolname = $2), false) from pg_database where datname = $1`, database, user).
		Scan(&db.Name, &db.AllowConnections, &mayConnect)
	if err == nil {
		db.Connect = []string{}
		if mayConnect {
			db.Connect = []string{user}
		}
		book.Databases[database] = db
	} else if err != pgx.ErrNoRows {
		return nil, err
	}
	return book, nil
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("not in 10 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
