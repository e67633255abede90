package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"serverlessproxy/credential"
)

// dialTimeout is for a connection with its login.
const dialTimeout = 10 * time.Second

// application is what the control connection calls itself.
const application = "serverlessproxy"

// Dial is how a server is reached: the socket of one that runs here, which
// trusts us, or the address and service account of one that others run.
type Dial struct {
	Network, Address string
	User             string            // "": the superuser postgres
	Password         credential.Secret // "": none is needed
	Database         string            // "": postgres, or template1 if that was dropped
	TLS              *tls.Config       // nil: plain
}

// blank is a configuration of pgx to start from. pgx cannot be given one that
// it has not parsed itself; everything in it that the environment could have
// set is replaced before use.
var blank = sync.OnceValues(func() (*pgx.ConnConfig, error) {
	return pgx.ParseConfig("host=/ port=5432 user=postgres dbname=postgres sslmode=disable passfile=/dev/null target_session_attrs=any connect_timeout=10 min_protocol_version=3.0 max_protocol_version=3.0")
})

// config is how pgx connects. settings go into the start-up packet.
func (d Dial) config(database string, settings map[string]string) (*pgx.ConnConfig, error) {
	parsed, err := blank()
	if err != nil {
		return nil, fmt.Errorf("configure connection: %w", err)
	}
	c := parsed.Copy()
	c.Host, c.Port = filepath.Dir(d.Address), port // for messages: the dialler below knows better
	if d.Network != "unix" {
		c.Host, _, _ = net.SplitHostPort(d.Address)
	}
	c.User, c.Password, c.Database = d.user(), string(d.Password), database
	c.TLSConfig, c.Fallbacks = d.TLS, nil
	c.RuntimeParams = settings
	c.ConnectTimeout = dialTimeout
	c.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	c.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, d.Network, d.Address)
	}
	return c, nil
}

func (d Dial) user() string {
	if d.User != "" {
		return d.User
	}
	return superuser
}

// databases are those to try, in order.
func (d Dial) databases() []string {
	if d.Database != "" {
		return []string{d.Database}
	}
	return []string{home, refuge}
}

// control opens a connection for our own questions. Its search path keeps
// whatever users have made out of their way.
func (d Dial) control(ctx context.Context) (*pgx.Conn, error) {
	var err error
	for _, database := range d.databases() {
		var config *pgx.ConnConfig
		config, err = d.config(database, map[string]string{
			"application_name": application,
			"client_encoding":  "UTF8",
			"search_path":      "pg_catalog",
			"datestyle":        "ISO",
		})
		if err != nil {
			return nil, err
		}
		var conn *pgx.Conn
		if conn, err = pgx.ConnectConfig(ctx, config); err == nil {
			return conn, nil
		}
		if sqlState(err) != invalidCatalogName {
			break
		}
	}
	return nil, fmt.Errorf("connect as %s: %w", d.user(), err)
}

// fresh opens a connection as a client without any wishes does, and closes it:
// what counts is what the server says of itself (its ParameterStatus).
func (d Dial) fresh(ctx context.Context) (map[string]string, error) {
	var err error
	for _, database := range d.databases() {
		var config *pgx.ConnConfig
		config, err = d.config(database, nil)
		if err != nil {
			return nil, err
		}
		var conn *pgconn.PgConn
		if conn, err = pgconn.ConnectConfig(ctx, &config.Config); err == nil {
			return statuses(conn)
		}
		if sqlState(err) != invalidCatalogName {
			break
		}
	}
	return nil, fmt.Errorf("read the server's parameters: %w", err)
}

// statuses takes the ParameterStatus values out of a connection and ends it.
func statuses(conn *pgconn.PgConn) (map[string]string, error) {
	taken, err := conn.Hijack()
	if err != nil {
		return nil, fmt.Errorf("read the server's parameters: %w", err)
	}
	_, _ = taken.Conn.Write([]byte{'X', 0, 0, 0, 4})
	_ = taken.Conn.Close()
	return taken.ParameterStatuses, nil
}

// Ready returns nil when the server answers a query.
func (e *Engine) Ready(ctx context.Context, network, address string) error {
	d := Dial{Network: network, Address: address}
	conn, err := d.control(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.PgConn().Exec(ctx, "SELECT 1").ReadAll(); err != nil {
		return fmt.Errorf("ask the server: %w", err)
	}
	return nil
}

// The SQLSTATEs that decide what is done next.
const (
	insufficientPrivilege = "42501"
	invalidCatalogName    = "3D000"
)

// sqlState is "" for an error that the server did not send.
func sqlState(err error) string {
	var sent *pgconn.PgError
	if errors.As(err, &sent) {
		return sent.Code
	}
	return ""
}
