package e2e

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// parameter is an engine setting, as it is configured and as the engine shows
// it.
type parameter struct{ name, value, shown, usual string }

// tunable is one engine's row: what it takes while it runs, of which a session
// sets the second itself; what only a start changes; and what it refuses.
type tunable struct {
	engine
	live, own, start parameter
	setOwn           string    // the session's statement
	ownKept          string    // what it has by that
	others           string    // what a session has after the change that has set nothing
	everyone, mine   string    // how %s is asked for: the engine's value, and the session's
	bad, badWords    string    // refused as it stands
	undone           parameter // taken and given back with…
	shuts, shutWords string    // …what only the running server refuses
	fatal, lastWords string    // no start survives it
}

var tunables = []tunable{
	{
		engine: postgres, everyone: "show %s", mine: "show %s",
		live:  parameter{"default_statistics_target", "150", "150", "100"},
		own:   parameter{"temp_buffers", "16MB", "16MB", "8MB"},
		start: parameter{"max_locks_per_transaction", "128", "128", "64"}, setOwn: "set temp_buffers = '3MB'", ownKept: "3MB", others: "16MB",
		bad: "random_page_cost: dear", badWords: `invalid value for parameter "random_page_cost"`,
		undone: parameter{"deadlock_timeout", "3s", "3s", "1s"}, shuts: "session_preload_libraries: nosuch", shutWords: `could not access file "nosuch"`,
		fatal: "shared_preload_libraries: nosuch", lastWords: `could not access file "nosuch"`,
	},
	{
		engine: mariadb, everyone: "select @@global.%s", mine: "select @@session.%s",
		live:  parameter{"slow_launch_time", "7", "7", "2"},
		own:   parameter{"sort-buffer-size", "4M", "4194304", "2097152"},
		start: parameter{"ft_min_word_len", "3", "3", "4"}, setOwn: "set sort_buffer_size = 3145728", ownKept: "3145728", others: "2097152",
		bad: "tmp_table_size: huge", badWords: "Unknown suffix 'h' used for variable 'tmp_table_size'",
		undone: parameter{"connect_timeout", "33", "33", "10"}, shuts: "default_storage_engine: NOSUCH", shutWords: "Unknown storage engine 'NOSUCH'",
		fatal: "innodb_page_size: 8192", lastWords: "InnoDB",
	},
}

func (x parameter) line() string { return x.name + ": " + x.value }

// configure gives the cluster these parameters and has the file read again.
func (p *proxy) configure(e engine, lines ...string) {
	p.t.Helper()
	p.reload(func(config string) string { return withParameters(config, e, lines...) })
}

func withParameters(config string, e engine, lines ...string) string {
	var b strings.Builder
	inside := false
	for l := range strings.Lines(config) {
		if name, found := strings.CutPrefix(strings.TrimSpace(l), "- name: "); found {
			inside = strings.Trim(name, `"`) == e.cluster
		}
		if inside && strings.HasPrefix(strings.TrimSpace(l), "parameters:") {
			continue
		}
		b.WriteString(l)
		if inside && strings.Contains(l, "- name: ") {
			b.WriteString(strings.Repeat(" ", strings.Index(l, "-")+2) + "parameters: {" + strings.Join(lines, ", ") + "}\n")
		}
	}
	return b.String()
}

func (t tunable) ask(question string, x parameter) string {
	return fmt.Sprintf(question, strings.ReplaceAll(x.name, "-", "_"))
}

// shows waits until a session is told a value: a server reads its configuration
// in its own time.
func (p *proxy) shows(c *sql.Conn, question, want string) {
	p.t.Helper()
	p.wait(fmt.Sprintf("%s is %s", question, want), 20*time.Second, func() error {
		if got := one(p.t, c, question); got != want {
			return fmt.Errorf("it is %s", got)
		}
		return nil
	})
}

func (p *proxy) pauseNow(e engine) {
	p.t.Helper()
	if out, code := p.command("pause", e.cluster); code != 0 {
		p.t.Fatalf("pause: exit %d: %s", code, out)
	}
}

type parametersView struct {
	Pending []string `json:"pending_parameters"`
	Error   string   `json:"parameters_error"`
}

func (p *proxy) parameters(e engine) (v parametersView) {
	p.t.Helper()
	p.mustCommand(&v, "status", e.cluster)
	return v
}

// TestParameters: a reload gives a running cluster its new parameters, with
// clients inside. What the engine takes while it runs it has at once, the rest
// after the next pause; a session's own SET stays, what it refuses costs
// nothing, and what is taken out is the engine's own again.
func TestParameters(t *testing.T) {
	p := quickstart(t)
	for _, e := range tunables {
		t.Run(e.name, func(t *testing.T) {
			near, far, plain := p.connect(e.engine), p.connect(e.engine), p.connect(e.engine)
			do(t, near, "create table kept (n int)", "insert into kept values (1)", e.setOwn)
			do(t, far, e.setOwn)
			one(t, plain, "select 1")
			p.pauseNow(e.engine)
			own := func(c *sql.Conn) {
				t.Helper()
				if got := one(t, c, e.ask(e.mine, e.own)); got != e.ownKept {
					t.Errorf("the session's own %s is %s, want %s", e.own.name, got, e.ownKept)
				}
			}
			own(near) // far stays parked

			p.configure(e.engine, e.live.line(), e.own.line(), e.start.line())
			p.shows(near, e.ask(e.everyone, e.live), e.live.shown)
			p.shows(far, e.ask(e.everyone, e.live), e.live.shown)
			own(near)
			own(far)
			p.shows(plain, e.ask(e.mine, e.own), e.others)
			fresh := p.connect(e.engine)
			p.shows(fresh, e.ask(e.mine, e.own), e.own.shown)
			p.shows(fresh, e.ask(e.everyone, e.start), e.start.usual)
			if v := p.parameters(e.engine); !slices.Equal(v.Pending, []string{e.start.name}) || v.Error != "" {
				t.Errorf("status says %+v", v)
			}
			if out, _ := p.command("scale", e.cluster, "--capacity", "2", "--dry-run"); !strings.Contains(out, e.start.name) {
				t.Errorf("the plan does not name %s:\n%s", e.start.name, out)
			}
			p.pauseNow(e.engine)
			p.shows(near, e.ask(e.everyone, e.start), e.start.shown)
			p.shows(near, e.ask(e.everyone, e.live), e.live.shown)
			own(near)
			own(far)

			p.refuses(e, near)

			p.configure(e.engine)
			p.shows(p.connect(e.engine), e.ask(e.mine, e.own), e.own.usual)
			p.shows(near, e.ask(e.everyone, e.live), e.live.usual)
			own(near)
			p.pauseNow(e.engine)
			p.shows(near, e.ask(e.everyone, e.start), e.start.usual)
			if v := p.parameters(e.engine); len(v.Pending) > 0 || v.Error != "" {
				t.Errorf("in the end status says %+v", v)
			}

			p.configure(e.engine, e.fatal)
			p.stop()
			p.start() // with a configuration that the engine does not start with
			if got := one(t, p.connect(e.engine), "select count(*) from kept"); got != "1" {
				t.Errorf("%s rows", got)
			}
			p.tells(e.engine, e.lastWords)
		})
	}
}

// refuses: a value that the engine does not take, or does not start with, is
// told in its words, and the cluster goes on as it was.
func (p *proxy) refuses(e tunable, c *sql.Conn) {
	p.t.Helper()
	had := []string{e.live.line(), e.own.line(), e.start.line()}
	p.configure(e.engine, append(slices.Clone(had), e.bad, "port: 1")...)
	p.tells(e.engine, "port")
	p.configure(e.engine, append(slices.Clone(had), e.bad)...)
	p.tells(e.engine, e.badWords)
	p.configure(e.engine, append(slices.Clone(had), e.undone.line(), e.shuts)...)
	p.tells(e.engine, e.shutWords)
	p.shows(p.connect(e.engine), e.ask(e.everyone, e.undone), e.undone.usual)
	p.shows(c, e.ask(e.everyone, e.live), e.live.shown)
	p.pauseNow(e.engine)
	p.shows(c, e.ask(e.everyone, e.start), e.start.shown)

	p.configure(e.engine, append(slices.Clone(had), e.fatal)...)
	if v := p.parameters(e.engine); len(v.Pending) != 1 || v.Error != "" {
		p.t.Errorf("before its next start status says %+v", v)
	}
	p.pauseNow(e.engine)
	p.shows(c, e.ask(e.everyone, e.start), e.start.shown)
	p.tells(e.engine, e.lastWords)
}

// tells: status, events and log have these words of why parameters are refused.
func (p *proxy) tells(e engine, words string) {
	p.t.Helper()
	if v := p.parameters(e); !strings.Contains(v.Error, words) || len(v.Pending) > 0 {
		p.t.Errorf("status says %+v, want %s", v, words)
	}
	if out, _ := p.command("events", e.cluster); !strings.Contains(out, words) {
		p.t.Errorf("the events do not say %s:\n%s", words, out)
	}
}

// TestParametersOfAnAdoptedEngine: one that outlived a killed proxy gets what
// was configured meanwhile, as by a reload.
func TestParametersOfAnAdoptedEngine(t *testing.T) {
	p := quickstart(t)
	for _, e := range tunables {
		one(t, p.connect(e.engine), "select 1")
	}
	p.kill()
	for _, e := range tunables {
		p.rewrite(func(config string) string { return withParameters(config, e.engine, e.live.line(), e.start.line()) })
	}
	p.start()
	for _, e := range tunables {
		c := p.connect(e.engine)
		p.shows(c, e.ask(e.everyone, e.live), e.live.shown)
		p.shows(c, e.ask(e.everyone, e.start), e.start.usual)
		if v := p.parameters(e.engine); !slices.Equal(v.Pending, []string{e.start.name}) {
			t.Errorf("status says %+v", v)
		}
		p.pauseNow(e.engine)
		p.shows(c, e.ask(e.everyone, e.start), e.start.shown)
	}
}

// TestParametersByRestart: with method restart what needs one is there at once,
// and sessions notice nothing; neither do they of a restart in vain.
func TestParametersByRestart(t *testing.T) {
	p := scalable(t, "restart")
	for _, e := range tunables {
		t.Run(e.name, func(t *testing.T) {
			c, idle := p.connect(e.engine), p.connect(e.engine)
			do(t, c, e.setOwn)
			do(t, idle, e.setOwn)
			for _, lines := range [][]string{{e.start.line()}, {e.start.line(), e.fatal}} {
				p.configure(e.engine, lines...)
				p.shows(c, e.ask(e.everyone, e.start), e.start.shown)
				p.wait("nothing waits", 30*time.Second, func() error {
					if v := p.parameters(e.engine); len(v.Pending) > 0 {
						return errors.New(strings.Join(v.Pending, ", "))
					}
					return nil
				})
			}
			p.tells(e.engine, e.lastWords)
			for _, session := range []*sql.Conn{c, idle} {
				p.shows(session, e.ask(e.mine, e.own), e.ownKept)
				p.shows(session, e.ask(e.everyone, e.start), e.start.shown)
			}
			if out, _ := p.command("events", e.cluster); strings.Count(out, "was restarted for its parameters") != 2 {
				t.Errorf("the events:\n%s", out)
			}
		})
	}
}
