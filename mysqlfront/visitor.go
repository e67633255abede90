package mysqlfront

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"serverlessproxy/credential"
	"serverlessproxy/mysqlfront/mysqlwire"
	"serverlessproxy/pool"
	"serverlessproxy/router"
	"serverlessproxy/throttle"
)

// visitor is a client that is not in yet: its connection, and what it has said
// so far.
type visitor struct {
	front    *Front
	listener *router.Listener
	conn     net.Conn // as it was accepted; TLS is around it in packets
	address  net.Addr
	packets  packets
	tls      *tls.ConnectionState // nil without TLS
	tally    *pool.Tally          // the cluster's, once it is known
	counted  bool                 // as an attempt
	inside   bool                 // holds one of the gate's places

	id       uint32
	greeting mysqlwire.Greeting
	response mysqlwire.Response
	target   *router.Target
}

// Attributes by which a client says where it wants to go. They are ours and
// not passed on.
const (
	attributeEndpoint = "endpoint"
	attributeInstance = "instance"
	attributeProgram  = "program_name"
)

// serve takes a client from its first byte to the relay, or tells it why not.
func (v *visitor) serve(ctx context.Context) {
	v.packets.conn = v.conn
	v.id = v.front.number()
	who, err := v.introduce(ctx)
	if err != nil {
		v.front.forget(v.id)
		v.refuse(ctx, err)
		return
	}
	s := newSession(v, who)
	if err := s.open(ctx, v); err != nil {
		s.withdraw()
		v.refuse(ctx, err)
	}
}

// introduce learns who the client is and where it wants to go, within the time
// that strangers have.
func (v *visitor) introduce(ctx context.Context) (identity, error) {
	if v.front.MaxUnauthenticated != nil {
		if !v.front.MaxUnauthenticated.TryAcquire(1) {
			return identity{}, errCrowd
		}
		v.inside = true
		defer v.comeOut()
	}
	ctx, patience, stop := throttle.Patient(ctx, v.front.HandshakeTimeout, context.DeadlineExceeded)
	defer stop()
	v.packets.heard = patience.Heard
	defer func() { v.packets.heard = nil }()
	defer guard(ctx, v.conn)()
	if err := v.greet(ctx); err != nil {
		return identity{}, err
	}
	if err := v.listen(ctx); err != nil {
		return identity{}, err
	}
	if err := v.route(); err != nil {
		return identity{}, err
	}
	if v.front.TLSMode == TLSRequire && !v.secure() {
		return identity{}, errPlain
	}
	return v.authenticate(ctx)
}

// comeOut frees the visitor's place among those that have not authenticated.
func (v *visitor) comeOut() {
	if v.inside {
		v.inside = false
		v.front.MaxUnauthenticated.Release(1)
	}
}

// greet says what the engine of the listener's default cluster would say.
func (v *visitor) greet(ctx context.Context) error {
	said := unknownGreeting
	if target := v.front.Routes().Default(v.listener); target != nil {
		if known, ok := v.front.greetings.of(ctx, target, time.Now()); ok {
			said = known
		}
	}
	v.greeting = mysqlwire.Greeting{
		ServerVersion: said.ServerVersion,
		ConnectionID:  v.id,
		Salt:          newSalt(),
		Capabilities:  offer(said, v.front.tlsConfig() != nil),
		Charset:       said.Charset,
		Status:        said.Status,
		Plugin:        said.DefaultPlugin,
	}
	if err := v.packets.write(mysqlwire.AppendGreeting(nil, v.greeting)); err != nil {
		return gone(err)
	}
	return nil
}

// tlsConfig is what TLS is served with, nil where it is not.
func (f *Front) tlsConfig() *tls.Config {
	if f.TLS == nil || f.TLSMode == TLSDisable {
		return nil
	}
	return f.TLS()
}

// listen reads the client's answer to the greeting, over TLS if it asks for
// that.
func (v *visitor) listen(ctx context.Context) error {
	payload, err := v.first()
	if err != nil {
		return err
	}
	if mysqlwire.IsSSLRequest(payload) {
		if err := v.encrypt(ctx); err != nil {
			return err
		}
		if payload, err = v.first(); err != nil {
			return err
		}
	}
	v.response, err = mysqlwire.ParseResponse(payload, v.greeting.Capabilities)
	if err != nil {
		return fmt.Errorf("%w: %w", errBadHandshake, err)
	}
	return nil
}

// first reads a packet that may be the client's first.
func (v *visitor) first() ([]byte, error) {
	payload, err := v.packets.read(mysqlwire.MaxHandshake)
	if errors.Is(err, mysqlwire.ErrTooLarge) || errors.Is(err, mysqlwire.ErrSequence) {
		return nil, fmt.Errorf("%w: %w", errBadHandshake, err)
	}
	if err != nil {
		return nil, gone(err)
	}
	return payload, nil
}

// encrypt puts TLS around the connection. Packets are read without a byte of
// what follows them, so all that follows the request is TLS's.
func (v *visitor) encrypt(ctx context.Context) error {
	config := v.front.tlsConfig()
	if config == nil {
		return fmt.Errorf("%w: TLS was not offered", errBadHandshake)
	}
	encrypted := tls.Server(v.conn, config)
	if err := encrypted.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("%w: %w", errTLS, err)
	}
	state := encrypted.ConnectionState()
	v.tls, v.packets.conn = &state, encrypted
	return nil
}

// secure tells whether nobody can listen to the client's connection.
func (v *visitor) secure() bool {
	_, local := v.address.(*net.UnixAddr)
	return v.tls != nil || local
}

// route finds the cluster that the client means.
func (v *visitor) route() error {
	request := router.Request{Listener: v.listener}
	if v.tls != nil {
		request.SNI = v.tls.ServerName
	}
	for _, a := range v.response.Attributes {
		switch a.Name {
		case attributeEndpoint:
			request.Endpoint = a.Value
		case attributeInstance:
			request.Instance = a.Value
		}
	}
	target, err := v.front.Routes().Route(request)
	if err != nil {
		var instance *router.InstanceError
		if errors.As(err, &instance) && instance.Tally != nil {
			v.tally = instance.Tally
		}
		v.attempted()
		return err
	}
	v.target, v.tally = target, target.Tally
	v.attempted()
	return nil
}

// attempted counts the visitor once.
func (v *visitor) attempted() {
	if !v.counted && v.tally != nil {
		v.counted = true
		v.tally.Attempts.Add(1)
	}
}

// authenticate has the client prove who it is.
func (v *visitor) authenticate(ctx context.Context) (identity, error) {
	e := v.exam()
	e.plugin, e.proof, e.salt = v.response.Plugin, v.response.Auth, v.greeting.Salt
	if e.plugin == "" {
		e.plugin = mysqlwire.NativePassword
	}
	return v.door().admit(ctx, e, wish{user: v.response.User, database: v.response.Database})
}

// exam is an exam of this client, before it has said anything.
func (v *visitor) exam() *exam {
	return &exam{
		client:    &v.packets,
		rsaKey:    v.front.rsaKey,
		keys:      v.target.Keys,
		secure:    v.secure(),
		canSwitch: v.response.Capabilities.Has(mysql.CLIENT_PLUGIN_AUTH),
	}
}

// door is what decides whether this client may enter.
func (v *visitor) door() door {
	return door{
		users:     v.target.Users,
		decoys:    v.front.decoys,
		address:   v.address,
		encrypted: v.tls != nil,
		certified: v.tls != nil && len(v.tls.VerifiedChains) > 0,
	}
}

// refuse tells the client why it is not served, and closes. A wrong password
// is told late where there were many, without a place of the gate.
func (v *visitor) refuse(ctx context.Context, err error) {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	v.attempted()
	v.count(err)
	v.front.Log.Debug("client not served", "client", v.address.String(), "user", v.response.User, "error", err)
	if guessed(err) {
		throttle.Pause(ctx, v.front.failures.Failed(v.address, time.Now()))
	}
	if said, ok := answerTo(err); ok {
		v.conn.SetDeadline(time.Now().Add(goodbyeLasts))
		if errors.Is(err, mysqlwire.ErrOldProtocol) {
			v.packets.write(mysqlwire.AppendOldErr(nil, said.code, said.message))
		} else {
			v.packets.write(said.packet())
		}
	}
	closeGently(v.packets.conn)
}

// count counts why the client was not served.
func (v *visitor) count(err error) {
	if v.tally == nil {
		return
	}
	if reason, ok := refusalOf(err); ok {
		v.tally.Refuse(reason)
	} else {
		v.tally.Aborted.Add(1)
	}
	if loginFailed(err) {
		v.tally.LoginFailures.Add(1)
	}
}

// hello is what the client's backends are told at login.
func (v *visitor) hello(who identity) mysqlwire.Response {
	h := v.response
	h.Capabilities &^= flagSSL | flagCompress | flagZstd | flagWithDB
	h.User, h.Database, h.Auth, h.Plugin = who.user, who.database, nil, ""
	h.Attributes = withoutOwn(h.Attributes)
	return h
}

// compression is what the client's side is compressed by after the login, nil
// for nothing.
func (v *visitor) compression() mysqlwire.Algorithm {
	switch {
	case v.response.Capabilities.Has(mysql.CLIENT_COMPRESS):
		return mysqlwire.Zlib
	case v.response.Capabilities.Has(mysql.CLIENT_ZSTD_COMPRESSION_ALGORITHM):
		return mysqlwire.Zstd
	}
	return nil
}

// withoutOwn are the attributes that are meant for the engine.
func withoutOwn(attributes []mysqlwire.Attribute) []mysqlwire.Attribute {
	return slices.DeleteFunc(slices.Clone(attributes), func(a mysqlwire.Attribute) bool {
		return a.Name == attributeEndpoint || a.Name == attributeInstance
	})
}

// info describes the client to operators.
func (v *visitor) info(who identity) pool.Info {
	info := pool.Info{
		User:          who.user,
		Database:      who.database,
		ClientAddress: v.address.String(),
		Protocol:      "mysql",
	}
	for _, a := range v.response.Attributes {
		if a.Name == attributeProgram {
			info.Application = a.Value
		}
	}
	if v.tls != nil {
		info.TLS = tlsName(v.tls.Version)
	}
	return info
}

// privileged tells whether a user may take one of the reserved seats.
func (v *visitor) privileged(who identity) bool {
	return who.account.Superuser || slices.Contains(v.target.AdminRoles, who.user)
}

// identity is a user who has proved who it is, and what logs in again as it.
type identity struct {
	user     string
	host     string // as the engine would show it
	database string
	account  credential.Account
	rivals   bool // the engine might choose another account for that name
	key      credential.Key
}
