package mysqlwire

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	driver "github.com/go-sql-driver/mysql"
)

// tap is a proxy between real clients and a real server that shows what passes
// to a Tracker per connection.
type tap struct {
	t        *testing.T
	listener net.Listener
	server   string
	compress bool // towards the client
	running  sync.WaitGroup

	mu       sync.Mutex // protects sessions
	sessions []*tapped
}

// tapped is one connection.
type tapped struct {
	client, server net.Conn

	mu     sync.Mutex // protects what follows
	replay *replay
	ended  bool
}

func newTap(t *testing.T, server string, compress bool) *tap {
	dir, err := os.MkdirTemp("", "tap") // shorter than t.TempDir, for a socket
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{t: t, listener: l, server: server, compress: compress}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		for _, s := range p.all() {
			s.client.Close()
			s.server.Close()
		}
		p.running.Wait()
		os.RemoveAll(dir)
	})
	return p
}

func (p *tap) socket() string { return p.listener.Addr().String() }

func (p *tap) all() []*tapped {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*tapped(nil), p.sessions...)
}

func (p *tap) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", p.server)
		if err != nil {
			p.t.Error(err)
			client.Close()
			return
		}
		s := &tapped{client: client, server: server}
		p.mu.Lock()
		p.sessions = append(p.sessions, s)
		p.mu.Unlock()
		p.running.Go(func() { p.serve(s) })
	}
}

func (p *tap) serve(s *tapped) {
	defer s.client.Close()
	defer s.server.Close()
	config, err := s.login(p.compress)
	if err != nil {
		p.t.Errorf("login: %v", err)
		return
	}
	if config.Capabilities.Has(mysql.CLIENT_COMPRESS) {
		s.client = NewCompressed(s.client, Zlib)
		config.Renumber = true
	}
	if p.compress != config.Capabilities.Has(mysql.CLIENT_COMPRESS) {
		p.t.Error("the client did not agree on compression as it should")
	}
	s.mu.Lock()
	s.replay = &replay{t: NewTracker(config), keep: true}
	s.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { s.pump(s.client, s.server) })
	both.Go(func() { s.pump(s.server, s.client) })
	both.Wait()
}

// login passes the connection phase and learns what was agreed on. The server
// never hears of compression.
func (s *tapped) login(compress bool) (c Config, err error) {
	payload, err := s.carry(s.server, s.client)
	if err != nil {
		return c, err
	}
	greeting, err := ParseGreeting(payload)
	if err != nil {
		return c, err
	}
	payload, seq, err := ReadPacket(s.client, MaxHandshake)
	if err != nil {
		return c, err
	}
	response, err := ParseResponse(payload, greeting.Capabilities)
	if err != nil {
		return c, err
	}
	c.Capabilities = response.Capabilities & greeting.Capabilities
	response.Capabilities &^= Capabilities(mysql.CLIENT_COMPRESS)
	if _, err = WritePacket(s.server, seq, AppendResponse(nil, response)); err != nil {
		return c, err
	}
	for {
		if payload, err = s.carry(s.server, s.client); err != nil {
			return c, err
		}
		if payload[0] == OKHeader {
			ok, err := ParseOK(payload, c.Capabilities)
			c.Status = ok.Status
			return c, err
		}
		if _, err = s.carry(s.client, s.server); err != nil {
			return c, err
		}
	}
}

func (s *tapped) carry(from, to net.Conn) ([]byte, error) {
	payload, seq, err := ReadPacket(from, MaxHandshake)
	if err != nil {
		return nil, err
	}
	_, err = WritePacket(to, seq, payload)
	return payload, err
}

// pump passes bytes, in pieces of all sizes, once the Tracker lets them. A
// COM_QUIT ends it.
func (s *tapped) pump(from, to net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf[:1+rand.IntN(len(buf))])
		pass, stopped := s.show(from == s.client, buf[:n])
		if _, werr := to.Write(pass); werr != nil || err != nil || stopped {
			s.client.Close()
			s.server.Close()
			return
		}
	}
}

func (s *tapped) show(client bool, b []byte) (pass []byte, stopped bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.replay
	r.sent, r.received = nil, nil
	stopped = show(r, !client, b)
	s.ended = s.ended || stopped && r.t.Stopped() == StopQuit
	if client {
		return r.sent, stopped
	}
	return r.received, stopped
}

// see looks at the Tracker of the last connection.
func (p *tap) see(look func(*Tracker)) {
	all := p.all()
	s := all[len(all)-1]
	s.mu.Lock()
	defer s.mu.Unlock()
	look(s.replay.t)
}

func (p *tap) wantIdle(when string) {
	p.t.Helper()
	p.see(func(k *Tracker) {
		if k.Busy() {
			p.t.Errorf("%s: busy, %d pending", when, k.Pending())
		}
	})
}

func TestLiveDriver(t *testing.T)           { liveDriver(t, false) }
func TestLiveDriverCompressed(t *testing.T) { liveDriver(t, true) }

func liveDriver(t *testing.T, compress bool) {
	p := newTap(t, needMariaDB(t), compress)
	config := driver.NewConfig()
	config.User, config.Net, config.Addr = "root", "unix", p.socket()
	config.MultiStatements, config.AllowNativePasswords = true, true
	if err := config.Apply(driver.EnableCompression(compress)); err != nil {
		t.Fatal(err)
	}
	driver.RegisterReaderHandler("file", func() io.Reader { return strings.NewReader("7\n8\n9\n") })
	connector, err := driver.NewConnector(config)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	db.SetMaxOpenConns(1)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	run := func(text string, args ...any) {
		t.Helper()
		if _, err := db.ExecContext(ctx, text, args...); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		p.wantIdle(text)
	}
	size := 17 << 20
	if compress {
		size = 1 << 20
	}
	run("DROP DATABASE IF EXISTS live; CREATE DATABASE live; USE live; CREATE TABLE t (i INT, b LONGBLOB)")
	run("INSERT INTO t VALUES (?, ?)", 1, []byte(strings.Repeat("x", size)))
	run("LOAD DATA LOCAL INFILE 'Reader::file' INTO TABLE t (i)")
	for _, text := range []string{"SELECT * FROM t", "SELECT * FROM t WHERE i > ?"} {
		args := []any{0}[:strings.Count(text, "?")]
		rows, err := db.QueryContext(ctx, text, args...)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for rows.Next() {
			n++
		}
		if err := rows.Close(); err != nil || n != 4 {
			t.Fatalf("%d rows, %v", n, err)
		}
		p.wantIdle(text)
	}
	if _, err := db.ExecContext(ctx, "SELECT bad"); err == nil {
		t.Error("no error")
	}
	p.wantIdle("an error")

	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.see(func(k *Tracker) {
		if !k.InTransaction() || k.Busy() {
			t.Errorf("after BEGIN: in a transaction %v, busy %v", k.InTransaction(), k.Busy())
		}
	})
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	p.see(func(k *Tracker) {
		if k.InTransaction() {
			t.Error("still in a transaction after COMMIT")
		}
	})

	slept := make(chan error, 1)
	go func() {
		_, err := db.ExecContext(ctx, "SELECT SLEEP(0.5)")
		slept <- err
	}()
	busy := false
	for running := true; running; {
		select {
		case err = <-slept:
			running = false
		case <-time.After(time.Millisecond):
			p.see(func(k *Tracker) { busy = busy || k.Busy() })
		}
	}
	if !busy || err != nil {
		t.Errorf("busy while a query ran: %v, error %v", busy, err)
	}
	p.wantIdle("after SLEEP")
}

func TestLiveCommandLine(t *testing.T)           { liveCommandLine(t, false) }
func TestLiveCommandLineCompressed(t *testing.T) { liveCommandLine(t, true) }

func liveCommandLine(t *testing.T, compress bool) {
	p := newTap(t, needMariaDB(t), compress)
	file := filepath.Join(t.TempDir(), "rows")
	if err := os.WriteFile(file, []byte(strings.Repeat("1\n", 50000)), 0o644); err != nil {
		t.Fatal(err)
	}
	script := `
DROP DATABASE IF EXISTS cli; CREATE DATABASE cli; USE cli;
CREATE TABLE t (i INT);
LOAD DATA LOCAL INFILE '` + file + `' INTO TABLE t;
DELIMITER //
SELECT 1; SELECT 2; LOAD DATA LOCAL INFILE '` + file + `' INTO TABLE t; SELECT COUNT(*) AS loaded FROM t//
DELIMITER ;
SELECT * FROM t LIMIT 20000;
SELECT COUNT(*) FROM t; SHOW WARNINGS; DESCRIBE t;
PREPARE s FROM 'SELECT ? + 1'; SET @a = 41; EXECUTE s USING @a;
DELIMITER //
CREATE PROCEDURE two() BEGIN SELECT 1; SELECT 2; INSERT INTO t VALUES (3); END//
DELIMITER ;
CALL two(); ALTER TABLE t ADD COLUMN j INT, ALGORITHM=COPY; CHECK TABLE t;
SELECT bad; SELECT REPEAT('x', 17000000); BEGIN; INSERT INTO t VALUES (1, 2); COMMIT;
`
	ways := [][]string{{"--force"}, {"--force", "--quick", "--auto-rehash", "--show-warnings"}}
	if compress {
		ways = ways[:1]
	}
	for _, args := range ways {
		args = append([]string{"--no-defaults", "--user=root", "--local-infile=1", "--max-allowed-packet=64M", "--compress=" + map[bool]string{true: "1", false: "0"}[compress], "--socket=" + p.socket()}, args...)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		client := exec.CommandContext(ctx, "mariadb", args...)
		client.Stdin = strings.NewReader(script)
		out, err := client.CombinedOutput()
		cancel()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if n := strings.Count(string(out), "ERROR"); n != 1 || !strings.Contains(string(out), "\n42\n") || !strings.Contains(string(out), "loaded\n100000\n") {
			t.Errorf("mariadb %q: %d errors, %d bytes of output, beginning\n%.500s", args, n, len(out), out)
		}
		all := p.all()
		s := all[len(all)-1]
		s.mu.Lock()
		if k := s.replay.t; !s.ended || k.Pending() > 0 || k.Status()&1 != 0 {
			t.Errorf("mariadb %q: COM_QUIT seen %v, %d pending", args, s.ended, k.Pending())
		}
		s.mu.Unlock()
	}
}
