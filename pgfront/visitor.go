package pgfront

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/xdg-go/scram"

	"serverlessproxy/pgfront/pgwire"
	"serverlessproxy/pool"
	"serverlessproxy/router"
	"serverlessproxy/throttle"
)

// visitor is a connection that has not logged in.
type visitor struct {
	front    *Front
	listener *router.Listener
	conn     net.Conn // TLS from when that is agreed on
	address  net.Addr
	tally    *pool.Tally
	gated    bool   // counts among those that have not authenticated
	heard    func() // called for each message of the login

	secure  string // the version of TLS, "" for none
	sni     string
	binding scram.ChannelBinding // to our certificate; none where it cannot be

	startup        *pgwire.Startup
	parameters     []pgwire.Parameter // without what was meant for us
	user, database string
	replication    replication
	reader         *pgwire.Reader
	target         *router.Target
}

// serve has the visitor log in, and on from there as a session.
func (v *visitor) serve(ctx context.Context) {
	s, err := v.logIn(ctx)
	v.leaveGate()
	if err != nil {
		v.refuse(ctx, err)
		return
	}
	if s != nil {
		s.begin(ctx)
	}
}

// logIn is everything up to the proof of who the client is. There is no
// session and no error where the client wanted something else.
func (v *visitor) logIn(ctx context.Context) (*session, error) {
	ctx, patience, stop := throttle.Patient(ctx, v.front.HandshakeTimeout, errOverdue)
	defer stop()
	v.heard = patience.Heard
	defer interruptIO(ctx, v.conn)()
	s, err := v.introduce(ctx)
	if err != nil {
		err = causeOf(ctx, err)
	}
	return s, err
}

func (v *visitor) introduce(ctx context.Context) (*session, error) {
	if err := v.front.MaxUnauthenticated.Acquire(ctx, 1); err != nil {
		return nil, errCrowded
	}
	v.gated = true
	if err := v.greet(ctx); err != nil {
		return nil, fmt.Errorf("greet client: %w", err)
	}
	if v.startup.Kind == pgwire.CancelRequest {
		v.leaveGate()
		v.front.cancelFor(ctx, v.startup)
		v.conn.Close()
		return nil, nil
	}
	if err := v.route(); err != nil {
		return nil, fmt.Errorf("route client: %w", err)
	}
	if v.secure == "" && v.front.TLSMode == TLSRequire {
		return nil, noEncryption(throttle.HostOf(v.address), v.user, v.database)
	}
	return v.authenticate(ctx)
}

func (v *visitor) leaveGate() {
	if v.gated {
		v.gated = false
		v.front.MaxUnauthenticated.Release(1)
	}
}

// route finds out which cluster the client wants.
func (v *visitor) route() error {
	var found map[string]string
	v.parameters, found = meantForUs(v.startup.Parameters)
	v.user = truncate(v.startup.Get("user"))
	v.database = truncate(v.startup.Get("database"))
	if v.database == "" {
		v.database = v.user
	}
	v.replication = parseReplication(v.startup.Get("replication"))
	request := router.Request{Listener: v.listener, SNI: v.sni, Endpoint: found["endpoint"], Instance: found["instance"]}
	target, err := v.front.Routes().Route(request)
	if err != nil {
		v.countRefused(err)
		return err
	}
	v.target, v.tally = target, target.Tally
	v.tally.Attempts.Add(1)
	if v.user == "" {
		return noUser()
	}
	return nil
}

// countRefused has the attempt count where its instance's cluster does.
func (v *visitor) countRefused(err error) {
	var instance *router.InstanceError
	if errors.As(err, &instance) && instance.Tally != nil {
		v.tally = instance.Tally
	}
	v.tally.Attempts.Add(1)
}

// authenticate has the client prove who it is, and checks, without the engine,
// what else keeps it out: in the engine's own order.
func (v *visitor) authenticate(ctx context.Context) (*session, error) {
	book, err := v.target.Users.Book(ctx, v.user, v.database)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUsers, err)
	}
	role, _ := book.Role(v.user)
	key, err := v.prove(evidenceFor(role, v.target.Upstream.Passwords, time.Now()))
	if err != nil {
		return nil, fmt.Errorf("authenticate client: %w", err)
	}
	v.target.Keys.Put(v.user, key)
	database := v.database
	if v.replication == physical {
		database = ""
	}
	if err := book.Admit(v.user, database); err != nil {
		if refused := notAdmitted(err, v.user, v.database); refused != nil {
			return nil, refused
		}
		return nil, err
	}
	if v.replication != none && !role.Superuser && !role.Replication {
		return nil, noWalsender()
	}
	return v.session(identity{
		key:        key,
		superuser:  role.Superuser,
		privileged: role.Superuser || role.Is(v.target.AdminRoles),
		fresh:      freshParameters(book.Parameters, role, v.parameters),
	}), nil
}

// refuse tells the client why, counts it, and closes.
func (v *visitor) refuse(ctx context.Context, err error) {
	answer := tell(err)
	v.count(err, answer)
	level := slog.LevelDebug
	if errors.Is(err, errUsers) {
		level = slog.LevelWarn // nothing is wrong with that client
	}
	v.front.Log.Log(ctx, level, "refused a client", "address", v.address.String(), "user", v.user, "error", err)
	if answer != nil && answer.code == "28P01" {
		v.slowDown(ctx)
	}
	if answer == nil || v.startup == nil && errors.Is(err, errOverdue) {
		v.conn.Close()
		return
	}
	sayGoodbye(v.conn, answer.fatal())
}

func (v *visitor) count(err error, answer *told) {
	switch {
	case errors.Is(err, errHandshake), errors.Is(err, errNoTLS):
		v.tally.Refuse(pool.RefusedTLS)
	case errors.Is(err, errClientGone):
	case answer != nil:
		v.tally.Refuse(answer.refusal)
		if answer.refusal == pool.RefusedAuth {
			v.tally.LoginFailures.Add(1)
		}
	}
}

// slowDown makes guessing passwords take its time. Nothing is held meanwhile:
// no seat, and no place among those that log in.
func (v *visitor) slowDown(ctx context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer watchClient(v.conn, cancel)()
	throttle.Pause(ctx, v.front.failures.Failed(v.address, time.Now()))
}

// send writes to the client.
func (v *visitor) send(b []byte) error {
	if _, err := v.conn.Write(b); err != nil {
		return fmt.Errorf("%w: %w", errClientGone, err)
	}
	return nil
}

// next reads the client's next message of the login.
func (v *visitor) next() (kind byte, body []byte, err error) {
	kind, body, err = v.reader.Next(maxLoginMessage)
	if err != nil && ended(err) {
		err = fmt.Errorf("%w: %w", errClientGone, err)
	}
	if err == nil {
		v.heard()
	}
	return kind, body, err
}

// maxLoginMessage is the server's own limit for what a client sends to prove
// itself.
const maxLoginMessage = 65535

// maxIdentifier is how long a name may be; the server cuts longer ones.
const maxIdentifier = 63

func truncate(name string) string { return name[:min(len(name), maxIdentifier)] }

// meantForUs parts the options by which a client names a cluster from those
// for the engine.
func meantForUs(parameters []pgwire.Parameter) (forEngine []pgwire.Parameter, found map[string]string) {
	found = map[string]string{}
	for _, p := range parameters {
		if p.Name == "options" {
			rest, ours := pgwire.CutOptions(p.Value, "endpoint", "instance")
			for name, value := range ours {
				found[name] = value
			}
			if rest == "" {
				continue
			}
			p.Value = rest
		}
		forEngine = append(forEngine, p)
	}
	return forEngine, found
}

// replication is what kind of replication a connection is for.
type replication int

const (
	none replication = iota
	logical
	physical
)

// parseReplication reads the value as the server does; what it will refuse
// counts as none.
func parseReplication(value string) replication {
	switch strings.ToLower(value) {
	case "database":
		return logical
	case "1", "on", "t", "tr", "tru", "true", "y", "ye", "yes":
		return physical
	}
	return none
}

// sayGoodbye writes what a client is to read last, and closes such that it can
// read it: closing over unread bytes would reset the connection.
func sayGoodbye(conn net.Conn, last []byte) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(goodbyeTimeout))
	if _, err := conn.Write(last); err != nil {
		return
	}
	if half, ok := conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		return
	}
	conn.SetReadDeadline(time.Now().Add(lastRead))
	io.CopyN(io.Discard, conn, lastBytes)
}

// How long a goodbye may take.
const (
	goodbyeTimeout = 2 * time.Second
	lastRead       = 200 * time.Millisecond
	lastBytes      = 1 << 20
)
