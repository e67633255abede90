package e2e

import (
	"context"
	"crypto/tls"
	"database/sql"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// TestProxyProtocol: a load balancer before us, and the client's own address
// in our sessions and, where the engine takes it, in the engine's.
func TestProxyProtocol(t *testing.T) {
	p := quickstart(t)
	p.edit(func(config string) string {
		var b strings.Builder
		for line := range strings.Lines(config) {
			b.WriteString(line)
			if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, "- protocol:") {
				b.WriteString(strings.Repeat(" ", strings.Index(line, "-")+2) + "proxy_protocol: true\n")
			}
		}
		return b.String()
	})
	dial := func(header string) func(context.Context, string, string) (net.Conn, error) {
		return func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
			if err == nil {
				_, err = conn.Write([]byte(header))
			}
			return conn, err
		}
	}
	const header = "PROXY TCP4 192.0.2.7 127.0.0.1 40000 5432\r\n"
	eachEngine(t, func(t *testing.T, e engine) {
		db := p.openThrough(t, e, dial(header))
		conn, err := db.Conn(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		var sessions []struct {
			ClientAddress string `json:"client_address"`
		}
		p.mustCommand(&sessions, "sessions", e.cluster)
		if len(sessions) != 1 || !strings.HasPrefix(sessions[0].ClientAddress, "192.0.2.7") {
			t.Errorf("sessions %+v", sessions)
		}
		if e.driver == "mysql" {
			if got := one(t, conn, "select user()"); got != "app@192.0.2.7" {
				t.Errorf("the engine sees %s", got)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := p.open(e).PingContext(ctx); err == nil {
			t.Error("a client without a header was let in")
		}
	})
}

// openThrough is a pool whose connections are dialled by dial.
func (p *proxy) openThrough(t *testing.T, e engine, dial func(context.Context, string, string) (net.Conn, error)) *sql.DB {
	t.Helper()
	if e.driver == "pgx" {
		c, err := pgx.ParseConfig(p.dsn(e))
		if err != nil {
			t.Fatal(err)
		}
		c.DialFunc = dial
		return stdlib.OpenDB(*c)
	}
	c, err := mysql.ParseDSN(p.dsn(e))
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("proxied-%p", p)
	mysql.RegisterDialContext(name, func(ctx context.Context, address string) (net.Conn, error) { return dial(ctx, "tcp", address) })
	c.Net = name
	connector, err := mysql.NewConnector(c)
	if err != nil {
		t.Fatal(err)
	}
	return sql.OpenDB(connector)
}

// TestTLS: clients that ask for it get it, and a proxy that requires it takes
// no others.
func TestTLS(t *testing.T) {
	p := quickstart(t)
	eachEngine(t, func(t *testing.T, e engine) {
		if err := p.loginWithSNI(e, "localhost"); err != nil {
			t.Errorf("over TLS: %v", err)
		}
	})
	p.edit(func(config string) string { return config + "\ntls: {mode: require}\n" })
	eachEngine(t, func(t *testing.T, e engine) {
		if err := p.loginWithSNI(e, "localhost"); err != nil {
			t.Errorf("over TLS: %v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := p.open(e).PingContext(ctx); err == nil {
			t.Error("a client without TLS was let in")
		}
	})
}

// TestRequireSSL: such an account gets in over TLS alone.
func TestRequireSSL(t *testing.T) {
	p := quickstart(t)
	p.mustTool(mariadb, p.shell(mariadb, "create user careful@'%' identified by 'careful-password' require ssl")...)
	p.mustTool(mariadb, p.shell(mariadb, "grant select on app.* to careful@'%'")...)
	c, err := mysql.ParseDSN(p.dsn(mariadb))
	if err != nil {
		t.Fatal(err)
	}
	c.User, c.Passwd = "careful", "careful-password"
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := pingMySQL(ctx, c); err == nil {
		t.Error("it was let in without TLS")
	}
	c.TLS = &tls.Config{InsecureSkipVerify: true}
	if err := pingMySQL(ctx, c); err != nil {
		t.Errorf("over TLS: %v", err)
	}
}
