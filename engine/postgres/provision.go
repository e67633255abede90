package postgres

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/xdg-go/scram"

	"serverlessproxy/compute/process"
	"serverlessproxy/credential"
)

// Provision gives a new cluster its master: the owner of its database, who may
// create roles and databases, see what the server does and end sessions of
// others, but is no superuser.
func (e *Engine) Provision(ctx context.Context, network, address string, m process.Master) error {
	if err := checkMaster(m); err != nil {
		return err
	}
	verifier, err := scramVerifier(m.Password)
	if err != nil {
		return err
	}
	conn, err := Dial{Network: network, Address: address}.control(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	user := pgx.Identifier{m.User}.Sanitize()
	steps := []string{
		// Neither the statement below nor its failure reaches the log.
		"SET log_statement = 'none'",
		"SET log_min_error_statement = 'panic'",
		"SET log_min_duration_statement = -1",
		"CREATE ROLE " + user + " LOGIN CREATEDB CREATEROLE PASSWORD '" + verifier + "'",
		"GRANT pg_monitor, pg_signal_backend TO " + user + " WITH ADMIN OPTION",
		ownDatabase(m.Database, user),
	}
	for _, step := range steps {
		if _, err := conn.PgConn().Exec(ctx, step).ReadAll(); err != nil {
			return fmt.Errorf("make user %q and database %q: %w", m.User, m.Database, err)
		}
	}
	return nil
}

func checkMaster(m process.Master) error {
	switch {
	case m.User == "" || m.Database == "" || m.Password == "":
		return errors.New("the master needs a user, a database and a password")
	case m.User == superuser:
		return fmt.Errorf("the master cannot be %q, which is the superuser; name another user", superuser)
	case strings.HasPrefix(m.User, "pg_"):
		return fmt.Errorf("the master cannot be %q: names that begin with pg_ are the server's own; name another user", m.User)
	}
	return nil
}

// ownDatabase makes a database, or hands over one that every cluster has.
func ownDatabase(database, owner string) string {
	name := pgx.Identifier{database}.Sanitize()
	if database == home || database == refuge {
		return "ALTER DATABASE " + name + " OWNER TO " + owner
	}
	return "CREATE DATABASE " + name + " OWNER " + owner
}

// iterations are PostgreSQL's own for a new verifier.
const iterations = 4096

// scramVerifier is what PostgreSQL would keep of a password. Made here, the
// password itself never reaches the server, its log or its list of activity.
func scramVerifier(password credential.Secret) (string, error) {
	client, err := scram.SHA256.NewClient("", string(password), "")
	if err != nil {
		// PostgreSQL takes a password that cannot be normalised as it is.
		client, err = scram.SHA256.NewClientUnprepped("", string(password), "")
	}
	if err != nil {
		return "", errors.New("make a verifier: the password cannot be used")
	}
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails
	kept, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: iterations})
	if err != nil {
		return "", errors.New("make a verifier: the password cannot be used")
	}
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, encode(salt), encode(kept.StoredKey), encode(kept.ServerKey)), nil
}
