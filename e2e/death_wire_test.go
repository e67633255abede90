package e2e

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// sends messages as they are, behind the driver's back.
func (m *mortal) sends(messages ...pgproto3.FrontendMessage) {
	m.t.Helper()
	for _, message := range messages {
		m.conn.Frontend().Send(message)
	}
	if err := m.conn.Frontend().Flush(); err != nil {
		m.t.Error(err)
	}
}

// hears reads the answers named in want: an error by its code, a
// ReadyForQuery by its status, COPY and a statement's end by a word.
func (m *mortal) hears(want string) {
	m.t.Helper()
	_ = m.conn.Conn().SetReadDeadline(time.Now().Add(time.Minute))
	var heard []string
	for len(heard) < len(strings.Fields(want)) {
		message, err := m.conn.Frontend().Receive()
		if err != nil {
			heard = append(heard, err.Error())
			break
		}
		switch message := message.(type) {
		case *pgproto3.ErrorResponse:
			heard = append(heard, message.Code)
		case *pgproto3.ReadyForQuery:
			heard = append(heard, string(message.TxStatus))
		case *pgproto3.CommandComplete:
			heard = append(heard, string(message.CommandTag))
		case *pgproto3.CopyInResponse:
			heard = append(heard, "copy")
		}
	}
	if got := strings.Join(heard, " "); got != want {
		m.t.Errorf("heard %q, want %q", got, want)
	}
}

// batch runs a text by the extended protocol; what ends it is not sent.
func batch(text string) []pgproto3.FrontendMessage {
	return []pgproto3.FrontendMessage{&pgproto3.Parse{Query: text}, &pgproto3.Bind{}, &pgproto3.Execute{}}
}

// TestEngineDiesMidRequestPostgres: transactions that wait in the middle of a
// pipeline, of a batch without its Sync, of a COPY, and behind TLS; whether the
// engine is killed, or somebody else stops it, which it says to each of them.
func TestEngineDiesMidRequestPostgres(t *testing.T) {
	p := quickstart(t, "--engine", "postgres")
	p.mortal(t).expect("create table kept (n int)", "done")
	for name, signal := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "stopped by others": syscall.SIGINT} {
		t.Run(name, func(t *testing.T) { p.diesMidRequest(t, signal) })
	}
}

func (p *proxy) diesMidRequest(t *testing.T, signal syscall.Signal) {
	pipeline, flushed, copying := p.mortal(t), p.mortal(t), p.mortal(t)
	secret := p.mortalAt(t, strings.Replace(p.dsn(postgres), "disable", "require", 1))
	all := []*mortal{pipeline, flushed, copying, secret}
	for _, m := range all {
		m.expect("set work_mem = '7MB'", "done")
	}
	p.untilRead(t)
	for _, m := range all {
		m.expect("begin", "done")
	}
	sync, text := &pgproto3.Sync{}, func(s string) pgproto3.FrontendMessage { return &pgproto3.Query{String: s} }
	pipeline.sends(append(append(append(batch("select pg_sleep(30)"), sync), batch("insert into kept values (1)")...), sync)...)
	flushed.sends(append(batch("select pg_sleep(30)"), &pgproto3.Flush{})...)
	copying.sends(text("copy kept from stdin"))
	copying.hears("copy")
	copying.sends(&pgproto3.CopyData{Data: []byte("1\n")})
	watch := p.mortal(t)
	p.wait("the statements run", 20*time.Second, func() error {
		if got := watch.says("select count(*) from pg_stat_activity where state = 'active' and (query like '%pg_sleep(30)' or query like 'copy kept%')"); got != "3" {
			return errors.New(got)
		}
		return nil
	})
	p.die(p.engines(), signal)
	pipeline.hears("40001 E 25P02 E")
	flushed.hears("40001")
	flushed.sends(append(batch("select 1"), sync)...)
	flushed.hears("E")
	copying.hears("40001 E")
	copying.sends(&pgproto3.CopyData{Data: []byte("2\n")}, &pgproto3.CopyDone{}, text("select 1"))
	copying.hears("25P02 E")
	for _, m := range []*mortal{pipeline, flushed, copying} {
		m.sends(append(append(batch("commit"), sync), text("rollback"))...)
		m.hears("25P02 E ROLLBACK I")
		m.sends(text("show work_mem"))
		m.hears("SHOW I")
	}
	secret.expect("select 1", "40001")
	secret.failed()
	secret.expect("show work_mem", "7MB")
	secret.expect("select count(*) from kept", "0")
}
