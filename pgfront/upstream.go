package pgfront

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jackc/pgproto3/v2"

	"serverlessproxy/cluster"
	"serverlessproxy/credential"
	"serverlessproxy/pgfront/pgwire"
)

// opened is a backend that is logged in.
type opened struct {
	origin
	as         persona // where it is known
	conn       net.Conn
	key        pgwire.Key
	parameters map[string]string
	greeting   []byte // ParameterStatus and notices, as they came
	rest       []byte // what came after the first ReadyForQuery
}

// dialTimeout is for one connection to an engine, TLS included.
const dialTimeout = 5 * time.Second

// dial connects to an engine, by TLS where the target asks for it.
func (s *session) dial(ctx context.Context, at cluster.Backend) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, at.Network, at.Address)
	if err != nil {
		return nil, fmt.Errorf("dial engine: %w", err)
	}
	if s.target.Upstream.TLS == nil {
		return conn, nil
	}
	secure, err := secureUpstream(ctx, conn, s.target.Upstream.TLS)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("secure connection to engine: %w", err)
	}
	return secure, nil
}

func secureUpstream(ctx context.Context, conn net.Conn, config *tls.Config) (net.Conn, error) {
	defer interruptIO(ctx, conn)()
	if _, err := conn.Write(pgwire.AppendSSLRequest(nil)); err != nil {
		return nil, err
	}
	var answer [1]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return nil, err
	}
	if answer[0] != 'S' {
		return nil, errPlainServer
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return secure, nil
}

// logIn opens a session of the engine for the client's user, with what the
// client asked for at its start-up.
func (s *session) logIn(ctx context.Context, at cluster.Backend) (*opened, error) {
	ctx, cancel := context.WithTimeout(ctx, loginLimit)
	defer cancel()
	born := time.Now()
	conn, err := s.dial(ctx, at)
	if err != nil {
		return nil, err
	}
	stop := interruptIO(ctx, conn)
	o := &opened{origin: origin{born: born}, conn: conn, parameters: map[string]string{}}
	err = s.introduceTo(o)
	stop()
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("log in to engine: %w", err)
	}
	return o, nil
}

// maxGreeting is the longest message that an engine may send at a login.
const maxGreeting = 1 << 20

func (s *session) introduceTo(o *opened) error {
	if _, err := o.conn.Write(pgwire.AppendStartup(nil, s.parameters)); err != nil {
		return err
	}
	exam := &exam{session: s, conn: o.conn}
	reader := pgwire.NewReader(o.conn)
	for {
		kind, body, err := reader.Next(maxGreeting)
		if err != nil {
			return err
		}
		switch kind {
		case pgwire.Authentication:
			err = exam.answer(body)
		case pgwire.ErrorResponse:
			err = newEngineError(body)
		case pgwire.BackendKeyData:
			err = o.keyData(body)
		case pgwire.ParameterStatus, pgwire.NoticeResponse:
			err = o.note(kind, body)
		case pgwire.NegotiateVersion:
		case pgwire.ReadyForQuery:
			o.rest = reader.Rest()
			return nil
		default:
			err = fmt.Errorf("%w: message %q at login", errBadUpstream, kind)
		}
		if err != nil {
			return err
		}
	}
}

func (o *opened) keyData(body []byte) error {
	if len(body) < 8 {
		return fmt.Errorf("%w: BackendKeyData of %d bytes", errBadUpstream, len(body))
	}
	o.key = pgwire.Key{PID: binary.BigEndian.Uint32(body), Secret: binary.BigEndian.Uint32(body[4:])}
	return nil
}

func (o *opened) note(kind byte, body []byte) error {
	o.greeting = pgwire.AppendMessage(o.greeting, kind, body)
	if kind == pgwire.NoticeResponse {
		o.notices = pgwire.AppendMessage(o.notices, kind, body)
		return nil
	}
	var status pgproto3.ParameterStatus
	if err := status.Decode(body); err != nil {
		return fmt.Errorf("%w: %w", errBadUpstream, err)
	}
	o.parameters[status.Name] = status.Value
	return nil
}

// exam is a login's side of an engine's questions.
type exam struct {
	session *session
	conn    net.Conn
	scram   scramClient
}

// What an engine asks for.
const (
	askNothing   = 0
	askPassword  = 3
	askMD5       = 5
	askSASL      = 10
	saslContinue = 11
	saslFinal    = 12
)

// answer answers an Authentication message with what is known of the user.
func (e *exam) answer(body []byte) error {
	if len(body) < 4 {
		return fmt.Errorf("%w: authentication request", errBadUpstream)
	}
	asked, rest := binary.BigEndian.Uint32(body), body[4:]
	key := e.session.key
	if key.Password == "" {
		key.Password = e.session.target.Upstream.Passwords[e.session.user]
	}
	switch asked {
	case askNothing:
		return e.scram.done()
	case askPassword:
		return e.password(key.Password)
	case askMD5:
		return e.md5(key, rest)
	case askSASL:
		return e.beginSCRAM(key, rest)
	case saslContinue:
		final, err := e.scram.final(string(rest))
		if err != nil {
			return err
		}
		return e.send([]byte(final))
	case saslFinal:
		return e.scram.check(string(rest))
	}
	return fmt.Errorf("%w (it asks for authentication method %d)", errNoSecret, asked)
}

func (e *exam) send(body []byte) error {
	_, err := e.conn.Write(pgwire.AppendMessage(nil, pgwire.Password, body))
	return err
}

// password gives the password away, which nobody else must hear.
func (e *exam) password(password credential.Secret) error {
	if _, secure := e.conn.(*tls.Conn); !secure || password == "" {
		return fmt.Errorf("%w (it asks for the password itself, which goes over TLS alone)", errNoSecret)
	}
	return e.send(append([]byte(password), 0))
}

func (e *exam) md5(key credential.Key, salt []byte) error {
	verifier := key.Verifier
	if !isMD5(verifier) {
		if key.Password == "" {
			return fmt.Errorf("%w (it asks for MD5)", errNoSecret)
		}
		verifier = verifierMD5(key.Password, e.session.user)
	}
	if len(salt) != 4 {
		return fmt.Errorf("%w: MD5 salt", errBadUpstream)
	}
	return e.send(append(saltedMD5(verifier, [4]byte(salt)), 0))
}

func (e *exam) beginSCRAM(key credential.Key, offer []byte) error {
	if key.ClientKey == nil && key.Password == "" {
		return fmt.Errorf("%w (it asks for SCRAM-SHA-256)", errNoSecret)
	}
	if !offers(offer, mechanism) {
		return fmt.Errorf("%w (it offers no %s)", errNoSecret, mechanism)
	}
	e.scram.key = key
	first := e.scram.first()
	body := append([]byte(mechanism), 0)
	body = binary.BigEndian.AppendUint32(body, uint32(len(first)))
	return e.send(append(body, first...))
}
