package mysqlfront_test

import (
	"crypto/sha1" //nolint:gosec // mysql_native_password's
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"serverlessproxy/mysqlfront/mysqlwire"
)

// raw is a client by hand, to see what no driver shows.
type raw struct {
	t        *testing.T
	conn     net.Conn
	seq      byte
	greeting mysqlwire.Greeting
	caps     mysqlwire.Capabilities
}

const plainCaps = mysqlwire.Capabilities(mysql.CLIENT_PROTOCOL_41 | mysql.CLIENT_SECURE_CONNECTION | mysql.CLIENT_PLUGIN_AUTH |
	mysql.CLIENT_CONNECT_WITH_DB | mysql.CLIENT_LONG_PASSWORD | mysql.CLIENT_TRANSACTIONS | mysql.CLIENT_MULTI_STATEMENTS | mysql.CLIENT_MULTI_RESULTS)

// dial connects and reads the greeting.
func (h *house) dial() *raw {
	h.t.Helper()
	conn, err := net.Dial("tcp", h.address)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	r := &raw{t: h.t, conn: conn, caps: plainCaps}
	payload := r.read()
	if r.greeting, err = mysqlwire.ParseGreeting(payload); err != nil {
		h.t.Fatal(err)
	}
	return r
}

// login is dial and what follows, up to the OK.
func (h *house) login(user, password string) *raw {
	h.t.Helper()
	r := h.dial()
	r.respond(user, password)
	if got := r.answer(); got != "OK" {
		h.t.Fatalf("login of %s: %s", user, got)
	}
	return r
}

func (r *raw) respond(user, password string) {
	r.write(mysqlwire.AppendResponse(nil, mysqlwire.Response{
		Capabilities: r.caps, MaxPacket: 1 << 24, Charset: 45, User: user, Database: "app",
		Plugin: mysqlwire.NativePassword, Auth: native(password, r.greeting.Salt[:]),
	}))
}

func native(password string, salt []byte) []byte {
	once := sha1.Sum([]byte(password))
	return mysqlwire.NativeProof(once[:], salt)
}

func (r *raw) write(payload []byte) {
	r.t.Helper()
	next, err := mysqlwire.WritePacket(r.conn, r.seq, payload)
	if err != nil {
		r.t.Fatal(err)
	}
	r.seq = next
}

// read returns a packet, nil at the end.
func (r *raw) read() []byte {
	r.t.Helper()
	payload, seq, err := mysqlwire.ReadPacket(r.conn, 64<<20)
	if err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			r.t.Fatal(err)
		}
		return nil
	}
	if seq != r.seq {
		r.t.Errorf("packet %d, want %d", seq, r.seq)
	}
	r.seq = seq + 1
	return payload
}

// answer reads one packet and says what it is: OK, an error, "closed", or the
// first value of a row.
func (r *raw) answer() string {
	r.t.Helper()
	return r.meaning(r.read())
}

func (r *raw) meaning(payload []byte) string {
	r.t.Helper()
	switch {
	case payload == nil:
		return "closed"
	case payload[0] == mysqlwire.OKHeader:
		return "OK"
	case payload[0] == mysqlwire.ErrHeader:
		e, err := mysqlwire.ParseErr(payload)
		if err != nil {
			r.t.Fatal(err)
		}
		return fmt.Sprintf("%d %s %s", e.Code, e.SQLState, e.Message)
	case payload[0] == mysqlwire.AuthSwitchHeader:
		plugin, salt, _ := mysqlwire.ParseAuthSwitch(payload)
		copy(r.greeting.Salt[:], salt)
		return "switch " + plugin
	case payload[0] == 1: // a column count: definition, EOF, row, EOF
		r.read()
		r.read()
		row := r.read()
		if len(row) == 0 || row[0] == mysqlwire.ErrHeader {
			return r.meaning(row)
		}
		r.read()
		value, _, _ := mysqlwire.String(row)
		return string(value)
	}
	return fmt.Sprintf("% x", payload)
}

// command sends a command and returns its answer.
func (r *raw) command(command byte, rest string) string {
	r.t.Helper()
	r.seq = 0
	r.write(append([]byte{command}, rest...))
	return r.answer()
}

func (r *raw) query(text string) string {
	r.t.Helper()
	return r.command(mysql.COM_QUERY, text)
}

// expect compares an answer's beginning.
func (r *raw) expect(got, want string) {
	r.t.Helper()
	if !strings.HasPrefix(got, want) {
		r.t.Errorf("answer %q, want %q", got, want)
	}
}
