package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// A speaker is somebody's way to speak to PostgreSQL, one session of it: the
// rows of the contract hold through each.
type speaker interface {
	// run gives the last value of the last statement of a script, as text.
	run(script string) (string, error)
}

var drivers = []struct {
	name string
	open func(*testing.T, *proxy) speaker
}{
	{"pgx", openPgx},
	{"psql", openPsql},
	{"psycopg2", openPsycopg},
}

type pgxDriver struct{ *pgx.Conn }

func openPgx(t *testing.T, p *proxy) speaker {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, p.dsn(postgres)+"&default_query_exec_mode=simple_protocol")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return pgxDriver{conn}
}

func (d pgxDriver) run(script string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	results, err := d.PgConn().Exec(ctx, script).ReadAll()
	if err != nil || len(results) == 0 {
		return "", err
	}
	rows := results[len(results)-1].Rows
	if len(rows) == 0 {
		return "", nil
	}
	return string(rows[len(rows)-1][0]), nil
}

// spoken is a client program that takes a line and answers with one: both of
// JSON, so that a text may hold anything.
type spoken struct {
	in  io.Writer
	out *bufio.Reader
}

func (p *proxy) spoken(t *testing.T, args ...string) spoken {
	t.Helper()
	u := p.url(postgres)
	secret, _ := u.User.Password()
	return speak(t, []string{"PGHOST=" + u.Hostname(), "PGPORT=" + u.Port(), "PGUSER=app", "PGPASSWORD=" + secret, "PGDATABASE=app", "PGSSLMODE=disable"}, args...)
}

func speak(t *testing.T, env []string, args ...string) spoken {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// A program that no longer answers must not hold the test.
	limit := time.AfterFunc(5*time.Minute, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
		limit.Stop()
	})
	return spoken{in, bufio.NewReader(out)}
}

// psycopg is the least that makes psycopg2 such a program. Debian's Python,
// since that is where its package puts it.
const psycopg = `
import json, sys, psycopg2
conn = psycopg2.connect("")
conn.autocommit = True
for line in sys.stdin:
    try:
        cursor = conn.cursor()
        cursor.execute(json.loads(line))
        rows = cursor.fetchall() if cursor.description else []
        answer = {"value": str(rows[-1][0]) if rows else ""}
    except psycopg2.Error as e:
        answer = {"error": str(e)}
    print(json.dumps(answer), flush=True)
`

type psycopgDriver struct{ spoken }

func openPsycopg(t *testing.T, p *proxy) speaker {
	t.Helper()
	return psycopgDriver{p.spoken(t, "/usr/bin/python3", "-c", psycopg)}
}

func (d psycopgDriver) run(script string) (string, error) { return d.exchange(script) }

// exchange sends a script and reads the answer.
func (d spoken) exchange(script string) (string, error) {
	line, err := json.Marshal(script)
	if err != nil {
		return "", err
	}
	if _, err := d.in.Write(append(line, '\n')); err != nil {
		return "", err
	}
	text, err := d.out.ReadBytes('\n')
	if err != nil {
		return "", err
	}
	var answer struct{ Value, Error string }
	if err := json.Unmarshal(text, &answer); err != nil {
		return "", err
	}
	if answer.Error != "" {
		return "", errorText(answer.Error)
	}
	return answer.Value, nil
}

type errorText string

func (e errorText) Error() string { return string(e) }

type psqlDriver struct{ spoken }

// openPsql does not look for the end of an answer by its form: \echo says it.
func openPsql(t *testing.T, p *proxy) speaker {
	t.Helper()
	return psqlDriver{p.spoken(t, "psql", "-XAtq")}
}

func (d psqlDriver) run(script string) (string, error) {
	const end = "-- end of the answer --"
	if _, err := io.WriteString(d.in, script+"\n;\n\\echo "+end+"\n"); err != nil {
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
