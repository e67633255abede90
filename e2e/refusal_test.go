package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	be "encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// endpointOf is the endpoint that quickstart's configuration gives a cluster.
func (p *proxy) endpointOf(e engine) string {
	var c struct{ Endpoint string }
	p.mustCommand(&c, "status", e.cluster)
	return c.Endpoint
}

// TestInstancesAreRefused: whatever names an instance is refused, in
// protocol, naming the endpoint, counted, and never waking.
func TestInstancesAreRefused(t *testing.T) {
	p := quickstart(t)
	for _, e := range engines {
		p.command("pause", e.cluster)
		p.waitState(e, "paused", 20*time.Second)
	}
	resumed := p.metric("serverlessproxy_resumes_total")
	eachEngine(t, func(t *testing.T, e engine) {
		endpoint := p.endpointOf(e)
		name, rest, _ := strings.Cut(endpoint, ".cluster-")
		id, suffix, _ := strings.Cut(rest, ".")
		for _, host := range []string{
			name + "-instance-1." + id + "." + suffix,
			name + ".cluster-ro-" + id + "." + suffix,
			name + ".cluster-custom-" + id + "." + suffix,
		} {
			before := p.metric("serverlessproxy_connections_refused_total", `reason="instance"`, `cluster="`+e.cluster+`"`)
			p.expectInstanceRefusal(t, e, endpoint, func() error { return p.loginWithSNI(e, host) })
			if n := p.metric("serverlessproxy_connections_refused_total", `reason="instance"`, `cluster="`+e.cluster+`"`) - before; n != 1 {
				t.Errorf("%s: %v refusals are counted, want 1", host, n)
			}
		}
		p.expectInstanceRefusal(t, e, endpoint, func() error { return p.loginWithOption(e, "instance", name+"-1") })
	})
	if n := p.metric("serverlessproxy_resumes_total") - resumed; n != 0 {
		t.Errorf("%v resumes", n)
	}
	eachEngine(t, func(t *testing.T, e engine) {
		if err := p.loginWithSNI(e, p.endpointOf(e)); err != nil {
			t.Errorf("the endpoint's own name: %v", err)
		}
		if err := p.loginWithOption(e, "endpoint", e.cluster); err != nil {
			t.Errorf("the option endpoint: %v", err)
		}
	})
}

func (p *proxy) expectInstanceRefusal(t *testing.T, e engine, endpoint string, login func() error) {
	t.Helper()
	err := login()
	if err == nil || !strings.Contains(err.Error(), endpoint) {
		t.Errorf("%s: got %v, want a refusal that names %s", e.name, err, endpoint)
		return
	}
	var pg *pgconn.PgError
	var my *mysql.MySQLError
	if errors.As(err, &pg) && pg.Code != "08004" || errors.As(err, &my) && my.Number != 1130 {
		t.Errorf("%s: %v", e.name, err)
	}
}

// loginWithSNI logs in over TLS with a host name of one's choice.
func (p *proxy) loginWithSNI(e engine, host string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	config := &tls.Config{ServerName: host, InsecureSkipVerify: true}
	if e.driver == "pgx" {
		c, err := pgx.ParseConfig(p.dsn(e))
		if err != nil {
			return err
		}
		c.TLSConfig = config
		conn, err := pgx.ConnectConfig(ctx, c)
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	}
	c, err := mysql.ParseDSN(p.dsn(e))
	if err != nil {
		return err
	}
	c.TLS = config
	return pingMySQL(ctx, c)
}

// loginWithOption logs in with a start-up option or a connection attribute.
func (p *proxy) loginWithOption(e engine, key, value string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if e.driver == "pgx" {
		c, err := pgx.ParseConfig(p.dsn(e))
		if err != nil {
			return err
		}
		c.RuntimeParams["options"] = key + "=" + value
		conn, err := pgx.ConnectConfig(ctx, c)
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	}
	c, err := mysql.ParseDSN(p.dsn(e))
	if err != nil {
		return err
	}
	c.ConnectionAttributes = key + ":" + value
	return pingMySQL(ctx, c)
}

// TestMalformedBytes: the protocol's own error or a plain close, this
// connection alone, and nothing grows by a header that promises gigabytes.
func TestMalformedBytes(t *testing.T) {
	p := quickstart(t)
	startup := func(body string) []byte {
		b := be.BigEndian.AppendUint32(nil, uint32(len(body)+8))
		return append(be.BigEndian.AppendUint32(b, 196608), body...)
	}
	for _, c := range []struct {
		name  string
		e     engine
		bytes []byte
		want  string // part of the answer; "" for any end
	}{
		{"HTTP", postgres, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), ""},
		{"huge start-up", postgres, []byte{0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0}, ""},
		{"short start-up", postgres, []byte{0, 0, 0, 4}, ""},
		{"no user", postgres, startup("database\x00app\x00\x00"), "28000"},
		{"no terminator", postgres, startup("user\x00app"), "08P01"},
		{"protocol 2", postgres, []byte{0, 0, 0, 8, 0, 2, 0, 0}, "0A000"},
		{"HTTP", mariadb, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), ""},
		{"huge packet", mariadb, []byte{0xff, 0xff, 0xff, 1}, ""},
		{"empty packet", mariadb, []byte{0, 0, 0, 1}, ""},
		{"zeros", mariadb, make([]byte, 64), ""},
	} {
		t.Run(c.e.name+"/"+c.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", p.url(c.e).Host)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write(c.bytes); err != nil {
				t.Fatal(err)
			}
			_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
			answer, err := io.ReadAll(conn)
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Errorf("the connection stays open; answered %q", answer)
			}
			if !bytes.Contains(answer, []byte(c.want)) {
				t.Errorf("answered %q, want %s in it", answer, c.want)
			}
		})
	}
	eachEngine(t, func(t *testing.T, e engine) {
		if got := one(t, p.open(e), "select 3"); got != "3" {
			t.Errorf("afterwards: %q", got)
		}
	})
}

// TestMalformedCommand: bytes that break the protocol after the login.
func TestMalformedCommand(t *testing.T) {
	p := quickstart(t)
	t.Run("postgres", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		conn, err := pgconn.Connect(ctx, p.dsn(postgres))
		if err != nil {
			t.Fatal(err)
		}
		hijacked, err := conn.Hijack()
		if err != nil {
			t.Fatal(err)
		}
		defer hijacked.Conn.Close()
		_, _ = hijacked.Conn.Write([]byte{'Q', 0, 0, 0, 1})
		_ = hijacked.Conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		answer, _ := io.ReadAll(hijacked.Conn)
		if !bytes.Contains(answer, []byte("08P01")) {
			t.Errorf("answered %q", answer)
		}
	})
	if n := p.metric("serverlessproxy_connections_refused_total", `reason="protocol"`, `cluster="pg"`); n != 1 {
		t.Errorf("%v broken connections are counted, want 1", n)
	}
}
