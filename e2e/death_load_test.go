package e2e

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// teller moves money between two accounts and writes each transfer down, as
// pgbench does, over an engine that dies now and then. It believes what it is
// told of its transactions, and is to be right.
type teller struct {
	t         *testing.T
	p         *proxy
	number    int
	total     *atomic.Int64 // transactions that all tellers know to be committed
	conn      *pgconn.PgConn
	committed int
	unknown   int // told that nobody knows
	codes     map[string]int
}

func (w *teller) work(ctx context.Context) {
	for ctx.Err() == nil && w.enter() {
		if w.transfer() {
			w.committed++
			w.total.Add(1)
		}
	}
	if w.conn != nil {
		_ = w.conn.Close(context.Background())
	}
}

// enter logs in unless the session lives still.
func (w *teller) enter() bool {
	if w.conn != nil {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var err error
	if w.conn, err = pgconn.Connect(ctx, w.p.dsn(postgres)); err != nil {
		w.t.Errorf("teller %d is not let in: %v", w.number, err)
		w.conn = nil
		return false
	}
	return true
}

// transfer is one transaction; true if it is committed.
func (w *teller) transfer() bool {
	for _, text := range []string{
		"begin",
		fmt.Sprintf("update accounts set balance = balance - 1 where id = %d", w.number),
		"update accounts set balance = balance + 1 where id = -1",
		fmt.Sprintf("insert into transfers values (%d)", w.number),
	} {
		if code := w.says(text); code != "done" {
			w.hears(code)
			return false
		}
	}
	code := w.says("end")
	if code == "08007" {
		w.unknown++
	}
	if code != "done" {
		w.hears(code)
	}
	return code == "done"
}

func (w *teller) says(text string) string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := w.conn.Exec(ctx, text).ReadAll(); err != nil {
		return codeOf(err)
	}
	return "done"
}

// hears takes an error as the documentation says what it means.
func (w *teller) hears(code string) {
	w.codes[code]++
	switch code {
	case "40001": // rolled back, and the session lives
		if got := w.says("commit"); got != "25P02" {
			w.t.Errorf("teller %d: COMMIT after 40001: %s", w.number, got)
		}
		if got := w.says("rollback"); got != "done" {
			w.t.Errorf("teller %d: ROLLBACK after 40001: %s", w.number, got)
		}
	case "57P03": // not done, and the session lives
	case "08007", "57P02":
		_ = w.conn.Close(context.Background())
		w.conn = nil
	default:
		w.t.Errorf("teller %d was told %s", w.number, code)
		_ = w.conn.Close(context.Background())
		w.conn = nil
	}
}

// TestEngineDiesUnderLoadPostgres kills the engine twice under eight tellers:
// they hear only what is documented, and what they were told of their
// transactions is so.
func TestEngineDiesUnderLoadPostgres(t *testing.T) {
	p := quickstart(t, "--engine", "postgres")
	const tellers = 8
	setup := p.mortal(t)
	setup.expect("create table accounts (id int primary key, balance int); create table transfers (id int); "+
		"insert into accounts select i, 0 from generate_series(-1, "+strconv.Itoa(tellers)+") i", "done")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var total atomic.Int64
	staff := make([]*teller, tellers)
	for i := range staff {
		staff[i] = &teller{t: t, p: p, number: i, total: &total, codes: map[string]int{}}
	}
	go func() {
		defer cancel()
		for range 2 {
			p.untilMore(ctx, &total, 40)
			for _, pid := range p.engines() {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		p.untilMore(ctx, &total, 40)
	}()
	together(tellers, tellers, func(i int) { staff[i].work(ctx) })
	codes := map[string]int{}
	for _, w := range staff {
		for code, n := range w.codes {
			codes[code] += n
		}
		p.audit(w)
	}
	if len(codes) == 0 {
		t.Error("nobody has heard of two deaths")
	}
	t.Logf("%d transactions, errors %v", total.Load(), codes)
	p.mortal(t).expect("select sum(balance) from accounts", "0")
}

// untilMore waits until so many more transactions are committed.
func (p *proxy) untilMore(ctx context.Context, total *atomic.Int64, more int64) {
	for want := total.Load() + more; total.Load() < want && pause(ctx, 10*time.Millisecond); {
	}
	if ctx.Err() != nil {
		p.t.Errorf("the work does not go on: %d transactions", total.Load())
	}
}

// audit compares what a teller was told with what is there.
func (p *proxy) audit(w *teller) {
	m := p.mortal(p.t)
	defer m.conn.Close(context.Background())
	written, err := strconv.Atoi(m.says(fmt.Sprintf("select count(*) from transfers where id = %d", w.number)))
	if err != nil || written < w.committed || written > w.committed+w.unknown {
		p.t.Errorf("teller %d: %d transfers are there (%v), it knows of %d and of %d that nobody knows of", w.number, written, err, w.committed, w.unknown)
	}
	m.expect(fmt.Sprintf("select -balance from accounts where id = %d", w.number), strconv.Itoa(written))
}
