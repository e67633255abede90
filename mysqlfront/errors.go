package mysqlfront

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-mysql-org/go-mysql/mysql"

	"serverlessproxy/cluster"
	"serverlessproxy/mysqlfront/mysqlwire"
	"serverlessproxy/pool"
	"serverlessproxy/router"
)

// Why a client is not served. What it is told, answer alone decides.
var (
	errVanished       = errors.New("client has gone")
	errCrowd          = errors.New("too many connections that have not authenticated")
	errPlain          = errors.New("connection is not encrypted, and tls.mode is require")
	errTLS            = errors.New("TLS handshake failed")
	errBadHandshake   = errors.New("malformed handshake")
	errBadPacket      = errors.New("malformed packet")
	errDraining       = errors.New("the proxy is stopping")
	errKilled         = errors.New("connection was killed")
	errForcedScale    = errors.New("transaction aborted by a forced capacity change")
	errQuit           = errors.New("client said goodbye")
	errEngineGone     = errors.New("engine closed the connection")
	errEngineDied     = errors.New("engine ended while a session was idle on it")
	errOutcomeUnknown = errors.New("engine ended while a command was under way")
	errRolledBack     = errors.New("engine ended under a transaction")
	errStillAborted   = errors.New("transaction ended with its engine, and no ROLLBACK has come")
	errUnasked        = errors.New("client waits for no answer")
	errPinnedTimeout  = errors.New("session kept its cluster awake for longer than connections.pinned_timeout")
	errWaitTimeout    = errors.New("parked session waited for longer than wait_timeout")
	errUnlike         = errors.New("engine does not offer what was agreed on with the client")
	errOtherAccount   = errors.New("engine would choose another account for this client")
	errNoUsers        = errors.New("the cluster's users are not known")
	errNoBackend      = errors.New("no connection to the engine")
	errGuesser        = errors.New("client has failed too often to become another user")
	errOneWay         = errors.New("client knows one kind of authentication, and not the account's")
	errUnknownPlugin  = errors.New("engine asks for a kind of authentication that the proxy cannot give")
	errEndlessAnswers = errors.New("authentication takes too many packets")
)

// accessDenied is a proof that failed.
type accessDenied struct {
	user, host string
	password   bool // whether the client brought one
}

func (e *accessDenied) Error() string {
	return fmt.Sprintf("Access denied for user '%s'@'%s' (using password: %s)", e.user, e.host, yes(e.password))
}

func yes(b bool) string {
	if b {
		return "YES"
	}
	return "NO"
}

// noWayIn is an account none of whose methods can be proved at the endpoint,
// such as unix_socket.
type noWayIn struct{ user, host string }

func (e *noWayIn) Error() string {
	return fmt.Sprintf("Access denied for user '%s'@'%s'", e.user, e.host)
}

// accountLocked is an account that is locked; the engines say it in two ways.
type accountLocked struct {
	user, host string
	mariaDB    bool
}

func (e *accountLocked) Error() string {
	if e.mariaDB {
		return "Access denied, this account is locked"
	}
	return fmt.Sprintf("Access denied for user '%s'@'%s'. Account is locked.", e.user, e.host)
}

func (e *accountLocked) code() uint16 {
	if e.mariaDB {
		return 4151
	}
	return 3118
}

// noDatabase is a database that there is not.
type noDatabase struct{ name string }

func (e *noDatabase) Error() string { return fmt.Sprintf("Unknown database '%s'", e.name) }

// noAccess is a database that an account has nothing to do with.
type noAccess struct{ user, host, database string }

func (e *noAccess) Error() string {
	return fmt.Sprintf("Access denied for user '%s'@'%s' to database '%s'", e.user, e.host, e.database)
}

// noThread is a KILL of one of our numbers that nobody has.
type noThread struct{ id uint32 }

func (e *noThread) Error() string { return fmt.Sprintf("Unknown thread id: %d", e.id) }

// notOwner is a KILL of another user's session, which has no backend that the
// engine could judge by.
type notOwner struct{ id uint32 }

func (e *notOwner) Error() string { return fmt.Sprintf("You are not owner of thread %d", e.id) }

// answer is an error as the client is told of it.
type answer struct {
	code    uint16
	state   string
	message string
}

// unsecured is ER_SECURE_TRANSPORT_REQUIRED, which go-mysql does not name.
const unsecured = 3159

// answerTo turns an error into what the client is told. ok is false where a
// client is not told anything: it is gone, or was too slow.
func answerTo(err error) (a answer, ok bool) {
	if said, ok := answerOfTypes(err); ok {
		return said, true
	}
	switch {
	case errors.Is(err, errVanished):
		return answer{}, false
	case errors.Is(err, errCrowd):
		return answer{mysql.ER_CON_COUNT_ERROR, "08004", "Too many connections"}, true
	case errors.Is(err, errPlain):
		return answer{unsecured, "HY000", "Connections using insecure transport are prohibited while --require_secure_transport=ON."}, true
	case errors.Is(err, mysqlwire.ErrOldProtocol):
		return answer{mysql.ER_HANDSHAKE_ERROR, "08S01", "Bad handshake: this client speaks the protocol from before MySQL 4.1; use a newer one"}, true
	case errors.Is(err, errGuesser):
		return answer{mysql.ER_UNKNOWN_COM_ERROR, "08S01", "Unknown command"}, true
	case errors.Is(err, errOneWay):
		return answer{mysql.ER_NOT_SUPPORTED_AUTH_MODE, "08004", "Client does not support authentication protocol requested by server; consider upgrading MySQL client"}, true
	case errors.Is(err, errBadHandshake):
		return answer{mysql.ER_HANDSHAKE_ERROR, "08S01", "Bad handshake"}, true
	case errors.Is(err, errBadPacket), errors.Is(err, mysqlwire.ErrMalformed), errors.Is(err, mysqlwire.ErrTooLarge), errors.Is(err, mysqlwire.ErrSequence):
		return answer{mysql.ER_MALFORMED_PACKET, "HY000", "Malformed communication packet"}, true
	case errors.Is(err, errForcedScale):
		return answer{mysql.ER_UNKNOWN_ERROR, "HY000", "The last transaction was aborted due to Seamless Scaling. Please retry."}, true
	case errors.Is(err, errDraining), errors.Is(err, errClosed), errors.Is(err, pool.ErrDraining):
		return answer{mysql.ER_SERVER_SHUTDOWN, "08S01", "Server shutdown in progress"}, true
	case errors.Is(err, errOutcomeUnknown):
		return shutdown("the server was restarted while a command was under way; whether it took effect is not known"), true
	case errors.Is(err, errRolledBack):
		return answer{mysql.ER_LOCK_DEADLOCK, "40001", "the server was restarted; the transaction is rolled back: say ROLLBACK, and run it again"}, true
	case errors.Is(err, errStillAborted):
		return answer{mysql.ER_LOCK_DEADLOCK, "40001", "the server was restarted and the transaction is rolled back: nothing runs before ROLLBACK"}, true
	case errors.Is(err, errEngineDied):
		return shutdown("the server was restarted; an open transaction is rolled back, and the session could not be kept"), true
	case errors.Is(err, context.DeadlineExceeded):
		return shutdown("no answer from the engine in time"), true
	case errors.Is(err, errNoUsers), errors.Is(err, errNoBackend), errors.Is(err, errUnlike), errors.Is(err, errUnknownPlugin):
		return shutdown(err.Error()), true
	}
	return answer{}, false
}

// answerOfTypes is answerTo for the errors that carry something.
func answerOfTypes(err error) (answer, bool) {
	var (
		denied   *accessDenied
		noWay    *noWayIn
		locked   *accountLocked
		database *noDatabase
		access   *noAccess
		thread   *noThread
		owner    *notOwner
		instance *router.InstanceError
		unknown  *router.UnknownError
		tooMany  *pool.TooMany
		resume   *cluster.ResumeError
		engine   *mysqlwire.ServerError
		unlike   *unlikeItem
	)
	switch {
	case errors.As(err, &unlike):
		return answer{mysql.ER_UNKNOWN_ERROR, "HY000", unlike.Error()}, true
	case errors.As(err, &denied):
		return answer{mysql.ER_ACCESS_DENIED_ERROR, "28000", denied.Error()}, true
	case errors.As(err, &noWay):
		return answer{mysql.ER_ACCESS_DENIED_NO_PASSWORD_ERROR, "28000", noWay.Error()}, true
	case errors.As(err, &locked):
		return answer{locked.code(), "HY000", locked.Error()}, true
	case errors.As(err, &database):
		return answer{mysql.ER_BAD_DB_ERROR, "42000", database.Error()}, true
	case errors.As(err, &access):
		return answer{mysql.ER_DBACCESS_DENIED_ERROR, "42000", access.Error()}, true
	case errors.As(err, &thread):
		return answer{mysql.ER_NO_SUCH_THREAD, "HY000", thread.Error()}, true
	case errors.As(err, &owner):
		return answer{mysql.ER_KILL_DENIED_ERROR, "HY000", owner.Error()}, true
	case errors.As(err, &instance):
		return answer{mysql.ER_HOST_NOT_PRIVILEGED, "HY000", instance.Error()}, true
	case errors.As(err, &unknown):
		return answer{mysql.ER_BAD_DB_ERROR, "42000", "Unknown cluster: name one by the connection attribute endpoint or by its host name over TLS"}, true
	case errors.As(err, &tooMany):
		return answer{mysql.ER_CON_COUNT_ERROR, "08004", "Too many connections"}, true
	case errors.As(err, &resume):
		return shutdown(resume.Error()), true
	case errors.As(err, &engine):
		return answer{engine.Code, engine.SQLState, engine.Message}, true
	}
	return answer{}, false
}

// shutdown is what a client is told that the engine cannot serve.
func shutdown(why string) answer {
	return answer{mysql.ER_SERVER_SHUTDOWN, "08S01", "Server shutdown in progress: " + why}
}

// packet is the payload of the answer's ERR packet. A client of the old
// protocol is told without an SQLSTATE, which it would not know.
func (a answer) packet() []byte {
	return mysqlwire.AppendErr(nil, a.code, a.state, a.message)
}

// refusalOf is what a refusal counts as; false where it is none of the proxy's.
func refusalOf(err error) (pool.Refusal, bool) {
	var (
		instance *router.InstanceError
		unknown  *router.UnknownError
		tooMany  *pool.TooMany
		resume   *cluster.ResumeError
	)
	switch {
	case errors.As(err, &instance):
		return pool.RefusedInstance, true
	case errors.As(err, &unknown):
		return pool.RefusedUnknownCluster, true
	case errors.As(err, &tooMany):
		if tooMany.Waited > 0 {
			return pool.RefusedQueueTimeout, true
		}
		return pool.RefusedCeiling, true
	case errors.Is(err, errCrowd):
		return pool.RefusedCeiling, true
	case loginFailed(err):
		return pool.RefusedAuth, true
	case errors.Is(err, errTLS), errors.Is(err, errPlain):
		return pool.RefusedTLS, true
	case errors.Is(err, errDraining), errors.Is(err, errClosed), errors.Is(err, pool.ErrDraining):
		return pool.RefusedDraining, true
	case errors.As(err, &resume), errors.Is(err, errNoBackend), errors.Is(err, errNoUsers), errors.Is(err, context.DeadlineExceeded):
		return pool.RefusedResumeFailed, true
	case errors.Is(err, errBadHandshake), errors.Is(err, mysqlwire.ErrOldProtocol), errors.Is(err, mysqlwire.ErrMalformed),
		errors.Is(err, mysqlwire.ErrTooLarge), errors.Is(err, errUnlike):
		return pool.RefusedProtocol, true
	}
	return 0, false
}

// loginFailed tells whether a client failed to prove who it is, or may not do
// what it asks for.
func loginFailed(err error) bool {
	var (
		denied   *accessDenied
		noWay    *noWayIn
		locked   *accountLocked
		database *noDatabase
		access   *noAccess
		engine   *mysqlwire.ServerError
	)
	return errors.As(err, &denied) || errors.As(err, &noWay) || errors.As(err, &locked) ||
		errors.As(err, &database) || errors.As(err, &access) || errors.As(err, &engine) ||
		errors.Is(err, errOtherAccount) || errors.Is(err, errUnknownPlugin)
}

// guessed tells whether a failure is one that a guesser of passwords meets.
func guessed(err error) bool {
	var denied *accessDenied
	var noWay *noWayIn
	return errors.As(err, &denied) || errors.As(err, &noWay)
}
