package e2e

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"log"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

var driverBadConn = driver.ErrBadConn

func (p *proxy) url(e engine) *url.URL {
	if e.driver == "pgx" {
		return p.urls["postgres"]
	}
	return p.urls["mysql"]
}

// dsn is what database/sql's driver takes.
func (p *proxy) dsn(e engine) string { return p.dsnFor(e, nil) }

func (p *proxy) dsnFor(e engine, who *url.Userinfo) string {
	u := *p.url(e)
	if who != nil {
		u.User = who
	}
	if e.driver == "pgx" {
		if p.secure {
			return u.String() + "?sslmode=require"
		}
		return u.String() + "?sslmode=disable"
	}
	c := mysql.NewConfig()
	if p.secure {
		c.TLSConfig = "skip-verify"
	}
	c.User = u.User.Username()
	c.Passwd, _ = u.User.Password()
	c.Net, c.Addr, c.DBName = "tcp", u.Host, strings.TrimPrefix(u.Path, "/")
	c.Logger = log.New(io.Discard, "", 0)
	return c.FormatDSN()
}

// open is a pool of the driver's with at most one connection.
func (p *proxy) open(e engine) *sql.DB { return p.openAs(e, nil) }

func (p *proxy) openAs(e engine, who *url.Userinfo) *sql.DB {
	p.t.Helper()
	db, err := sql.Open(e.driver, p.dsnFor(e, who))
	if err != nil {
		p.t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	p.t.Cleanup(func() { db.Close() })
	return db
}

// connect is one connection that answers.
func (p *proxy) connect(e engine) *sql.Conn {
	p.t.Helper()
	conn, err := p.tryConnect(e, nil)
	if err != nil {
		p.t.Fatalf("connect to %s: %v", e.name, err)
	}
	return conn
}

func (p *proxy) tryConnect(e engine, who *url.Userinfo) (*sql.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	return p.openAs(e, who).Conn(ctx)
}

// one is the single value that a query gives.
func one(t *testing.T, c interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}, query string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	var v sql.NullString
	if err := c.QueryRowContext(ctx, query).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v.String
}

func do(t *testing.T, c interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}, statements ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	for _, statement := range statements {
		if _, err := c.ExecContext(ctx, statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// tool runs a client program of the engine's against the endpoint.
func (p *proxy) tool(ctx context.Context, e engine, args ...string) (string, error) {
	u := p.url(e)
	secret, _ := u.User.Password()
	host, port, _ := net.SplitHostPort(u.Host)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "PGHOST="+host, "PGPORT="+port, "PGUSER="+u.User.Username(), "PGPASSWORD="+secret, "PGDATABASE=app", "PGSSLMODE=prefer",
		"PGCONNECT_TIMEOUT=60", "MYSQL_HOST="+host, "MYSQL_TCP_PORT="+port, "MYSQL_PWD="+secret)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (p *proxy) mustTool(e engine, args ...string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	out, err := p.tool(ctx, e, args...)
	if err != nil {
		p.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return out
}

// shell is the engine's own command-line client with one statement.
func (p *proxy) shell(e engine, statement string) []string {
	if e.driver == "pgx" {
		return []string{"psql", "-XAtqc", statement}
	}
	host, port, _ := net.SplitHostPort(p.url(e).Host)
	return []string{"mariadb", "--no-defaults", "-N", "-h", host, "-P", port, "-u", "app", "app", "-e", statement}
}

func (p *proxy) sysbench(args ...string) []string {
	u := p.urls["mysql"]
	host, port, _ := net.SplitHostPort(u.Host)
	secret, _ := u.User.Password()
	return append([]string{"sysbench", "oltp_read_write", "--db-driver=mysql", "--mysql-host=" + host, "--mysql-port=" + port, "--mysql-user=app",
		"--mysql-password=" + secret, "--mysql-db=app", "--tables=4", "--table-size=10000"}, args...)
}

func pingMySQL(ctx context.Context, c *mysql.Config) error {
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	return db.PingContext(ctx)
}
