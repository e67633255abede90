package pgfront

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"github.com/xdg-go/scram"

	"serverlessproxy/pgfront/pgwire"
)

// alpn is the protocol that a client of direct TLS must ask for.
const alpn = "postgresql"

// greet reads what a client opens with, until it wants a session or a cancel.
func (v *visitor) greet(ctx context.Context) error {
	var askedTLS, askedGSS bool
	for first := true; ; first = false {
		startup, err := pgwire.ReadStartup(v.conn)
		if err != nil {
			if ended(err) {
				return fmt.Errorf("%w: %w", errClientGone, err)
			}
			return err
		}
		v.heard()
		switch {
		case startup.Kind == pgwire.DirectTLS && first:
			err = v.directTLS(ctx, startup.Prefix)
			askedTLS, askedGSS = true, true
		case startup.Kind == pgwire.SSLRequest && !askedTLS:
			askedTLS = true
			err = v.askedTLS(ctx)
			askedGSS = askedGSS || v.secure != ""
		case startup.Kind == pgwire.GSSEncRequest && !askedGSS:
			askedGSS = true
			err = v.send([]byte{'N'})
		case startup.Kind == pgwire.CancelRequest:
			v.startup = startup
			return nil
		case startup.Kind == pgwire.StartupMessage:
			v.startup = startup
			return v.agree()
		default:
			return violation("unexpected request during startup", "")
		}
		if err != nil {
			return err
		}
	}
}

// agree settles the version of the protocol.
func (v *visitor) agree() error {
	if v.startup.Major() != 3 {
		return unsupportedProtocol(v.startup)
	}
	v.reader = pgwire.NewReader(v.conn)
	if v.startup.Minor() == 0 && len(v.startup.Unsupported) == 0 {
		return nil
	}
	return v.send(pgwire.AppendNegotiateVersion(nil, v.startup.Unsupported))
}

// askedTLS answers an SSLRequest.
func (v *visitor) askedTLS(ctx context.Context) error {
	config := v.config()
	if config == nil {
		return v.send([]byte{'N'})
	}
	if err := v.send([]byte{'S'}); err != nil {
		return err
	}
	return v.startTLS(ctx, v.conn, config)
}

// directTLS serves a client that began with a ClientHello, of which prefix has
// been read.
func (v *visitor) directTLS(ctx context.Context, prefix []byte) error {
	config := v.config()
	if config == nil {
		return errNoTLS
	}
	if err := v.startTLS(ctx, &rewound{Conn: v.conn, unread: bytes.NewReader(prefix)}, config); err != nil {
		return err
	}
	if v.conn.(*tls.Conn).ConnectionState().NegotiatedProtocol != alpn {
		return errNoTLS
	}
	return nil
}

// config is the present TLS configuration, nil for none.
func (v *visitor) config() *tls.Config {
	if v.front.TLS == nil || v.front.TLSMode == TLSDisable {
		return nil
	}
	return v.front.TLS()
}

func (v *visitor) startTLS(ctx context.Context, conn net.Conn, config *tls.Config) error {
	shown := &shownCertificate{from: config}
	config = config.Clone()
	config.NextProtos = []string{alpn}
	config.GetCertificate, config.Certificates = shown.pick, nil
	config.SessionTicketsDisabled = true // a resumed session shows no certificate to bind a channel to
	secure := tls.Server(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("%w: %w", errHandshake, err)
	}
	state := secure.ConnectionState()
	v.conn, v.sni, v.secure = secure, state.ServerName, tls.VersionName(state.Version)
	v.binding = shown.binding()
	return nil
}

// shownCertificate remembers which certificate a client was shown: a channel
// is bound to it.
type shownCertificate struct {
	from  *tls.Config
	shown *tls.Certificate
}

func (c *shownCertificate) pick(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	picked, err := c.choose(hello)
	c.shown = picked
	return picked, err
}

// choose is what crypto/tls does by itself where nobody asks.
func (c *shownCertificate) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.from.GetCertificate != nil {
		if picked, err := c.from.GetCertificate(hello); picked != nil || err != nil {
			return picked, err
		}
	}
	for i := range c.from.Certificates {
		if hello.SupportsCertificate(&c.from.Certificates[i]) == nil {
			return &c.from.Certificates[i], nil
		}
	}
	if len(c.from.Certificates) == 0 {
		return nil, errors.New("no certificate is configured")
	}
	return &c.from.Certificates[0], nil
}

// binding is tls-server-end-point; none where the certificate's signature has
// no hash of its own.
func (c *shownCertificate) binding() scram.ChannelBinding {
	if c.shown == nil || len(c.shown.Certificate) == 0 {
		return scram.ChannelBinding{}
	}
	leaf := c.shown.Leaf
	if leaf == nil {
		var err error
		if leaf, err = x509.ParseCertificate(c.shown.Certificate[0]); err != nil {
			return scram.ChannelBinding{}
		}
	}
	binding, err := scram.NewTLSServerEndpointBinding(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}})
	if err != nil {
		return scram.ChannelBinding{}
	}
	return binding
}

// rewound is a connection of which something has been read that is to be read
// again.
type rewound struct {
	net.Conn
	unread *bytes.Reader
}

func (r *rewound) Read(b []byte) (int, error) {
	if r.unread.Len() > 0 {
		return r.unread.Read(b)
	}
	return r.Conn.Read(b)
}

// NetConn is the connection below: it is never asked for before the handshake,
// and by then everything has been read again.
func (r *rewound) NetConn() net.Conn { return r.Conn }
