package e2e

import (
	"context"
	"database/sql"
	"io"
	"strings"
	"testing"
	"time"
)

// mariadbDrivers are the ways to speak to MariaDB for which its contract holds.
var mariadbDrivers = []struct {
	name string
	open func(*testing.T, *proxy) speaker
}{
	{"go-sql-driver", openGoSQL},
	{"mariadb", openMariaDBShell},
	{"PyMySQL", openPyMySQL},
}

type goSQLDriver struct{ *sql.Conn }

func openGoSQL(t *testing.T, p *proxy) speaker {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	db := p.open(mariadb)
	conn, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); db.Close() })
	return goSQLDriver{conn}
}

func (d goSQLDriver) run(query string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	rows, err := d.QueryContext(ctx, query)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var last sql.NullString
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	values := make([]any, len(columns))
	for i := range values {
		values[i] = new(sql.RawBytes)
	}
	if len(values) > 0 {
		values[0] = &last
	}
	for rows.Next() {
		if err := rows.Scan(values...); err != nil {
			return "", err
		}
	}
	return last.String, rows.Err()
}

type mariadbShell struct{ spoken }

// openMariaDBShell is the client program: -f, to go on after an error.
func openMariaDBShell(t *testing.T, p *proxy) speaker {
	t.Helper()
	u := p.url(mariadb)
	secret, _ := u.User.Password()
	return mariadbShell{speak(t, []string{"MYSQL_PWD=" + secret},
		"mariadb", "--no-defaults", "-N", "-n", "-f", "-h", u.Hostname(), "-P", u.Port(), "-u", "app", "app")}
}

// run tells the end of an answer by a query of its own: the program says
// nothing of a statement without rows.
func (d mariadbShell) run(query string) (string, error) {
	const end = "-- end of the answer --"
	if _, err := io.WriteString(d.in, query+";\n"); err != nil {
		return "", err
	}
	if _, err := io.WriteString(d.in, "SELECT '"+end+"';\n"); err != nil {
		return "", err
	}
	last := ""
	for {
		line, err := d.out.ReadString('\n')
		if err != nil {
			return "", err
		}
		line = strings.TrimSuffix(line, "\n")
		if line == end {
			return last, nil
		}
		last = line
	}
}

// pymysql is the least that makes PyMySQL a program that answers line by line.
// Debian's Python, since that is where its package puts it. Values are left as
// the server wrote them.
const pymysql = `
import json, os, sys, pymysql
conn = pymysql.connect(host=os.environ["DB_HOST"], port=int(os.environ["DB_PORT"]), user="app", password=os.environ["DB_PASSWORD"],
                       database="app", charset="utf8mb4", autocommit=True, use_unicode=False, conv={})
for line in sys.stdin:
    try:
        cursor = conn.cursor()
        cursor.execute(json.loads(line))
        rows = cursor.fetchall() if cursor.description else []
        value = rows[-1][0] if rows else b""
        answer = {"value": "NULL" if value is None else value.decode("latin1") if isinstance(value, bytes) else str(value)}
    except pymysql.Error as e:
        answer = {"error": str(e)}
    print(json.dumps(answer), flush=True)
`

type pymysqlDriver struct{ spoken }

func openPyMySQL(t *testing.T, p *proxy) speaker {
	t.Helper()
	u := p.url(mariadb)
	secret, _ := u.User.Password()
	return pymysqlDriver{speak(t, []string{"DB_HOST=" + u.Hostname(), "DB_PORT=" + u.Port(), "DB_PASSWORD=" + secret},
		"/usr/bin/python3", "-c", pymysql)}
}

func (d pymysqlDriver) run(query string) (string, error) { return d.exchange(query) }
