package mysqlfront_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	driver "github.com/go-sql-driver/mysql"

	"serverlessproxy/mysqlfront"
	"serverlessproxy/mysqlfront/mysqlwire"
	"serverlessproxy/pool"
	"serverlessproxy/router"
)

// TestCommands sends what drivers send: text, prepared statements, large
// packets, local files, several statements at once.
func TestCommands(t *testing.T) {
	h := build(t, nil)
	for options, size := range map[string]int{"": 17 << 20, "tls=skip-verify": 1 << 20, "compress=true": 1 << 20} {
		db := h.open("app:pw", "app", "multiStatements=true&maxAllowedPacket=0&allowAllFiles=true&"+options)
		db.SetMaxOpenConns(1)
		if _, err := db.Exec("DELETE FROM t; INSERT INTO t VALUES (1, 'one')"); err != nil {
			t.Fatal(err)
		}
		var v string
		if err := db.QueryRow("SELECT v FROM t WHERE id = ?", 1).Scan(&v); err != nil || v != "one" {
			t.Errorf("prepared: %q, %v", v, err)
		}
		big := strings.Repeat("x", size)
		var n int
		if err := db.QueryRow("SELECT LENGTH(?)", big).Scan(&n); err != nil || n != len(big) {
			t.Errorf("a packet of %d bytes: %d, %v", size, n, err)
		}
		if err := db.QueryRow(fmt.Sprintf("SELECT REPEAT('x', %d)", size)).Scan(&v); err != nil || v != big {
			t.Errorf("a large row: %d bytes, %v", len(v), err)
		}
		file := filepath.Join(t.TempDir(), "rows")
		if err := os.WriteFile(file, []byte("7\tseven\n8\teight\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		driver.RegisterLocalFile(file)
		if _, err := db.Exec("LOAD DATA LOCAL INFILE '" + file + "' INTO TABLE t"); err != nil {
			t.Errorf("local file: %v", err)
		}
		if err := db.QueryRow("SELECT COUNT(*) FROM t").Scan(&n); err != nil || n != 3 {
			t.Errorf("rows after a local file: %d, %v", n, err)
		}
		if _, err := db.Exec("SELECT nothing"); err == nil || !strings.HasPrefix(err.Error(), "Error 1054 (42S22)") {
			t.Errorf("an error passes as %v", err)
		}
		db.Close()
	}
	eventually(t, "all sessions gone", func() bool { return len(h.pool.Sessions()) == 0 })
	if q := h.tally.Queries.Load(); q < 21 {
		t.Errorf("counted %d queries", q)
	}
	if h.tally.Attempts.Load() != 3 || h.tally.Aborted.Load() != 0 {
		t.Errorf("counted %d attempts, %d aborted", h.tally.Attempts.Load(), h.tally.Aborted.Load())
	}
	if in, out := h.tally.BytesIn.Load(), h.tally.BytesOut.Load(); in < 19<<20 || out < 19<<20 {
		t.Errorf("counted %d bytes in, %d out", in, out)
	}
}

// TestOwnNumbers: a client's connection has a number of ours, and a KILL of it
// ends what the engine runs for that client.
func TestOwnNumbers(t *testing.T) {
	h := build(t, nil)
	victim, killer := h.login("app", "pw"), h.login("app", "pw")
	id := victim.greeting.ConnectionID
	if id < 1<<31 || id == killer.greeting.ConnectionID {
		t.Fatalf("numbers %d and %d", id, killer.greeting.ConnectionID)
	}
	for _, form := range []string{"KILL QUERY %d", " /* a */ kill hard query\n%d -- b"} {
		victim.seq = 0
		victim.write([]byte("\x03SELECT SLEEP(30)"))
		eventually(t, "the victim is active", func() bool { return active(h, victim.conn.LocalAddr()) })
		eventually(t, "the engine runs it", func() bool {
			return killer.query("SELECT COUNT(*) FROM information_schema.processlist WHERE info = 'SELECT SLEEP(30)'") == "1"
		})
		killer.expect(killer.query(fmt.Sprintf(form, id)), "OK")
		answered := victim.answer()
		if answered != "1" { // SLEEP tells by its value
			victim.expect(answered, "1317 70100")
		}
	}
	victim.expect(victim.query("SELECT 5"), "5")
	killer.expect(killer.query("KILL 4294967290"), "1094 HY000 Unknown thread id: 4294967290")
	killer.expect(killer.query("KILL 99999999"), "1094 HY000 Unknown thread id: 99999999")
	killer.expect(killer.query("KILL QUERY ID 4294967290"), "1957 HY000") // a query's number is the engine's
	other := h.login("app2", "pw2")
	other.expect(other.query(fmt.Sprintf("KILL %d", id)), "1095 HY000") // the engine's own judgement
	killer.expect(killer.command(mysql.COM_PROCESS_KILL, string(binary.LittleEndian.AppendUint32(nil, id))), "OK")
	victim.expect(victim.answer(), "closed")
	killer.expect(killer.query("SELECT 1"), "1")
	killer.expect(killer.query(fmt.Sprintf("KILL %d", killer.greeting.ConnectionID)), "1927 70100 Connection was killed")
	killer.expect(killer.answer(), "closed")
}

func active(h *house, client net.Addr) bool {
	for _, v := range h.pool.Sessions() {
		if v.ClientAddress == client.String() {
			return v.Phase == pool.Active
		}
	}
	return false
}

// TestChangeUser: the client proves itself anew to the front, the engine gets
// the new user; a failure leaves the old one in a reset session.
func TestChangeUser(t *testing.T) {
	h := build(t, nil)
	r := h.login("app", "pw")
	r.expect(r.query("SET @a = 1"), "OK")
	change := func(user, password, database string) string {
		r.seq = 0
		r.write(mysqlwire.AppendChangeUser(nil, mysqlwire.ChangeUser{
			User: user, Database: database, Charset: 45, Plugin: mysqlwire.NativePassword, Auth: []byte("old"),
		}, r.caps))
		r.expect(r.answer(), "switch mysql_native_password")
		r.write(native(password, r.greeting.Salt[:]))
		return r.answer()
	}
	r.expect(change("app2", "pw2", "app"), "OK")
	r.expect(r.query("SELECT CONCAT(CURRENT_USER(), DATABASE(), IFNULL(@a, '-'))"), "app2@%app-")
	if v := h.pool.Sessions(); len(v) != 1 || v[0].User != "app2" {
		t.Errorf("sessions: %v", v)
	}
	r.expect(r.query("SET @a = 1"), "OK")
	r.expect(change("app", "bad", "app"), "1045 28000 Access denied for user 'app'@'localhost' (using password: YES)")
	r.expect(change("app", "pw", "other"), "1044 42000")
	r.expect(r.query("SELECT CONCAT(CURRENT_USER(), IFNULL(@a, '-'))"), "app2@%-")
	r.expect(change("app", "pw", ""), "OK")
	r.expect(r.query("SELECT CONCAT(CURRENT_USER(), IFNULL(DATABASE(), '-'))"), "app@%-")
	r.expect(change("app2", "bad", ""), "1045 28000")
	r.seq = 0
	r.write(mysqlwire.AppendChangeUser(nil, mysqlwire.ChangeUser{User: "app2", Plugin: mysqlwire.NativePassword}, r.caps))
	r.expect(r.answer(), "1047 08S01 Unknown command") // the fourth, after three that failed, whatever the password
	r.expect(r.query("SELECT CONCAT(CURRENT_USER(), IFNULL(DATABASE(), '-'))"), "app@%-")
}

// TestWakeOnQuery: the login completes without the engine; neither a ping nor
// a goodbye needs it, the first query does.
func TestWakeOnQuery(t *testing.T) {
	h := build(t, func(_ *mysqlfront.Config, target *router.Target, _ *router.Listener) { target.WakeOnQuery = true })
	h.cluster.Sleep()
	r := h.login("app", "pw")
	r.expect(r.command(mysql.COM_PING, ""), "OK")
	quitter, bystander := h.login("app", "pw"), h.login("app2", "pw2")
	quitter.expect(quitter.command(mysql.COM_QUIT, ""), "closed")
	if n := h.cluster.Woken(); n != 0 {
		t.Errorf("woke the cluster %d times", n)
	}
	eventually(t, "the quitter has left", func() bool { return h.pool.Counts()[pool.Parked] == 2 })
	r.seq = 0
	r.write([]byte("\x03SELECT DATABASE()"))
	eventually(t, "the query wakes the cluster", func() bool { return h.cluster.Woken() == 1 })
	h.serve()
	r.expect(r.answer(), "app")
	r.expect(r.query(fmt.Sprintf("KILL QUERY %d", bystander.greeting.ConnectionID)), "OK")
	r.expect(r.query(fmt.Sprintf("KILL %d", bystander.greeting.ConnectionID)), "1095 HY000 You are not owner of thread")
	boss := h.login("boss", "pw")
	boss.expect(boss.query("SELECT 1"), "1")
	boss.expect(boss.query(fmt.Sprintf("KILL %d", bystander.greeting.ConnectionID)), "OK")
	bystander.expect(bystander.answer(), "closed")
}

// TestVanished: a client that goes while it is held leaves its seat at once,
// in the clear and over TLS.
func TestVanished(t *testing.T) {
	h := build(t, nil)
	h.cluster.Sleep()
	for _, options := range []string{"", "tls=skip-verify"} {
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error)
		db := h.open("app:pw", "app", options)
		go func() { failed <- db.PingContext(ctx) }()
		eventually(t, "the client is held", func() bool { return h.pool.Counts()[pool.Held] == 1 })
		cancel()
		<-failed
		eventually(t, "the client has left", func() bool { return len(h.pool.Sessions()) == 0 })
	}
	r := h.dial()
	r.respond("app", "pw")
	eventually(t, "the client is held", func() bool { return h.pool.Counts()[pool.Held] == 1 })
	h.serve()
	r.expect(r.answer(), "OK")
	r.expect(r.query("SELECT 1"), "1")
	h.cluster.Sleep()
	r.conn.Close()
	eventually(t, "the session is gone", func() bool { return len(h.pool.Sessions()) == 0 })
	if n := h.tally.Aborted.Load(); n != 3 {
		t.Errorf("counted %d aborted clients, want 3", n)
	}
}

// TestDrain: what runs finishes, what is idle goes, who comes is refused.
func TestDrain(t *testing.T) {
	h := build(t, nil)
	idle, busy, inside := h.login("app", "pw"), h.login("app", "pw"), h.login("app", "pw")
	inside.expect(inside.query("BEGIN"), "OK")
	busy.seq = 0
	busy.write([]byte("\x03SELECT SLEEP(0.5)"))
	eventually(t, "one is active", func() bool { return h.pool.Counts()[pool.Active] == 1 })
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		h.pool.DrainAll(ctx)
	}()
	idle.expect(idle.answer(), "closed")
	busy.expect(busy.answer(), "0")
	busy.expect(busy.answer(), "closed")
	inside.expect(inside.query("SELECT 1"), "1")
	inside.expect(inside.query("COMMIT"), "OK")
	inside.expect(inside.answer(), "closed")
	<-drained
	late := h.dial()
	late.respond("app", "pw")
	late.expect(late.answer(), "1053 08S01 Server shutdown in progress")
}

// TestDrainLimit cuts a transaction that does not end in time.
func TestDrainLimit(t *testing.T) {
	h := build(t, nil)
	inside := h.login("app", "pw")
	inside.expect(inside.query("BEGIN"), "OK")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	h.pool.DrainAll(ctx)
	inside.expect(inside.answer(), "closed")
	if n := len(h.pool.Sessions()); n != 0 {
		t.Errorf("%d sessions left", n)
	}
}

// TestEvicted: who is thrown out by a forced change of capacity is told at its
// next command.
func TestEvicted(t *testing.T) {
	h := build(t, nil)
	r := h.login("app", "pw")
	r.expect(r.query("BEGIN"), "OK")
	h.front.Evict(r.greeting.ConnectionID)
	eventually(t, "the seat is free", func() bool { return len(h.pool.Sessions()) == 0 })
	r.expect(r.query("COMMIT"), "1105 HY000 The last transaction was aborted due to Seamless Scaling. Please retry.")
	r.expect(r.answer(), "closed")
}

// TestOperatorKill closes a session, even while it runs something.
func TestOperatorKill(t *testing.T) {
	h := build(t, nil)
	r := h.login("app", "pw")
	r.seq = 0
	r.write([]byte("\x03SELECT SLEEP(31)"))
	eventually(t, "it is active", func() bool { return h.pool.Counts()[pool.Active] == 1 })
	if err := h.pool.Kill(h.pool.Sessions()[0].ID); err != nil {
		t.Fatal(err)
	}
	r.expect(r.answer(), "closed")
	eventually(t, "the seat is free", func() bool { return len(h.pool.Sessions()) == 0 })
	eventually(t, "the engine has stopped it", func() bool {
		var n int
		err := needEngine(t).root.QueryRow("SELECT COUNT(*) FROM information_schema.processlist WHERE info = 'SELECT SLEEP(31)'").Scan(&n)
		return err == nil && n == 0
	})
}

// TestMalformed: bytes that make no sense end this connection, in the
// protocol's words, and no other.
func TestMalformed(t *testing.T) {
	h := build(t, nil)
	bystander := h.login("app", "pw")
	empty := h.login("app", "pw")
	empty.seq = 0
	empty.write(nil)
	empty.expect(empty.answer(), "1835 HY000 Malformed communication packet")
	empty.expect(empty.answer(), "closed")
	unknown := h.login("app", "pw")
	unknown.expect(unknown.command(0x7f, ""), "1047 08S01")
	unknown.expect(unknown.query("SELECT 1"), "1")
	h.cluster.Sleep()
	for _, c := range []struct{ bytes, want string }{
		{"\x03\x00\x00\x01abc", "1043 08S01 Bad handshake"},
		{"\x20\x00\x00\x01" + strings.Repeat("\xff", 32), "1043 08S01 Bad handshake"}, // TLS, and nothing that follows
		{"\x0c\x00\x00\x01\x05\x24\x00\x00\x00root\x00ab\x00", "1043"},
		{"\xff\xff\xff\x01", "1043 08S01 Bad handshake"},
	} {
		stranger := h.dial()
		stranger.conn.Write([]byte(c.bytes))
		stranger.seq = 2
		stranger.conn.(*net.TCPConn).CloseWrite()
		if got := stranger.answer(); !strings.HasPrefix(got, c.want) && got != "closed" {
			t.Errorf("% x: %q, want %q", c.bytes, got, c.want)
		}
	}
	if n := h.cluster.Woken(); n != 0 {
		t.Errorf("woke the cluster %d times", n)
	}
	bystander.expect(bystander.query("SELECT 1"), "1")
}

// TestStrangers: who does not authenticate in time is gone, and at most so many
// may try at once.
func TestStrangers(t *testing.T) {
	h := build(t, func(c *mysqlfront.Config, _ *router.Target, _ *router.Listener) {
		c.HandshakeTimeout = 300 * time.Millisecond
		c.MaxUnauthenticated = oneByOne(make(chan struct{}, 1))
	})
	slow := h.dial()
	conn, err := net.Dial("tcp", h.address)
	if err != nil {
		t.Fatal(err)
	}
	crowd := &raw{t: t, conn: conn}
	crowd.expect(crowd.answer(), "1040 08004 Too many connections")
	slow.expect(slow.answer(), "closed")
	h.login("app", "pw")
}

type oneByOne chan struct{}

func (g oneByOne) TryAcquire(int64) bool {
	select {
	case g <- struct{}{}:
		return true
	default:
		return false
	}
}

func (g oneByOne) Release(int64) { <-g }

// TestSysbench runs its read-write transactions and finds no error.
func TestSysbench(t *testing.T) {
	h := build(t, nil)
	host, port := h.hostPort()
	sysbench := func(do string) string {
		out, err := exec.CommandContext(t.Context(), "sysbench", "oltp_read_write", "--db-driver=mysql", "--mysql-host="+host, "--mysql-port="+port,
			"--mysql-user=app", "--mysql-password=pw", "--mysql-db=app", "--tables=2", "--table-size=10000", "--threads=8", "--time=2", do).CombinedOutput()
		if err != nil {
			t.Fatalf("sysbench %s: %v\n%s", do, err, out)
		}
		return string(out)
	}
	sysbench("prepare")
	out := sysbench("run")
	sysbench("cleanup")
	if !strings.Contains(out, "reconnects:                          0 ") {
		t.Errorf("sysbench:\n%s", out)
	}
}
