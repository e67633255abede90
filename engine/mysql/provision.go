package mysql

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"

	"serverlessproxy/compute/process"
	"serverlessproxy/credential"
)

// Ready returns nil when the server lets the control account in and answers.
func (e *Engine) Ready(ctx context.Context, network, address string) error {
	login, err := controlLogin(address)
	if err != nil {
		return err
	}
	return Ping(ctx, network, address, login)
}

// Ping returns nil when a server lets login in and answers.
func Ping(ctx context.Context, network, address string, login Login) error {
	c, err := dial(ctx, network, address, login)
	if err != nil {
		return err
	}
	defer c.quit()
	if err := c.within(ctx, c.conn.Ping); err != nil {
		return fmt.Errorf("ping the server: %w", err)
	}
	return nil
}

// Provision gives a new cluster its master: owner of its database, with the
// privileges that RDS gives, so that it may make users and databases.
func (e *Engine) Provision(ctx context.Context, network, address string, m process.Master) error {
	login, err := controlLogin(address)
	if err != nil {
		return fmt.Errorf("provision: %w", err)
	}
	c, err := dial(ctx, network, address, login)
	if err != nil {
		return fmt.Errorf("provision: %w", err)
	}
	defer c.quit()
	// The general log, where one was asked for, is not to see the password.
	if err := c.run(ctx, "SET SESSION sql_log_off = 1, sql_mode = 'NO_BACKSLASH_ESCAPES'"); err != nil {
		return fmt.Errorf("provision: prepare the session: %w", err)
	}
	if err := c.run(ctx, c.flavor.secure...); err != nil {
		return fmt.Errorf("provision: secure the superuser: %w", err)
	}
	if err := c.run(ctx, masterStatements(m, c.flavor.grants(c.version))...); err != nil {
		return fmt.Errorf("provision: create the master user %s: %w", m.User, withoutSecret(err, m.Password))
	}
	return nil
}

// masterStatements create the master's database and account.
func masterStatements(m process.Master, grants []string) []string {
	account := quote(m.User) + "@'%'"
	statements := []string{
		"CREATE DATABASE IF NOT EXISTS " + identifier(m.Database),
		"CREATE USER " + account + " IDENTIFIED BY " + quote(string(m.Password)),
		"GRANT ALL PRIVILEGES ON " + identifier(literalPattern(m.Database)) + ".* TO " + account + " WITH GRANT OPTION",
	}
	for _, privileges := range grants {
		statements = append(statements, "GRANT "+privileges+" ON *.* TO "+account+" WITH GRANT OPTION")
	}
	return statements
}

// withoutSecret: a server quotes the statement that it did not understand.
func withoutSecret(err error, secret credential.Secret) error {
	if text := err.Error(); secret != "" && strings.Contains(text, string(secret)) {
		return errors.New(strings.ReplaceAll(text, string(secret), secret.String()))
	}
	return err
}

// Refused tells an error of Ping or Source that waiting does not change: the
// login is wrong, or the server is none that can be served.
func Refused(err error) bool {
	var said *mysql.MyError
	if errors.As(err, &said) {
		switch said.Code {
		case mysql.ER_ACCESS_DENIED_ERROR, mysql.ER_DBACCESS_DENIED_ERROR, mysql.ER_HOST_NOT_PRIVILEGED, mysql.ER_HOST_IS_BLOCKED, accessDeniedNoPassword:
			return true
		}
	}
	return errors.Is(err, ErrTooOld) || errors.Is(err, ErrNoVerifiers)
}

// accessDeniedNoPassword is said where an account's plugin takes no password.
const accessDeniedNoPassword = 1698
