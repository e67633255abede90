package mysqlfront

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/pires/go-proxyproto"

	"serverlessproxy/cluster"
	"serverlessproxy/mysqlfront/mysqlwire"
	"serverlessproxy/router"
)

// backend is a session's connection to the engine, logged in.
type backend struct {
	conn net.Conn
	at   cluster.Backend
	id   uint32 // the engine's number for it
	salt [mysqlwire.SaltSize]byte
	// plugin is what the engine tries first.
	plugin string
	// mariaDB tells that what a session has can be read as MariaDB shows it.
	mariaDB bool
	// showsLocks tells that it shows what a session has locked.
	showsLocks bool
}

const (
	loginLasts = time.Minute // an engine that has just woken may have hundreds at its door
	// maxLoginPacket bounds what an engine says during a login.
	maxLoginPacket = 1 << 20
)

// shaping are the capabilities that change how packets look: where the client
// has agreed on one, its backends must.
const shaping = mysqlwire.Capabilities(mysql.CLIENT_DEPRECATE_EOF|mysql.CLIENT_SESSION_TRACK|mysql.CLIENT_MULTI_RESULTS|
	mysql.CLIENT_PS_MULTI_RESULTS|mysql.CLIENT_QUERY_ATTRIBUTES|mysql.CLIENT_OPTIONAL_RESULTSET_METADATA) |
	mysqlwire.Capabilities(0xffffffff<<32)

// caller is who logs in to an engine, for whom and with what.
type caller struct {
	upstream router.Upstream
	secrets  secrets
	hello    mysqlwire.Response
	secured  bool     // the account requires TLS
	client   net.Addr // the client's own address, and the one it came to
	local    net.Addr
}

// reach dials the engine and logs in. It returns the engine's OK. The error is
// a *mysqlwire.ServerError where the engine refused.
func (c caller) reach(ctx context.Context, at cluster.Backend) (*backend, []byte, error) {
	conn, err := dialEngine(ctx, at)
	if err != nil {
		return nil, nil, err
	}
	b := &backend{conn: conn, at: at}
	ok, err := c.enter(ctx, b)
	if err != nil {
		b.conn.Close()
		return nil, nil, err
	}
	return b, ok, nil
}

// enter logs in over a connection that has just been dialled.
func (c caller) enter(ctx context.Context, b *backend) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, loginLasts)
	defer cancel()
	defer guard(ctx, b.conn)()
	if err := c.announce(b.conn); err != nil {
		return nil, err
	}
	p := &packets{conn: b.conn}
	payload, err := p.readAnswer(maxLoginPacket)
	if err != nil {
		return nil, fmt.Errorf("read engine's greeting: %w", err)
	}
	greeting, err := mysqlwire.ParseGreeting(payload)
	if err != nil {
		return nil, err
	}
	if missing := c.hello.Capabilities & shaping &^ greeting.Capabilities; missing != 0 {
		return nil, fmt.Errorf("%w: capabilities %#x", errUnlike, uint64(missing))
	}
	b.mariaDB = greeting.Capabilities.IsMariaDB()
	b.id, b.salt, b.plugin = greeting.ConnectionID, greeting.Salt, greeting.Plugin
	response := c.response(greeting)
	if config := c.tlsConfig(b, greeting.Capabilities); config != nil {
		response.Capabilities |= flagSSL
		if err := b.encrypt(ctx, p, response, config); err != nil {
			return nil, err
		}
	}
	talk := b.proof(p, c.secrets)
	response.Plugin, response.Auth = talk.plugin, talk.first()
	if err := p.write(mysqlwire.AppendResponse(nil, response)); err != nil {
		return nil, fmt.Errorf("log in to engine: %w", err)
	}
	ok, err := talk.finish()
	if err != nil {
		return nil, fmt.Errorf("log in to engine: %w", err)
	}
	return ok, nil
}

// announce sends the client's address ahead of everything.
func (c caller) announce(conn net.Conn) error {
	if !c.upstream.ProxyHeader {
		return nil
	}
	_, tcp := c.client.(*net.TCPAddr)
	if !tcp {
		return nil // a local client is local to the engine, too
	}
	header := proxyproto.HeaderProxyFromAddrs(2, c.client, c.local)
	if _, err := header.WriteTo(conn); err != nil {
		return fmt.Errorf("announce client to engine: %w", err)
	}
	return nil
}

// response is the client's own, as far as it concerns the engine.
func (c caller) response(g mysqlwire.Greeting) mysqlwire.Response {
	r := c.hello
	r.Capabilities |= needed | flagLongProof
	if r.Database != "" {
		r.Capabilities |= flagWithDB
	}
	// What a server did not offer it may take for something else.
	r.Capabilities &= g.Capabilities | flagMySQL
	return r
}

// tlsConfig is what the connection to the engine is encrypted with, nil for
// none. An account with REQUIRE SSL is held to it by the engine, too: a local
// connection of such a user is encrypted where the engine has a certificate,
// which there is no need to check.
func (c caller) tlsConfig(b *backend, offered mysqlwire.Capabilities) *tls.Config {
	_, local := b.conn.(*net.UnixConn)
	if c.upstream.TLS == nil && c.secured && local && offered.Has(mysql.CLIENT_SSL) {
		return &tls.Config{InsecureSkipVerify: true} //nolint:gosec // see above
	}
	return c.upstream.TLS
}

// encrypt puts TLS around a connection to the engine.
func (b *backend) encrypt(ctx context.Context, p *packets, r mysqlwire.Response, config *tls.Config) error {
	if err := p.write(mysqlwire.AppendSSLRequest(nil, r)); err != nil {
		return fmt.Errorf("ask engine for TLS: %w", err)
	}
	encrypted := tls.Client(b.conn, config)
	if err := encrypted.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("encrypt connection to engine: %w", err)
	}
	b.conn, p.conn = encrypted, encrypted
	return nil
}

// proof is our side of an authentication on this connection.
func (b *backend) proof(p *packets, with secrets) *proof {
	_, local := b.conn.(*net.UnixConn)
	_, encrypted := b.conn.(*tls.Conn)
	return &proof{packets: p, secrets: with, private: local || encrypted, encrypted: encrypted, plugin: b.plugin, salt: b.salt[:]}
}

// again authenticates a backend as another user, by COM_CHANGE_USER.
func (c caller) again(ctx context.Context, b *backend) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, loginLasts)
	defer cancel()
	defer guard(ctx, b.conn)()
	p := &packets{conn: b.conn}
	talk := b.proof(p, c.secrets)
	change := mysqlwire.ChangeUser{
		User:       c.hello.User,
		Auth:       talk.first(),
		Database:   c.hello.Database,
		Charset:    uint16(c.hello.Charset),
		Plugin:     talk.plugin,
		Attributes: c.hello.Attributes,
	}
	agreed := c.hello.Capabilities | needed
	if err := p.write(mysqlwire.AppendChangeUser(nil, change, agreed)); err != nil {
		return nil, fmt.Errorf("change user of engine's connection: %w", err)
	}
	ok, err := talk.finish()
	if err != nil {
		return nil, fmt.Errorf("change user of engine's connection: %w", err)
	}
	return ok, nil
}

// command sends a command and waits for its OK.
func (b *backend) command(ctx context.Context, payload ...byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, loginLasts)
	defer cancel()
	defer guard(ctx, b.conn)()
	p := &packets{conn: b.conn}
	if err := p.write(payload); err != nil {
		return nil, err
	}
	return p.readAnswer(maxLoginPacket)
}

const (
	farewellLasts = 5 * time.Second  // for the engine to close after COM_QUIT
	abandonLasts  = 10 * time.Second // for it to finish what a vanished client began
)

// quit takes leave of the engine, and returns when it has closed.
func (b *backend) quit() {
	p := &packets{conn: b.conn}
	b.conn.SetDeadline(time.Now().Add(farewellLasts))
	p.write([]byte{mysql.COM_QUIT})
	b.drain()
}

// abandon lets the engine run what the client sent last, and returns when it
// has closed. What it answers, nobody hears.
func (b *backend) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, abandonLasts)
	defer cancel()
	defer guard(ctx, b.conn)()
	b.drain()
}

func (b *backend) drain() {
	if half, ok := b.conn.(halfCloser); ok {
		half.CloseWrite()
	}
	io.Copy(io.Discard, b.conn)
	b.conn.Close()
}

// worthAnother tells whether a login may succeed when it is tried again: the
// engine was not there, or on its way out.
func worthAnother(err error) bool {
	var refusal *mysqlwire.ServerError
	if errors.As(err, &refusal) {
		return refusal.Code == mysql.ER_SERVER_SHUTDOWN
	}
	return !errors.Is(err, errUnlike) && !errors.Is(err, errUnknownPlugin)
}
