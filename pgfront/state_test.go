package pgfront

import (
	"strings"
	"testing"

	"serverlessproxy/pgfront/pgwire"
)

func TestDecide(t *testing.T) {
	for _, c := range []struct {
		name string
		of   reading
		want string
	}{
		{"nothing", reading{}, ""},
		{"settings and statements", reading{state: state{settings: []setting{{"a", "b"}}, statements: []statement{{name: "s"}}}}, ""},
		{"holdable cursor", reading{cursor: true}, "cursor"},
		{"advisory lock", reading{advisory: true}, "advisory_lock"},
		{"temporary table", reading{temporary: true}, "temporary_object"},
		{"PREPARE among others", reading{several: true}, "prepared_text"},
		{"unknown unnamed statement", reading{unknownUnnamed: true}, "unreadable"},
		{"too many names", reading{unknownNames: true}, "unreadable"},
		{"a superuser's setting", reading{privileged: []string{"log_statement"}}, "unreadable"},
		{"a superuser's setting, by one", reading{privileged: []string{"log_statement"}, superuser: true}, ""},
		{"hidden", reading{hidden: true, superuser: true}, "unreadable"},
		{"hidden from one who may not", reading{hidden: true}, ""},
		{"listening", reading{state: state{channels: []string{"c"}}}, ""},
		{"several", reading{cursor: true, advisory: true}, "cursor,advisory_lock"},
	} {
		if got := strings.Join(c.of.decide(), ","); got != c.want {
			t.Errorf("%s: pinned by %q, want %q", c.name, got, c.want)
		}
	}
}

func TestPlanOrder(t *testing.T) {
	r := interpret([][]string{
		{"s", "statement_timeout", "1min", "user"},
		{"s", "work_mem", "4MB", "user"},
		{"s", "client_encoding", "LATIN1", "user"},
		{"s", "transaction_isolation", "serializable", "user"},
		{"c", "a.b", "x", ""},
		{"p", "later", "execute first", "f", "", "2"},
		{"p", "first", "prepare first as select 1", "t", "23 25", "1"},
		{"p", ourName, "", "f", "", "3"},
		{"w", "app", "none", "f", "f", "f"},
	})
	var order []string
	for _, step := range r.state.plan(persona{"app", "other"}) {
		for _, s := range step.want {
			order = append(order, s.name)
		}
		if step.name != nil {
			order = append(order, "prepared "+*step.name)
		}
	}
	want := "client_encoding work_mem a.b session_authorization role prepared first prepared later statement_timeout"
	if got := strings.Join(order, " "); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// TestPlanOfNothing: a session that is what it was at its login costs nothing to
// restore, on a backend of which that is known.
func TestPlanOfNothing(t *testing.T) {
	for _, c := range []struct {
		of   state
		as   persona
		want int
	}{
		{state{}, persona{}, 0},
		{state{sessionUser: "app", role: "none"}, persona{"app", "none"}, 0},
		{state{sessionUser: "app", role: "none"}, persona{}, 2},
		{state{sessionUser: "app", role: "none"}, persona{"app", "boss"}, 2},
		{state{settings: []setting{{"work_mem", "4MB"}}, sessionUser: "app", role: "none"}, persona{"app", "none"}, 2},
		{state{unnamed: []byte{0, 0, 0, 0}}, persona{}, 1},
		{state{channels: []string{"c"}}, persona{}, 2},
	} {
		if got := len(c.of.plan(c.as)); got != c.want {
			t.Errorf("%+v on a backend of %v: %d steps, want %d", c.of, c.as, got, c.want)
		}
	}
}

func TestIsEmptyQuery(t *testing.T) {
	for text, want := range map[string]bool{"": true, " ;\n": true, "-- ping": true, "-- a\n;": true, "select 1": false, "-- a\nselect 1": false, "/* a */": false} {
		if got := isEmptyQuery(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestSubstitutesParse(t *testing.T) {
	if text := pgwire.Substitute("0A000", "it costs $1"); strings.Contains(text, "$1") {
		t.Error(text)
	}
}
