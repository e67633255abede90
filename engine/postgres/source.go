package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"serverlessproxy/credential"
)

// askTimeout is for one answer of the server.
const askTimeout = 10 * time.Second

var errClosed = errors.New("the source of users is closed")

// Source reads a server's users by one control connection, which is dialled at
// the first question and again after each failure. Questions take turns.
type Source struct {
	dial      Dial
	passwords map[string]credential.Secret

	turn chan struct{} // of one: who has put something in owns what follows

	conn       *pgx.Conn // nil: to be dialled
	query      string
	major      int
	parameters map[string]string // of a fresh session; never changed, only replaced
	closed     bool

	once      sync.Once // computes verifiers
	verifiers map[string]credential.Secret
}

var _ credential.Source = (*Source)(nil)

// NewSource is a Source. passwords are those that the operator has configured
// for a server which hides its verifiers, by user: their verifiers are then
// made from them. Nothing is dialled yet; Close ends it.
func NewSource(dial Dial, passwords map[string]credential.Secret) *Source {
	return &Source{dial: dial, passwords: maps.Clone(passwords), turn: make(chan struct{}, 1)}
}

// Book returns what concerns user and database, in one round trip; or
// everything, when both are empty. The error wraps credential.ErrUnavailable
// where the server did not answer, and ErrNoVerifiers where it may not.
func (s *Source) Book(ctx context.Context, user, database string) (*credential.Book, error) {
	if err := s.take(ctx); err != nil {
		return nil, err
	}
	defer s.give()
	// A client that leaves must not end the connection that all share.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	book, err := s.ask(ctx, user, database)
	if errors.Is(err, errBroken) {
		book, err = s.ask(ctx, user, database)
	}
	if err != nil {
		return nil, fmt.Errorf("read users: %w", unavailable(err))
	}
	return book, nil
}

// Check says whether the server can be asked, and shows its verifiers.
func (s *Source) Check(ctx context.Context) error {
	_, err := s.Book(ctx, s.dial.user(), home)
	return err
}

// Close ends the connection. Questions after it fail.
func (s *Source) Close() {
	s.turn <- struct{}{}
	defer s.give()
	s.closed = true
	s.drop()
}

func (s *Source) take(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait to read users: %w", ctx.Err())
	}
}

func (s *Source) give() { <-s.turn }

// errBroken: the connection was good and is no longer; the same question may
// be asked on another.
var errBroken = errors.New("control connection lost")

// ask asks once. It owns the turn.
func (s *Source) ask(ctx context.Context, user, database string) (*credential.Book, error) {
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	var roles, databases string
	err := s.conn.QueryRow(ctx, s.query, user, database).Scan(&roles, &databases)
	if sqlState(err) == insufficientPrivilege && s.shown() {
		if len(s.passwords) == 0 {
			return nil, s.noVerifiers(err)
		}
		s.query = queryFor(s.major, false)
		err = s.conn.QueryRow(ctx, s.query, user, database).Scan(&roles, &databases)
	}
	if err != nil {
		if s.conn.IsClosed() || sqlState(err) == "" {
			s.drop()
			err = errors.Join(errBroken, err)
		}
		return nil, err
	}
	if user == "" && database == "" {
		if s.parameters, err = s.dial.fresh(ctx); err != nil {
			return nil, err
		}
	}
	return s.complete(roles, databases)
}

// complete makes the Book of two answers and what is known besides.
func (s *Source) complete(roles, databases string) (*credential.Book, error) {
	book, err := parseUsers(roles, databases)
	if err != nil {
		return nil, err
	}
	book.Parameters = s.parameters
	book.ServerVersion = s.conn.PgConn().ParameterStatus("server_version")
	if s.shown() {
		return book, nil
	}
	if err := s.makeVerifiers(); err != nil {
		return nil, err
	}
	for name, role := range book.Roles {
		role.Verifier = s.verifiers[name]
		book.Roles[name] = role
	}
	return book, nil
}

// shown tells whether the present query reads the server's own verifiers.
func (s *Source) shown() bool { return s.query == queryFor(s.major, true) }

func (s *Source) noVerifiers(err error) error {
	return fmt.Errorf("%w: user %s of the server at %s may not read pg_authid: let it (a superuser: GRANT SELECT ON pg_authid TO %s), or, where the server's provider does not allow that, configure the users' passwords: %w",
		ErrNoVerifiers, s.dial.user(), s.dial.Address, pgx.Identifier{s.dial.user()}.Sanitize(), err)
}

func (s *Source) makeVerifiers() (err error) {
	s.once.Do(func() {
		s.verifiers = make(map[string]credential.Secret, len(s.passwords))
		for user, password := range s.passwords {
			var verifier string
			if verifier, err = scramVerifier(password); err != nil {
				return
			}
			s.verifiers[user] = credential.Secret(verifier)
		}
	})
	return err
}

// connect dials where there is no connection.
func (s *Source) connect(ctx context.Context) error {
	if s.closed {
		return errClosed
	}
	if s.conn != nil && !s.conn.IsClosed() {
		return nil
	}
	conn, err := s.dial.control(ctx)
	if err != nil {
		return err
	}
	s.conn = conn
	s.major = leading(conn.PgConn().ParameterStatus("server_version"))
	s.query = queryFor(s.major, true)
	if s.parameters == nil {
		if s.parameters, err = s.dial.fresh(ctx); err != nil {
			s.drop()
			return err
		}
	}
	return nil
}

// drop lets go of the connection, dead or not.
func (s *Source) drop() {
	if s.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.conn.Close(ctx)
	s.conn = nil
}

// unavailable marks an error by which the server has not answered: it sent
// none, or one that says that it is starting, stopping or full.
func unavailable(err error) error {
	if errors.Is(err, errClosed) || errors.Is(err, ErrNoVerifiers) {
		return err
	}
	state := sqlState(err)
	if state == "" || strings.HasPrefix(state, "57P") || state == "53300" {
		return fmt.Errorf("%w: %w", credential.ErrUnavailable, err)
	}
	return err
}
