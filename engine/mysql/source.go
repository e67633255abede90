package mysql

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"serverlessproxy/compute/process"
	"serverlessproxy/credential"
)

// SourceConfig says which server a Source asks, and as whom.
type SourceConfig struct {
	Network, Address string
	Login            func() (Login, error) // asked for each new connection
	Hidden           string                // an account's user that the Book leaves out; "" for none
	Log              *slog.Logger
}

// Source is credential.Source: it asks a running server what it knows of its
// users, over one control connection, dialled when it is first needed and
// again after a failure.
//
// Lookups that come while one is under way are answered together by the next,
// so that a thousand clients who connect at once cost a few round trips.
type Source struct {
	config SourceConfig
	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	rounds sync.WaitGroup // the goroutine that answers, while there is one

	mu      sync.Mutex // protects waiting, busy and closed
	waiting []lookup
	busy    bool // somebody answers; conn is theirs alone
	closed  bool

	conn *control // nil: none
}

// lookup is one caller's question, and where the answer goes.
type lookup struct {
	user, database string
	answer         chan<- answer // has room for it
}

type answer struct {
	book *credential.Book
	err  error
}

func (l lookup) everything() bool { return l.user == "" && l.database == "" }

var _ credential.Source = (*Source)(nil)

// NewSource returns a Source of any server.
func NewSource(config SourceConfig) *Source {
	ctx, cancel := context.WithCancel(context.Background())
	return &Source{config: config, ctx: ctx, cancel: cancel}
}

// Source returns the Source of the server at p.
func (e *Engine) Source(p process.Place) *Source {
	network, address := e.Address(p)
	return NewSource(SourceConfig{
		Network: network,
		Address: address,
		Login:   func() (Login, error) { return controlLogin(address) },
		Hidden:  controlUser,
		Log:     e.config.Log,
	})
}

// Book returns what concerns user and database, or everything when both are
// empty. Everybody who asked at the same time is given the same Book.
func (s *Source) Book(ctx context.Context, user, database string) (*credential.Book, error) {
	answers := make(chan answer, 1)
	if !s.enqueue(lookup{user, database, answers}) {
		return nil, errClosed
	}
	select {
	case a := <-answers:
		return a.book, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// enqueue adds a lookup, and starts a goroutine that answers unless one does.
func (s *Source) enqueue(l lookup) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.waiting = append(s.waiting, l)
	if !s.busy {
		s.busy = true
		s.rounds.Go(s.answerAll)
	}
	return true
}

// answerAll answers, round by round, until nobody waits.
func (s *Source) answerAll() {
	for {
		round := s.nextRound()
		if len(round) == 0 {
			return
		}
		book, err := s.read(scopeOf(round))
		for _, l := range round {
			l.answer <- answer{book, err}
		}
	}
}

func (s *Source) nextRound() []lookup {
	s.mu.Lock()
	defer s.mu.Unlock()
	round := s.waiting
	s.waiting = nil
	s.busy = len(round) > 0
	return round
}

// read asks once more over a new connection when an old one turns out dead:
// servers close idle connections, and end.
func (s *Source) read(of scope) (*credential.Book, error) {
	ctx, cancel := context.WithTimeout(s.ctx, limit)
	defer cancel()
	reused := s.conn != nil
	book, err := s.readOnce(ctx, of)
	if err != nil && reused && s.conn == nil {
		book, err = s.readOnce(ctx, of)
	}
	return book, err
}

// readOnce keeps the connection only while it works.
func (s *Source) readOnce(ctx context.Context, of scope) (*credential.Book, error) {
	if s.conn == nil {
		conn, err := s.dial(ctx)
		if err != nil {
			return nil, fmt.Errorf("read users: %w", err)
		}
		s.conn = conn
	}
	book, err := s.conn.book(ctx, of)
	if err == nil {
		s.hide(book)
		return book, nil
	}
	var said *mysql.MyError
	switch {
	case !errors.As(err, &said):
		s.conn.cutShort()
		s.conn = nil
		return nil, fmt.Errorf("read users: %w: %w", credential.ErrUnavailable, err)
	case isDenied(said.Code):
		return nil, fmt.Errorf("read users: %w (%s); grant it SELECT ON mysql.* and SHOW DATABASES ON *.*", ErrNoVerifiers, said.Message)
	default:
		return nil, fmt.Errorf("read users: %w", err)
	}
}

func (s *Source) dial(ctx context.Context) (*control, error) {
	login, err := s.config.Login()
	if err != nil {
		return nil, err
	}
	conn, err := dial(ctx, s.config.Network, s.config.Address, login)
	if err != nil {
		var said *mysql.MyError
		if errors.As(err, &said) && said.Code == mysql.ER_ACCESS_DENIED_ERROR {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", credential.ErrUnavailable, err)
	}
	if err := s.acquaint(ctx, conn); err != nil {
		conn.quit()
		return nil, err
	}
	return conn, nil
}

// acquaint finds out what a new connection can be asked for.
func (s *Source) acquaint(ctx context.Context, conn *control) error {
	warning, err := conn.flavor.admit(conn.version)
	if err != nil {
		return err
	}
	if warning != "" {
		s.config.Log.Warn(warning, "server", s.config.Address)
	}
	tables, err := conn.ask(ctx, []string{seesSchemas})
	if err != nil {
		return fmt.Errorf("ask for the service account's privileges: %w", err)
	}
	conn.sighted = len(tables[0]) > 0
	if !conn.sighted {
		s.config.Log.Warn("the service account does not see every schema, so that an unknown one is refused by the server only; grant it SHOW DATABASES ON *.*", "server", s.config.Address)
	}
	return nil
}

// seesSchemas has a row if this account sees every schema.
const seesSchemas = "SELECT 1 FROM information_schema.USER_PRIVILEGES WHERE PRIVILEGE_TYPE = 'SHOW DATABASES'" +
	" AND GRANTEE = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''')"

func isDenied(code uint16) bool {
	switch code {
	case mysql.ER_TABLEACCESS_DENIED_ERROR, mysql.ER_COLUMNACCESS_DENIED_ERROR, mysql.ER_DBACCESS_DENIED_ERROR, mysql.ER_SPECIFIC_ACCESS_DENIED_ERROR:
		return true
	}
	return false
}

// hide takes the proxy's own account out of a Book that nobody else has yet.
func (s *Source) hide(book *credential.Book) {
	if s.config.Hidden == "" {
		return
	}
	kept := book.Accounts[:0]
	for _, account := range book.Accounts {
		if account.User != s.config.Hidden {
			kept = append(kept, account)
		}
	}
	book.Accounts = kept
}

// Close gives up the control connection, fails who waits, and joins.
func (s *Source) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.rounds.Wait()
	if s.conn != nil {
		s.conn.quit()
		s.conn = nil
	}
	return nil
}

// scope is what a round of lookups asks for.
type scope struct {
	everything       bool
	users, databases []string
}

func scopeOf(round []lookup) scope {
	var of scope
	for _, l := range round {
		of.everything = of.everything || l.everything()
		of.users = appendNew(of.users, l.user)
		of.databases = appendNew(of.databases, l.database)
	}
	return of
}

// book reads a Book from the server.
func (c *control) book(ctx context.Context, of scope) (*credential.Book, error) {
	asked := c.flavor.catalogue.questions(c.version, of)
	tables, err := c.ask(ctx, asked)
	if err != nil {
		return nil, err
	}
	greeting := c.greeting
	book := &credential.Book{ServerVersion: greeting.ServerVersion, Taken: time.Now(), Greeting: &greeting}
	if err := c.flavor.catalogue.fill(book, tables, of); err != nil {
		return nil, err
	}
	if !c.sighted {
		book.Databases = nil // an absent one may be a hidden one
	}
	return book, nil
}
