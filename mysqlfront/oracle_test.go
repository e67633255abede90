//go:build oracle

package mysqlfront_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"testing"

	"serverlessproxy/cluster"
	"serverlessproxy/credential"
	"serverlessproxy/mysqlfront"
	"serverlessproxy/router"
)

// oracle reads the users of Oracle's MySQL.
type oracle struct{ engine *engine }

func (d oracle) Book(ctx context.Context, user, _ string) (*credential.Book, error) {
	greeting, err := d.engine.greeting()
	if err != nil {
		return nil, err
	}
	book := &credential.Book{Greeting: greeting}
	rows, err := d.engine.root.QueryContext(ctx, "SELECT user, host, plugin, authentication_string, account_locked='Y' FROM mysql.user WHERE user = ?", user)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var a credential.Account
		var plugin, verifier string
		if err := rows.Scan(&a.User, &a.Host, &plugin, &verifier, &a.Locked); err != nil {
			return nil, err
		}
		a.Methods = []credential.Method{{Plugin: plugin, Verifier: credential.Secret(verifier)}}
		book.Accounts = append(book.Accounts, a)
	}
	credential.SortAccounts(book.Accounts)
	return book, nil
}

// TestOracle logs in to an Oracle's MySQL whose socket the environment names.
func TestOracle(t *testing.T) {
	e := &engine{socket: os.Getenv("SERVERLESSPROXY_TEST_MYSQL_SOCKET")}
	var err error
	if e.root, err = sql.Open("mysql", "root@unix("+e.socket+")/?multiStatements=true"); err != nil {
		t.Fatal(err)
	}
	defer e.root.Close()
	for _, statement := range []string{
		"CREATE DATABASE IF NOT EXISTS app", "DROP USER IF EXISTS app, sha, locked", "FLUSH PRIVILEGES",
		"CREATE USER app@'%' IDENTIFIED BY 'pw'", "GRANT ALL ON app.* TO app@'%'",
		"CREATE USER sha@'%' IDENTIFIED WITH sha256_password BY 'pw'", "GRANT ALL ON app.* TO sha@'%'",
		"CREATE USER locked@'%' IDENTIFIED BY 'pw' ACCOUNT LOCK",
	} {
		if _, err := e.root.Exec(statement); err != nil {
			t.Fatal(statement, err)
		}
	}
	h := build(t, func(_ *mysqlfront.Config, target *router.Target, _ *router.Listener) {
		target.Users = oracle{e}
		target.Upstream.ProxyHeader = false
	})
	h.cluster.Serve(cluster.Backend{Network: "unix", Address: e.socket, Generation: 9})
	for _, user := range []string{"app", "sha"} {
		for _, options := range []string{"", "tls=skip-verify", ""} {
			db := h.open(user+":pw", "app", options)
			var n int
			if err := db.QueryRow("SELECT ? + 1", 4).Scan(&n); err != nil || n != 5 {
				t.Errorf("%s %s: %d, %v", user, options, n, err)
			}
			db.Close()
		}
		h.fails(user+":bad", "app", "", fmt.Sprintf("Error 1045 (28000): Access denied for user '%s'@'localhost' (using password: YES)", user))
	}
	h.fails("locked:pw", "", "", "Error 3118 (HY000): Access denied for user 'locked'@'localhost'. Account is locked.")
	for _, args := range [][]string{{}, {"--ssl"}} {
		if out, err := h.mariadb("SELECT CURRENT_USER()", append(args, "-uapp", "-ppw", "app")...); err != nil {
			t.Errorf("mariadb %s: %q, %v", args, out, err)
		}
	}
}
