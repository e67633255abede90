package mysqlfront

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"

	"serverlessproxy/mysqlfront/mysqlwire"
)

// sameAccount refuses a backend whose account is not the one that the client
// proved itself for: an engine that is not told the client's address chooses
// by the proxy's. Where it has no choice it is not asked.
func (s *session) sameAccount(ctx context.Context, b *backend) error {
	if s.target.Upstream.ProxyHeader || !s.who.rivals {
		return nil
	}
	chosen, err := s.currentUser(ctx, b)
	if errors.As(err, new(*mysqlwire.ServerError)) {
		return nil // an expired password lets nothing but its change through
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errNoBackend, err)
	}
	wanted := s.who.account.User + "@" + s.who.account.Host
	if strings.EqualFold(chosen, wanted) {
		return nil
	}
	s.front.Log.Warn("login refused: the engine cannot be told the client's address and chose another account",
		"client", s.address.String(), "account", wanted, "chosen", chosen)
	return fmt.Errorf("%w: %w", errOtherAccount, &accessDenied{s.who.user, s.who.host, true})
}

// currentUser asks the engine which account it has chosen.
func (s *session) currentUser(ctx context.Context, b *backend) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, loginLasts)
	defer cancel()
	defer guard(ctx, b.conn)()
	question := []byte{mysql.COM_QUERY}
	if s.hello.Capabilities.Has(mysql.CLIENT_QUERY_ATTRIBUTES) {
		question = append(question, 0, 1)
	}
	p := &packets{conn: b.conn}
	if err := p.write(append(question, "SELECT CURRENT_USER()"...)); err != nil {
		return "", err
	}
	before := 2 // the number of columns, and the column
	if !s.hello.Capabilities.Has(mysql.CLIENT_DEPRECATE_EOF) {
		before++
	}
	for range before {
		if _, err := p.readAnswer(maxLoginPacket); err != nil {
			return "", err
		}
	}
	row, err := p.readAnswer(maxLoginPacket)
	if err != nil {
		return "", err
	}
	user, _, ok := mysqlwire.String(row)
	if !ok {
		return "", mysqlwire.ErrMalformed
	}
	_, err = p.readAnswer(maxLoginPacket)
	return string(user), err
}
