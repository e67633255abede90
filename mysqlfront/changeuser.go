package mysqlfront

import (
	"context"
	"errors"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"serverlessproxy/mysqlfront/mysqlwire"
	"serverlessproxy/pool"
	"serverlessproxy/relay"
	"serverlessproxy/throttle"
)

// changeUser authenticates the client anew and then its backend. As with an
// engine, a change that fails leaves the old user, in a session that has been
// reset.
func (s *session) changeUser(r relay.Return) {
	length, seq := mysqlwire.Header(r.FromClient)
	end := mysqlwire.HeaderSize + length
	if len(r.FromClient) != end {
		s.end(errBadPacket) // nothing can follow before the answer is known
		return
	}
	change, err := mysqlwire.ParseChangeUser(r.FromClient[mysqlwire.HeaderSize:end], s.hello.Capabilities)
	if err != nil {
		s.end(errBadPacket)
		return
	}
	client := &packets{conn: s.client, seq: seq + 1}
	s.unread = nil // it is being answered
	ok, err := s.becomeAnother(client, change)
	switch {
	case err == nil:
		err = s.answer(client, ok)
	case s.refusable(err):
		err = s.stayTheSame(client, err)
	}
	if err != nil {
		s.end(err)
		return
	}
	s.lend(nil, r.FromBackend)
}

// mostGuesses is how many changes of user may fail in a session, so that one
// connection is not enough to try passwords by.
const mostGuesses = 3

// refusable tells whether a failed change of user leaves the session usable.
func (s *session) refusable(err error) bool {
	return loginFailed(err) || errors.Is(err, errNoUsers) || errors.Is(err, errOneWay) || errors.Is(err, errGuesser)
}

// becomeAnother lets the client prove that it is another user, and makes its
// backend that user's. It returns the engine's OK.
func (s *session) becomeAnother(client *packets, change mysqlwire.ChangeUser) ([]byte, error) {
	if s.guesses >= mostGuesses {
		return nil, errGuesser
	}
	who, err := s.examine(client, change)
	if err != nil {
		return nil, err
	}
	hello := s.hello
	hello.User, hello.Database, hello.Attributes = who.user, who.database, withoutOwn(change.Attributes)
	if change.Charset != 0 {
		hello.Charset = byte(change.Charset)
	}
	c := s.caller()
	c.hello, c.secrets = hello, secretsOf(who, s.target.Upstream.Passwords)
	ok, err := c.again(s.ctx, s.backend)
	if err != nil {
		return nil, gone(err)
	}
	s.mu.Lock()
	s.who, s.hello = who, hello
	s.mu.Unlock()
	s.seat.Describe(func(i *pool.Info) { i.User, i.Database = who.user, who.database })
	return ok, s.renew(ok)
}

// examine has the client prove who it is.
func (s *session) examine(client *packets, change mysqlwire.ChangeUser) (identity, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.front.HandshakeTimeout)
	defer cancel()
	defer guard(ctx, s.client)()
	e := &exam{
		client:    client,
		rsaKey:    s.front.rsaKey,
		keys:      s.target.Keys,
		secure:    s.secure,
		canSwitch: s.hello.Capabilities.Has(mysql.CLIENT_PLUGIN_AUTH),
		proof:     change.Auth,
	}
	if !e.canSwitch {
		e.plugin, e.salt = mysqlwire.NativePassword, s.salt
	}
	return s.door.admit(ctx, e, wish{user: change.User, database: change.Database})
}

// renew forgets what the engine has forgotten.
func (s *session) renew(ok []byte) error {
	said, err := mysqlwire.ParseOK(ok, s.hello.Capabilities)
	if err != nil {
		return errEngineGone
	}
	s.scanner.Reset(said.Status)
	return nil
}

// stayTheSame resets the session, as an engine does before it finds out that
// the new user's proof fails, and tells the client why it is still the old
// one.
func (s *session) stayTheSame(client *packets, why error) error {
	s.target.Tally.LoginFailures.Add(1)
	s.guesses++
	if guessed(why) {
		throttle.Pause(s.ctx, s.front.failures.Failed(s.address, time.Now()))
	}
	ok, err := s.backend.command(s.ctx, mysql.COM_RESET_CONNECTION)
	if err != nil {
		return errEngineGone
	}
	if err := s.renew(ok); err != nil {
		return err
	}
	said, _ := answerTo(why)
	return s.answer(client, said.packet())
}

// answer writes one packet to the client.
func (s *session) answer(client *packets, payload []byte) error {
	ctx, cancel := context.WithTimeout(s.ctx, goodbyeLasts)
	defer cancel()
	defer guard(ctx, s.client)()
	if err := client.write(payload); err != nil {
		return errVanished
	}
	return nil
}
