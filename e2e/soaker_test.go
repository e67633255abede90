package e2e

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
)

// fate is what is known of a row that was sent.
type fate int

const (
	lost      fate = iota // told that it is not there
	committed             // told that it is
	unknown               // the answer never came
)

// soaker is one session, with a model of what it should find.
type soaker struct {
	t      *testing.T
	p      *proxy
	engine engine
	number int
	random *rand.Rand

	conn *sql.Conn
	set  int    // what the session has been set to; 0: nothing
	rows []fate // by their number
}

// words are an engine's own for what a soaker does.
var soakWords = map[string]struct{ set, ask string }{
	"postgres": {"set my_app.mine = '%d'", "select coalesce(nullif(current_setting('my_app.mine', true), ''), '0')"},
	"mariadb":  {"set @mine = %d", "select coalesce(@mine, 0)"},
}

func (w *soaker) work(ctx context.Context) {
	for pause(ctx, time.Duration(w.random.IntN(400))*time.Millisecond) {
		if w.conn == nil && !w.enter() {
			return
		}
		var err error
		switch w.random.IntN(4) {
		case 0:
			err = w.change()
		case 1:
			err = w.look()
		case 2:
			err = w.insert()
		case 3:
			err = w.transact()
		}
		if err != nil {
			w.hear(err)
		}
	}
}

// hear takes an error as the documentation says what it means to the session.
func (w *soaker) hear(err error) {
	code := codeOf(err)
	var said *mysql.MySQLError
	if errors.As(err, &said) {
		code = string(said.SQLState[:])
	}
	restarted := said != nil && strings.Contains(said.Message, "the server was restarted")
	switch code {
	case "40001": // the transaction is rolled back; the session goes on
		if err := w.exec("rollback"); err != nil {
			w.t.Errorf("%s %d cannot roll back what is rolled back: %v", w.engine.name, w.number, err)
			w.cut()
		}
	case "57P03": // nothing was done; the session goes on
	case "08007", "57P02":
		w.cut()
	case "08S01": // nothing was done; or the outcome, or what the session was, is not known
		if restarted {
			w.cut()
		}
	default:
		w.t.Errorf("%s %d was cut: %v", w.engine.name, w.number, err)
		w.cut()
	}
}

// cut ends a session that was told of an error; the next one begins anew.
func (w *soaker) cut() {
	leave(w.t, w.conn)
	w.conn, w.set = nil, 0
}

// enter logs in. Whoever does is held, but for one thing: an engine that was
// killed while it started is a resume that failed, and that is told.
func (w *soaker) enter() bool {
	for limit := time.Now().Add(2 * time.Minute); ; {
		conn, err := w.p.tryConnect(w.engine, nil)
		if err == nil {
			w.conn, w.set = conn, 0
			return true
		}
		if !resumeFailed(err) || time.Now().After(limit) {
			w.t.Errorf("%s %d is not let in: %v", w.engine.name, w.number, err)
			return false
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func resumeFailed(err error) bool {
	var pg *pgconn.PgError
	var my *mysql.MySQLError
	return errors.As(err, &pg) && pg.Code == "57P03" || errors.As(err, &my) && my.Number == 1053
}

func (w *soaker) exec(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := w.conn.ExecContext(ctx, statement)
	return err
}

func (w *soaker) change() error {
	v := 1 + w.random.IntN(1_000_000)
	if err := w.exec(fmt.Sprintf(soakWords[w.engine.name].set, v)); err != nil {
		return err
	}
	w.set = v
	return nil
}

func (w *soaker) look() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var got string
	if err := w.conn.QueryRowContext(ctx, soakWords[w.engine.name].ask).Scan(&got); err != nil {
		return err
	}
	if got != strconv.Itoa(w.set) {
		w.t.Errorf("%s %d finds %s in its session, has set %d", w.engine.name, w.number, got, w.set)
	}
	return nil
}

// next is a new row; until its fate is known it is unknown.
func (w *soaker) next() (statement string, n int) {
	n = len(w.rows)
	w.rows = append(w.rows, unknown)
	return fmt.Sprintf("insert into soaked values (%d, %d)", w.number, n), n
}

func (w *soaker) insert() error {
	statement, n := w.next()
	if err := w.exec(statement); err != nil {
		return err
	}
	w.rows[n] = committed
	return nil
}

// transact inserts two rows, and commits them or not. Until COMMIT is sent
// their fate is known: whatever happens, they are not there.
func (w *soaker) transact() error {
	first, a := w.next()
	second, b := w.next()
	w.fates(lost, a, b)
	for _, statement := range []string{"begin", first, second} {
		if err := w.exec(statement); err != nil {
			return err
		}
		time.Sleep(time.Duration(w.random.IntN(50)) * time.Millisecond)
	}
	if w.random.IntN(3) == 0 {
		return w.exec("rollback")
	}
	w.fates(unknown, a, b)
	if err := w.exec("commit"); err != nil {
		if w.engine.name == "postgres" && codeOf(err) != "08007" {
			w.fates(lost, a, b) // it is told so
		}
		return err
	}
	w.fates(committed, a, b)
	return nil
}

func (w *soaker) fates(f fate, rows ...int) {
	for _, n := range rows {
		w.rows[n] = f
	}
}

// settle compares the table with the model, and leaves.
func (w *soaker) settle() {
	if w.conn != nil {
		if err := w.look(); err != nil {
			w.hear(err)
		}
		if w.conn != nil {
			w.cut()
		}
	}
	if !w.enter() {
		return
	}
	defer leave(w.t, w.conn)
	found, err := w.found()
	if err != nil {
		w.t.Errorf("%s %d cannot read its rows: %v", w.engine.name, w.number, err)
		return
	}
	for n, f := range w.rows {
		switch times := found[n]; {
		case times > 1:
			w.t.Errorf("%s %d: row %d was inserted %d times", w.engine.name, w.number, n, times)
		case f == committed && times == 0:
			w.t.Errorf("%s %d: row %d was committed and is lost", w.engine.name, w.number, n)
		case f == lost && times > 0:
			w.t.Errorf("%s %d: row %d was not committed and is there", w.engine.name, w.number, n)
		}
	}
	w.t.Logf("%s %d: %d rows sent, %d found", w.engine.name, w.number, len(w.rows), len(found))
}

// found is how often each of its rows is there.
func (w *soaker) found() (map[int]int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	rows, err := w.conn.QueryContext(ctx, fmt.Sprintf("select n, count(*) from soaked where worker = %d group by n", w.number))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[int]int{}
	for rows.Next() {
		var n, times int
		if err := rows.Scan(&n, &times); err != nil {
			return nil, err
		}
		found[n] = times
	}
	return found, rows.Err()
}

// postmaster is the engine's own process, that of the cluster's record; 0
// while there is none.
func (p *proxy) postmaster(e engine) int {
	for _, pid := range p.engines() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && strings.Contains(string(text), filepath.Join("clusters", e.cluster)+"/") {
			return pid
		}
	}
	return 0
}
