package mysql

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"

	"serverlessproxy/credential"
)

// Login is how the proxy itself logs in to a server.
type Login struct {
	User     string
	Password credential.Secret
	TLS      *tls.Config // nil: plain
}

// limit bounds every exchange on a control connection whose context does not.
const limit = 10 * time.Second

// control is a control connection. One goroutine at a time uses it.
type control struct {
	conn     *client.Conn
	wire     net.Conn // beneath conn; its deadline bounds conn's waits
	greeting credential.Greeting
	flavor   *Flavor
	version  Version
	sighted  bool // it may see every schema; asked by Source
}

// dial logs in, and keeps what the server said first.
func dial(ctx context.Context, network, address string, login Login) (*control, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	wire, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("connect to the server: %w", err)
	}
	listening := &eavesdropper{Conn: wire}
	c := &control{wire: wire}
	err = c.within(ctx, func() error {
		c.conn, err = client.ConnectWithDialer(ctx, network, address, login.User, string(login.Password), "", handOver(listening), asControl(login.TLS))
		return err
	})
	if err != nil {
		wire.Close()
		return nil, fmt.Errorf("log in as %s: %w", login.User, err)
	}
	c.greeting, err = parseGreeting(listening.packet())
	if err != nil {
		wire.Close()
		return nil, err
	}
	c.flavor = flavorOf(c.greeting.ServerVersion)
	c.version, _ = parseVersion(strings.TrimPrefix(c.greeting.ServerVersion, "5.5.5-"))
	return c, nil
}

// handOver gives the client a connection that is there already.
func handOver(conn net.Conn) client.Dialer {
	return func(context.Context, string, string) (net.Conn, error) { return conn, nil }
}

// asControl: several statements in one round trip, text in UTF-8.
func asControl(encryption *tls.Config) client.Option {
	return func(c *client.Conn) error {
		if encryption != nil {
			c.SetTLSConfig(encryption)
		}
		c.SetAttributes(map[string]string{"program_name": "serverlessproxy"})
		return errors.Join(
			c.SetCollation("utf8mb4_general_ci"),
			c.SetCapability(mysql.CLIENT_MULTI_STATEMENTS),
			c.SetCapability(mysql.CLIENT_MULTI_RESULTS),
			c.SetCapability(mysql.CLIENT_CONNECT_ATTRS),
		)
	}
}

// within runs an exchange that ends when ctx does. After an exchange that was
// cut short the connection is worth nothing, and every later one fails.
func (c *control) within(ctx context.Context, exchange func() error) error {
	deadline, bounded := ctx.Deadline()
	if !bounded {
		deadline = time.Now().Add(limit)
	}
	if err := c.wire.SetDeadline(deadline); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, c.cutShort)
	err := exchange()
	if !stop() {
		return errors.Join(ctx.Err(), err)
	}
	return err
}

func (c *control) cutShort() { c.wire.Close() }

// run sends statements, one after the other.
func (c *control) run(ctx context.Context, statements ...string) error {
	for _, statement := range statements {
		err := c.within(ctx, func() error {
			_, err := c.conn.Execute(statement)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ask sends statements in one round trip and returns a table for each.
func (c *control) ask(ctx context.Context, statements []string) ([]table, error) {
	var tables []table
	var failed error
	collect := func(result *mysql.Result, err error) {
		if err != nil {
			failed = err
			return
		}
		tables = append(tables, tableOf(result))
	}
	err := c.within(ctx, func() error {
		_, err := c.conn.ExecuteMultiple(strings.Join(statements, ";"), collect)
		return err
	})
	if err := errors.Join(failed, err); err != nil {
		return nil, err
	}
	if len(tables) != len(statements) {
		return nil, fmt.Errorf("the server answered %d of %d statements", len(tables), len(statements))
	}
	return tables, nil
}

// quit says goodbye, so that the server counts no aborted client.
func (c *control) quit() {
	c.wire.SetDeadline(time.Now().Add(time.Second))
	if c.conn.Quit() != nil {
		c.wire.Close()
	}
}

// table is a result: rows of columns by name. A NULL is "".
type table []map[string]string

func tableOf(result *mysql.Result) table {
	if !result.HasResultset() {
		return nil
	}
	rows := make(table, len(result.Values))
	for i, values := range result.Values {
		rows[i] = make(map[string]string, len(values))
		for j := range values {
			rows[i][strings.ToLower(string(result.Fields[j].Name))] = textOf(values[j])
		}
	}
	return rows
}

// textOf copies: a value refers to memory that the client may use again.
func textOf(value mysql.FieldValue) string {
	switch v := value.Value().(type) {
	case nil:
		return ""
	case []byte:
		return string(v)
	default:
		return fmt.Sprint(v)
	}
}

// quote makes a string literal of text without backslashes, or for a session
// in the mode NO_BACKSLASH_ESCAPES.
func quote(text string) string {
	return "'" + strings.ReplaceAll(text, "'", "''") + "'"
}

// identifier quotes a name.
func identifier(name string) string {
	return "`" + strings.ReplaceAll(name, "`", "``") + "`"
}

// literal is a string for a comparison, whatever is in it.
func literal(text string) string { return fmt.Sprintf("_utf8mb4 x'%x'", text) }
