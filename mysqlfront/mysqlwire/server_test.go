package mysqlwire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// mariaDB starts a MariaDB for the tests of this package, once, and returns
// its socket. Everybody may log in to it; TestMain stops it.
var mariaDB = sync.OnceValues(startMariaDB)

var stopMariaDB = func() {}

func startMariaDB() (socket string, err error) {
	dir, err := os.MkdirTemp("", "mysqlwire")
	if err != nil {
		return "", err
	}
	stopMariaDB = func() { os.RemoveAll(dir) }
	run := asUser("mysql", dir)
	data := filepath.Join(dir, "data")
	install := exec.Command("mariadb-install-db", "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db")
	install.SysProcAttr = run
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("install a MariaDB: %w\n%s", err, out)
	}
	socket = filepath.Join(dir, "sock")
	var log bytes.Buffer
	server := exec.Command("mariadbd", "--no-defaults", "--datadir="+data, "--socket="+socket, "--skip-networking",
		"--skip-grant-tables", "--log-bin=binlog", "--server-id=1", "--local-infile=1", "--max-allowed-packet=64M",
		"--innodb-buffer-pool-size=32M", "--innodb-log-file-size=64M", "--innodb-flush-log-at-trx-commit=0")
	server.SysProcAttr = run
	server.Stderr = &log
	if err := server.Start(); err != nil {
		return "", err
	}
	ended := make(chan struct{})
	go waitFor(server, ended)
	stopMariaDB = func() {
		server.Process.Signal(syscall.SIGTERM)
		<-ended
		os.RemoveAll(dir)
	}
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			return socket, nil
		}
		select {
		case <-ended:
			return "", fmt.Errorf("MariaDB did not start:\n%s", log.Bytes())
		default:
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("MariaDB does not answer:\n%s", log.Bytes())
		}
	}
}

func waitFor(c *exec.Cmd, ended chan struct{}) {
	c.Wait()
	close(ended)
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

func needMariaDB(t testing.TB) string {
	t.Helper()
	socket, err := mariaDB()
	if err != nil {
		t.Fatal(err)
	}
	return socket
}

// dial logs in as root without a password, with as many of the capabilities as
// the server has.
func dial(t testing.TB, socket string, want Capabilities) (net.Conn, Capabilities, OK) {
	t.Helper()
	c, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(context.Background(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(60 * time.Second))
	payload, _, err := ReadPacket(c, MaxHandshake)
	if err != nil {
		t.Fatal(err)
	}
	greeting, err := ParseGreeting(payload)
	if err != nil {
		t.Fatal(err)
	}
	caps := want & greeting.Capabilities
	response := AppendResponse(nil, Response{
		Capabilities: caps, MaxPacket: 1 << 24, Charset: 45, User: "root", Plugin: greeting.Plugin,
	})
	if _, err := WritePacket(c, 1, response); err != nil {
		t.Fatal(err)
	}
	for {
		payload, seq, err := ReadPacket(c, MaxHandshake)
		if err != nil {
			t.Fatal(err)
		}
		switch payload[0] {
		case OKHeader:
			ok, err := ParseOK(payload, caps)
			if err != nil {
				t.Fatal(err)
			}
			return c, caps, ok
		case AuthSwitchHeader:
			if _, err := WritePacket(c, seq+1, nil); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatalf("login: %q", payload)
		}
	}
}

// do runs statements one by one whose results are OK.
func do(t testing.TB, c net.Conn, caps Capabilities, statements ...string) {
	t.Helper()
	begin := []byte{mysql.COM_QUERY}
	if caps.Has(mysql.CLIENT_QUERY_ATTRIBUTES) {
		begin = append(begin, 0, 1)
	}
	for _, s := range statements {
		if _, err := WritePacket(c, 0, append(begin, s...)); err != nil {
			t.Fatal(err)
		}
		payload, _, err := ReadPacket(c, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if payload[0] != OKHeader {
			t.Fatalf("%s: %q", s, payload)
		}
	}
}

// readQuiet reads until nothing comes for a while, or nothing more can.
func readQuiet(t testing.TB, c net.Conn, quiet time.Duration) []byte {
	t.Helper()
	var all []byte
	buf := make([]byte, 1<<20)
	for wait := 10 * time.Second; ; wait = quiet {
		c.SetReadDeadline(time.Now().Add(wait))
		n, err := c.Read(buf)
		all = append(all, buf[:n]...)
		if (errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, io.EOF)) && len(all) > 0 {
			return all
		}
		if err != nil {
			t.Fatalf("after %d bytes: %v", len(all), err)
		}
	}
}
