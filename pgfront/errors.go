package pgfront

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgproto3/v2"

	"serverlessproxy/cluster"
	"serverlessproxy/credential"
	"serverlessproxy/pgfront/pgwire"
	"serverlessproxy/pool"
	"serverlessproxy/router"
)

// What ends a login or a wait and is no error of the client's to be told.
var (
	errClientGone = errors.New("the client is gone")
	errClosed     = errors.New("the front is closed")
	errCanceled   = errors.New("the client cancelled its request")
)

// Where a client or an engine did not keep to the protocol, or the front has
// nothing to answer with.
var (
	errNoTLS       = errors.New("direct TLS without ALPN \"postgresql\", or where TLS is off")
	errHandshake   = errors.New("TLS handshake failed")
	errNoSecret    = errors.New("there is no key to log this user in to the server with")
	errBadUpstream = errors.New("the server does not speak the protocol as it should")
	errPlainServer = errors.New("the server does not offer TLS, which this cluster's upstream asks for")
	errUsers       = errors.New("nobody can tell the users of this cluster")
	errOverdue     = errors.New("the handshake took too long")
	errCrowded     = errors.New("too many connections that have not logged in")
)

// told is an error as a client sees it.
type told struct {
	code, message, detail, hint string
	refusal                     pool.Refusal
}

func (t *told) Error() string { return t.message + " (" + t.code + ")" }

// Is lets two told errors be compared by their code.
func (t *told) Is(other error) bool {
	o, ok := other.(*told)
	return ok && o.code == t.code && o.message == t.message
}

// fatal is the message that ends a session.
func (t *told) fatal() []byte { return t.encode("FATAL") }

// failure is the message that ends a request.
func (t *told) failure() []byte { return t.encode("ERROR") }

func (t *told) encode(severity string) []byte {
	m := pgproto3.ErrorResponse{
		Severity: severity, SeverityUnlocalized: severity,
		Code: t.code, Message: t.message, Detail: t.detail, Hint: t.hint,
	}
	b, _ := m.Encode(nil) // a message of a few lines cannot be too long
	return b
}

func wrongPassword(user string) *told {
	return &told{code: "28P01", message: fmt.Sprintf("password authentication failed for user %q", user), refusal: pool.RefusedAuth}
}

func noUser() *told {
	return &told{code: "28000", message: "no PostgreSQL user name specified in startup packet", refusal: pool.RefusedAuth}
}

func noEncryption(host, user, database string) *told {
	return &told{
		code:    "28000",
		message: fmt.Sprintf("no pg_hba.conf entry for host %q, user %q, database %q, no encryption", host, user, database),
		hint:    "Connect with sslmode=require.",
		refusal: pool.RefusedTLS,
	}
}

func noWalsender() *told {
	return &told{code: "42501", message: "must be superuser or replication role to start walsender", refusal: pool.RefusedAuth}
}

func unsupportedProtocol(s *pgwire.Startup) *told {
	return &told{
		code:    "0A000",
		message: fmt.Sprintf("unsupported frontend protocol %d.%d: server supports 3.0 to 3.0", s.Major(), s.Minor()),
		refusal: pool.RefusedProtocol,
	}
}

func violation(message, detail string) *told {
	return &told{code: "08P01", message: message, detail: detail, refusal: pool.RefusedProtocol}
}

func unexpectedMessage(what string, kind byte) *told {
	return violation(fmt.Sprintf("expected %s response, got message type %d", what, kind), "")
}

func bindingNegotiation() *told {
	return &told{
		code:    "28000",
		message: "SCRAM channel binding negotiation error",
		detail:  "The client supports SCRAM channel binding but thinks the server does not.  However, this server does support channel binding.",
		refusal: pool.RefusedAuth,
	}
}

func bindingCheck() *told {
	return &told{code: "28000", message: "SCRAM channel binding check failed", refusal: pool.RefusedAuth}
}

// crashed is what a client is told whose session its engine took along, and
// what could not be kept of it.
func crashed(loses string) *told {
	return &told{
		code:    "57P02",
		message: "terminating connection because the server was restarted",
		detail:  loses,
		hint:    "In a moment you should be able to reconnect to the database and repeat your command.",
	}
}

// rolledBack is what a client is told whose transaction its engine took along.
func rolledBack() *told {
	return &told{
		code:    "40001",
		message: "could not continue: the server was restarted; the transaction is rolled back",
		hint:    "Say ROLLBACK, and run the transaction again.",
	}
}

func inFailedTransaction() *told {
	return &told{code: "25P02", message: "current transaction is aborted, commands ignored until end of transaction block"}
}

// unknownOutcome is what a client is told whose request the engine may have
// executed or not.
func unknownOutcome() *told {
	return &told{
		code:    "08007",
		message: "the server was restarted while a request was under way; whether it took effect is not known",
		hint:    "Reconnect, and look before you repeat it.",
	}
}

func outOfStep() *told {
	return &told{code: "08P01", message: errBadUpstream.Error(), refusal: pool.RefusedResumeFailed}
}

// farewell is why the pool ends a session.
func farewell(reason pool.Reason) *told {
	switch reason {
	case pool.Evicted:
		return &told{code: "57P01", message: "terminating connection due to serverless scale event timeout", refusal: pool.RefusedDraining}
	case pool.PinnedTimeout:
		return &told{code: "57P05", message: "terminating connection due to idle-session timeout", refusal: pool.RefusedDraining}
	}
	return &told{code: "57P01", message: "terminating connection due to administrator command", refusal: pool.RefusedDraining}
}

// notAdmitted is why a role may not enter a database, nil if err says nothing
// of that.
func notAdmitted(err error, user, database string) *told {
	t := &told{refusal: pool.RefusedAuth}
	switch {
	case errors.Is(err, credential.ErrNoRole):
		return wrongPassword(user)
	case errors.Is(err, credential.ErrNoLogin):
		t.code, t.message = "28000", fmt.Sprintf("role %q is not permitted to log in", user)
	case errors.Is(err, credential.ErrNoDatabase):
		t.code, t.message = "3D000", fmt.Sprintf("database %q does not exist", database)
	case errors.Is(err, credential.ErrNotAccepting):
		t.code, t.message = "55000", fmt.Sprintf("database %q is not currently accepting connections", database)
	case errors.Is(err, credential.ErrNoConnect):
		t.code, t.message = "42501", fmt.Sprintf("permission denied for database %q", database)
		t.detail = "User does not have CONNECT privilege."
	default:
		return nil
	}
	return t
}

// tell is what a client is told of an error; nil: nothing can or need be told.
func tell(err error) *told {
	var (
		known    *told
		tooMany  *pool.TooMany
		instance *router.InstanceError
		unknown  *router.UnknownError
		resume   *cluster.ResumeError
	)
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &tooMany):
		return overCeiling(tooMany)
	case errors.As(err, &instance):
		return &told{
			code:    "08004",
			message: "connections to an instance are not accepted; connect to the cluster endpoint " + instance.Endpoint,
			refusal: pool.RefusedInstance,
		}
	case errors.As(err, &unknown):
		return &told{
			code:    "08004",
			message: "there is no such cluster at this endpoint",
			hint:    "Name the cluster by its endpoint's host name over TLS, or with options=endpoint=NAME.",
			refusal: pool.RefusedUnknownCluster,
		}
	case errors.As(err, &resume):
		return startingUp(resume.Reason)
	case errors.Is(err, errClientGone), errors.Is(err, errNoTLS), errors.Is(err, errHandshake):
		return nil
	case errors.Is(err, errCanceled):
		return &told{code: "57014", message: "canceling statement due to user request"}
	case errors.Is(err, errOverdue):
		return &told{code: "57014", message: "canceling authentication due to timeout", refusal: pool.RefusedProtocol}
	case errors.Is(err, errCrowded):
		return &told{code: "53300", message: "sorry, too many clients already", detail: "Too many connections have not logged in yet.", refusal: pool.RefusedCeiling}
	case errors.Is(err, errNoSecret):
		return &told{
			code:    "28000",
			message: "the endpoint cannot log in to the server for this user: " + errNoSecret.Error(),
			hint:    "Let the endpoint read the user's SCRAM verifier, or configure the user's password there.",
			refusal: pool.RefusedAuth,
		}
	case errors.Is(err, errUsers):
		return startingUp(errUsers.Error())
	case errors.Is(err, errBadUpstream), errors.Is(err, errPlainServer):
		return &told{code: "08006", message: "the endpoint cannot use the server behind it", detail: err.Error(), refusal: pool.RefusedResumeFailed}
	case errors.Is(err, pool.ErrDraining), errors.Is(err, errClosed), errors.Is(err, context.Canceled):
		return farewell(pool.Draining)
	case errors.Is(err, pool.ErrKilled):
		return farewell(pool.Killed)
	case errors.Is(err, pgwire.ErrStartupLength), errors.Is(err, pgwire.ErrStartupLayout), errors.Is(err, pgwire.ErrMessageLength):
		return violation(innermost(err).Error(), "")
	case errors.Is(err, pgwire.ErrMessageType):
		return violation(err.Error(), "")
	case errors.Is(err, pgwire.ErrServer):
		return outOfStep()
	}
	return startingUp(err.Error())
}

// startingUp is what a client is told that could not be held until the cluster
// serves.
func startingUp(why string) *told {
	return &told{code: "57P03", message: "the database system is starting up", detail: why, refusal: pool.RefusedResumeFailed}
}

func overCeiling(t *pool.TooMany) *told {
	e := &told{code: "53300", message: "sorry, too many clients already", refusal: pool.RefusedCeiling}
	if t.Waited > 0 {
		e.message += fmt.Sprintf(" (waited %v)", t.Waited.Round(time.Second))
		e.refusal = pool.RefusedQueueTimeout
	}
	return e
}

// reservedFor adds, where only the reserved slots are left, whom they are
// reserved for, in the words of this version of the server.
func reservedFor(err error, version string) error {
	var tooMany *pool.TooMany
	if !errors.As(err, &tooMany) || !tooMany.Reserved {
		return err
	}
	e := overCeiling(tooMany)
	e.detail = "remaining connection slots are reserved for roles with the SUPERUSER attribute"
	if major, _, _ := strings.Cut(version, "."); len(major) == 2 && major < "16" {
		e.detail = "remaining connection slots are reserved for non-replication superuser connections"
	}
	return e
}

func innermost(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// ended tells whether an error of a connection's read or write says no more
// than that the other side is gone.
func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || isReset(err)
}

// engineError is what an engine said instead of letting a session in; the
// client gets it word for word.
type engineError struct {
	message []byte // the whole ErrorResponse
	code    string
	text    string
}

func (e *engineError) Error() string {
	return "the server refused the login: " + e.text + " (" + e.code + ")"
}

func newEngineError(body []byte) *engineError {
	var m pgproto3.ErrorResponse
	if err := m.Decode(body); err != nil {
		m.Code, m.Message = "XX000", "unreadable error"
	}
	return &engineError{message: pgwire.AppendMessage(nil, pgwire.ErrorResponse, body), code: m.Code, text: m.Message}
}

// crowded tells whether the engine refuses a login because there are too many
// already, of the role, the database or altogether.
func crowded(err error) bool {
	var refused *engineError
	return errors.As(err, &refused) && refused.code == "53300"
}

// passing tells whether a login may succeed in a moment: the engine is
// starting, stopping or its socket is not there yet.
func passing(err error) bool {
	var refused *engineError
	if errors.As(err, &refused) {
		switch refused.code {
		case "57P01", "57P02", "57P03":
			return true
		}
		return false
	}
	var (
		network *net.OpError
		alert   tls.AlertError
	)
	if errors.As(err, &alert) || errors.Is(err, os.ErrPermission) {
		return false
	}
	return ended(err) || errors.As(err, &network)
}
