package mysqlfront_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"go.uber.org/goleak"

	"serverlessproxy/credential"
	"serverlessproxy/mysqlfront/mysqlwire"
)

// engine is a MariaDB for the tests of this package.
type engine struct {
	socket string
	root   *sql.DB
}

var (
	theEngine  = sync.OnceValues(startEngine)
	stopEngine = func() {}
)

func TestMain(m *testing.M) {
	code := m.Run()
	stopEngine()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// setUp makes accounts of every kind that a front must know.
const setUp = `
CREATE DATABASE app; CREATE DATABASE other;
CREATE USER app@'%' IDENTIFIED BY 'pw'; GRANT ALL ON app.* TO app@'%';
CREATE USER app2@'%' IDENTIFIED BY 'pw2'; GRANT ALL ON app.* TO app2@'%';
CREATE USER shy@localhost IDENTIFIED BY 'pw'; GRANT ALL ON app.* TO shy@localhost;
CREATE USER shy@'%' IDENTIFIED BY 'elsewhere';
CREATE USER locked@'%' IDENTIFIED BY 'pw' ACCOUNT LOCK;
CREATE USER tls@'%' IDENTIFIED BY 'pw' REQUIRE SSL; GRANT ALL ON app.* TO tls@'%';
CREATE USER ed@'%' IDENTIFIED VIA ed25519 USING PASSWORD('pw'); GRANT ALL ON app.* TO ed@'%';
CREATE USER two@'%' IDENTIFIED VIA ed25519 USING PASSWORD('pw1') OR mysql_native_password USING PASSWORD('pw2'); GRANT ALL ON app.* TO two@'%';
CREATE USER nopw@'%'; GRANT ALL ON app.* TO nopw@'%';
CREATE USER sock@'%' IDENTIFIED VIA unix_socket;
CREATE USER boss@'%' IDENTIFIED BY 'pw'; GRANT ALL ON *.* TO boss@'%';
CREATE USER sha@'%' IDENTIFIED BY 'pw'; GRANT ALL ON app.* TO sha@'%';
CREATE USER expired@'%' IDENTIFIED BY 'pw' PASSWORD EXPIRE;
CREATE TABLE app.t (id INT PRIMARY KEY, v TEXT);
`

func startEngine() (*engine, error) {
	dir, err := os.MkdirTemp("", "mysqlfront")
	if err != nil {
		return nil, err
	}
	stopEngine = func() { os.RemoveAll(dir) }
	run := asUser("mysql", dir)
	data := filepath.Join(dir, "data")
	install := exec.Command("mariadb-install-db", "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db")
	install.SysProcAttr, install.Env = run, ownTemporary(dir)
	if out, err := install.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("install a MariaDB: %w\n%s", err, out)
	}
	certificate, key, err := writeCertificate(dir)
	if err != nil {
		return nil, err
	}
	e := &engine{socket: filepath.Join(dir, "sock")}
	var log bytes.Buffer
	server := exec.Command("mariadbd", "--no-defaults", "--datadir="+data, "--socket="+e.socket, "--skip-networking",
		"--proxy-protocol-networks=localhost", "--plugin-load-add=auth_ed25519", "--ssl-cert="+certificate, "--ssl-key="+key, "--local-infile=1",
		"--max-allowed-packet=64M", "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=64M", "--innodb-flush-log-at-trx-commit=0")
	server.SysProcAttr, server.Env = run, ownTemporary(dir)
	server.Stderr = &log
	started, ended := make(chan error), make(chan struct{})
	go runServer(server, started, ended)
	if err := <-started; err != nil {
		return nil, err
	}
	stopEngine = func() {
		if e.root != nil {
			e.root.Close()
		}
		server.Process.Signal(syscall.SIGTERM)
		<-ended
		os.RemoveAll(dir)
	}
	e.root, _ = sql.Open("mysql", "root@unix("+e.socket+")/?multiStatements=true")
	for deadline := time.Now().Add(60 * time.Second); e.root.Ping() != nil; time.Sleep(20 * time.Millisecond) {
		select {
		case <-ended:
			return nil, fmt.Errorf("MariaDB did not start:\n%s", log.Bytes())
		default:
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("MariaDB does not answer:\n%s", log.Bytes())
		}
	}
	if _, err := e.root.Exec(setUp); err != nil {
		return nil, fmt.Errorf("make accounts: %w", err)
	}
	return e, nil
}

// ownTemporary keeps a server's temporary tables where no other server is: one
// that starts removes all that it finds.
func ownTemporary(dir string) []string { return append(os.Environ(), "TMPDIR="+dir) }

// runServer starts a server and waits for its end, on one thread: the server
// dies with the thread that started it.
func runServer(server *exec.Cmd, started chan<- error, ended chan<- struct{}) {
	defer close(ended)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := server.Start()
	started <- err
	if err == nil {
		server.Wait()
	}
}

// asUser runs a program as another user where the tests run as root.
func asUser(name, dir string) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	u, err := user.Lookup(name)
	if os.Getuid() != 0 || err != nil {
		return attr
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	os.Chown(dir, uid, gid)
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attr
}

func needEngine(t testing.TB) *engine {
	t.Helper()
	e, err := theEngine()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// directory reads the engine's users as engine/mysql does, in short; over says
// what is different for a test.
type directory struct {
	engine *engine
	over   func(*credential.Book)
}

type privileges struct {
	Plugin string       `json:"plugin"`
	Auth   string       `json:"authentication_string"`
	Or     []privileges `json:"auth_or"`
	Locked bool         `json:"account_locked"`
	SSL    int          `json:"ssl_type"`
	Access uint64       `json:"access"`
}

func (p privileges) methods() []credential.Method {
	own := credential.Method{Plugin: p.Plugin, Verifier: credential.Secret(p.Auth)}
	if p.Or == nil {
		return []credential.Method{own}
	}
	var methods []credential.Method
	for _, one := range p.Or {
		if one.Plugin == "" {
			methods = append(methods, own)
		} else {
			methods = append(methods, credential.Method{Plugin: one.Plugin, Verifier: credential.Secret(one.Auth)})
		}
	}
	return methods
}

// Book is credential.Directory's.
func (d directory) Book(ctx context.Context, user, _ string) (*credential.Book, error) {
	book := &credential.Book{Databases: map[string]credential.Database{}}
	greeting, err := d.engine.greeting()
	if err != nil {
		return nil, err
	}
	book.Greeting = greeting
	names, err := d.engine.root.QueryContext(ctx, "SHOW DATABASES")
	if err != nil {
		return nil, err
	}
	defer names.Close()
	for names.Next() {
		var name string
		if err := names.Scan(&name); err != nil {
			return nil, err
		}
		book.Databases[name] = credential.Database{Name: name, AllowConnections: true}
	}
	rows, err := d.engine.root.QueryContext(ctx, "SELECT user, host, priv FROM mysql.global_priv WHERE user IN (?, '')", user)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var a credential.Account
		var text string
		var p privileges
		if err := errors.Join(rows.Scan(&a.User, &a.Host, &text), json.Unmarshal([]byte(text), &p)); err != nil {
			return nil, err
		}
		a.Methods, a.Locked, a.RequireSSL, a.RequireX509, a.Superuser = p.methods(), p.Locked, p.SSL == 1, p.SSL > 1, p.Access&(1<<15) != 0
		if p.Access == 0 {
			a.Schemas = []string{"app"}
		}
		book.Accounts = append(book.Accounts, a)
	}
	credential.SortAccounts(book.Accounts)
	if d.over != nil {
		d.over(book)
	}
	return book, nil
}

func (e *engine) greeting() (*credential.Greeting, error) {
	conn, err := net.Dial("unix", e.socket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	payload, _, err := mysqlwire.ReadPacket(conn, mysqlwire.MaxHandshake)
	if err != nil {
		return nil, err
	}
	g, err := mysqlwire.ParseGreeting(payload)
	if err != nil {
		return nil, err
	}
	return &credential.Greeting{
		ServerVersion: g.ServerVersion, Capabilities: uint32(g.Capabilities), Extended: uint32(g.Capabilities >> 32),
		Charset: g.Charset, Status: g.Status, DefaultPlugin: g.Plugin,
	}, nil
}

// writeCertificate gives the engine one, for accounts that require TLS.
func writeCertificate(dir string) (certificate, key string, err error) {
	der, private, err := makeCertificate()
	if err != nil {
		return "", "", err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", err
	}
	certificate, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	return certificate, key, errors.Join(
		os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o644),
	)
}
