package pgfront

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"serverlessproxy/pgfront/pgwire"
)

// state is what a session carries from one backend to the next.
type state struct {
	settings          []setting // client_encoding first
	sessionUser, role string
	statements        []statement
	unnamed           []byte // the body of its Parse; nil: there is none
	unnamedShape      []byte
	channels          []string
}

type setting struct{ name, value string }

// persona is who a backend works as.
type persona struct{ user, role string }

// statement is a prepared statement, of either kind.
type statement struct {
	name, text string
	types      []uint32
	fromSQL    bool
	since      string // when it was prepared, in the engine's words: tells two of one name apart
	shape      []byte // what Describe says of it; nil: it cannot be described any more
	unseen     bool   // nobody has had it described: the next backend's word counts
}

// unseenStatement is a statement as its client's Parse made it.
func unseenStatement(p pgwire.Prepared) statement {
	_, rest, _ := bytes.Cut(p.Body, []byte{0})
	text, list, _ := bytes.Cut(rest, []byte{0})
	st := statement{name: p.Name, text: string(text), unseen: true}
	for at := 2; at+4 <= len(list); at += 4 {
		st.types = append(st.types, binary.BigEndian.Uint32(list[at:]))
	}
	return st
}

// reading is what a backend tells of its session, before anybody has judged it.
type reading struct {
	state
	temporarySchema              bool     // there is one, which may be empty
	superuser                    bool     // who logged in is one; known where that matters
	privileged                   []string // settings that superusers alone may set
	cursor, advisory, temporary  bool
	several                      bool // a PREPARE stood among other statements: its text would run them again
	broken                       bool // a statement that no longer can be described
	unknownUnnamed, unknownNames bool // the tracker cannot tell
	hidden                       bool // settings may have been set that only superusers see
}

// decide tells what would be lost, in the words of pool.Pinned; nothing: the
// session can be parked.
func (r *reading) decide() (pins []string) {
	pin := func(is bool, word string) {
		if is && !slices.Contains(pins, word) {
			pins = append(pins, word)
		}
	}
	pin(r.cursor, "cursor")
	pin(r.advisory, "advisory_lock")
	pin(r.temporary, "temporary_object")
	pin(r.several, "prepared_text")
	pin(r.broken || r.unknownUnnamed || r.unknownNames, "unreadable")
	pin(len(r.privileged) > 0 && !r.superuser, "unreadable")
	pin(r.hidden && r.superuser, "unreadable")
	return pins
}

// ourName is the name of a statement of ours in a backend, while we talk to it.
const ourName = "serverlessproxy: state of the session"

// A probe is what reads a session's state, whatever its search_path is: small
// statements, and the functions that the system views stand for, since to plan
// one union of these views takes twice the time of all that is done here.
const (
	askSettings   = `select 's', name, pg_catalog.current_setting(name), context from pg_catalog.pg_show_all_settings() where source operator(pg_catalog.=) 'session'`
	askStatements = `select 'p', name, statement, from_sql, pg_catalog.array_to_string(parameter_types::pg_catalog.oid[], ' '), pg_catalog.to_char(prepare_time, 'YYYYMMDDHH24MISSUS') from pg_catalog.pg_prepared_statement()`
	askChannels   = `select 'l', c from pg_catalog.pg_listening_channels() c`
	askWho        = `select 'w', session_user, pg_catalog.current_setting('role'),` +
		` exists (select from pg_catalog.pg_cursor() where is_holdable),` +
		` exists (select from pg_catalog.pg_lock_status() where locktype operator(pg_catalog.=) 'advisory' and pid operator(pg_catalog.=) pg_catalog.pg_backend_pid()),` +
		` pg_catalog.pg_my_temp_schema() operator(pg_catalog.<>) 0::pg_catalog.oid`
	// askNamed gives what the settings are of which the server has no list; its
	// parameter are their names, as an array.
	askNamed = `select 'c', n, pg_catalog.current_setting(n, true), '' from pg_catalog.unnest($1::pg_catalog.text[]) n where pg_catalog.current_setting(n, true) is not null`
)

// What is asked only where the probe gives a reason to.
const (
	askTemporary = `select exists (select from pg_catalog.pg_depend where refclassid operator(pg_catalog.=) '2615'::pg_catalog.oid and refobjid operator(pg_catalog.=) pg_catalog.pg_my_temp_schema())`
	askSuperuser = `select rolsuper from pg_catalog.pg_roles where rolname operator(pg_catalog.=) $1::pg_catalog.name`
)

// probe is the batch that reads a session's state; names are those of settings
// that the server does not list.
func probe(names []string) []byte {
	var b []byte
	ask := func(text string, values ...string) {
		b = closeStatement(execute(parseMessage(b, ourName, text, nil), ourName, values...), ourName)
	}
	ask(askSettings)
	if len(names) > 0 {
		ask(askNamed, array(names))
	}
	ask(askStatements)
	ask(askChannels)
	ask(askWho)
	return withSync(b)
}

// ages tells since when there is each prepared statement.
const ages = `select name, pg_catalog.to_char(prepare_time, 'YYYYMMDDHH24MISSUS') from pg_catalog.pg_prepared_statement()`

// notSet are settings that have a way of their own, or are a transaction's.
var notSet = []string{"transaction_isolation", "transaction_read_only", "transaction_deferrable", "role", "session_authorization", "is_superuser", "seed"}

// interpret makes a reading of the rows of a probe.
func interpret(rows [][]string) *reading {
	r := &reading{}
	seen := map[string]bool{}
	for _, row := range rows {
		switch row[0] {
		case "s", "c":
			name := strings.ToLower(row[1])
			if seen[name] || slices.Contains(notSet, name) {
				continue
			}
			seen[name] = true
			if row[3] == "superuser" {
				r.privileged = append(r.privileged, row[1])
			}
			r.settings = append(r.settings, setting{row[1], row[2]})
		case "p":
			if row[1] != ourName {
				r.statements = append(r.statements, statement{name: row[1], text: row[2], types: oids(row[4]), fromSQL: row[3] == "t", since: row[5]})
			}
		case "l":
			r.channels = append(r.channels, row[1])
		case "w":
			r.sessionUser, r.role = row[1], row[2]
			r.cursor, r.advisory, r.temporarySchema = row[3] == "t", row[4] == "t", row[5] == "t"
		}
	}
	// One may execute another: they are prepared again in their order.
	slices.SortStableFunc(r.statements, func(a, b statement) int { return strings.Compare(a.since, b.since) })
	slices.SortStableFunc(r.settings, func(a, b setting) int { return rank(a) - rank(b) })
	return r
}

// rank is when a setting is set: the encoding decides how the others are
// written, and the last would trip what comes after them.
func rank(s setting) int {
	switch {
	case s.name == "client_encoding":
		return 0
	case last(s.name):
		return 2
	}
	return 1
}

func last(name string) bool {
	return strings.HasSuffix(name, "_timeout") || strings.HasPrefix(name, "default_transaction_")
}

func oids(list string) (types []uint32) {
	for word := range strings.FieldsSeq(list) {
		oid, err := strconv.ParseUint(word, 10, 32)
		if err != nil {
			return nil
		}
		types = append(types, uint32(oid))
	}
	return types
}

// array writes names, which hold no quote and no backslash, as an array.
func array(names []string) string {
	return `{"` + strings.Join(names, `","`) + `"}`
}

// sameShape tells whether a client that knows one description can read rows
// described by the other: which table a column is from does not matter.
func sameShape(a, b []byte) bool { return bytes.Equal(withoutTables(a), withoutTables(b)) }

func withoutTables(shape []byte) []byte {
	shape = bytes.Clone(shape)
	for at := 0; len(shape)-at >= 7; {
		end := at + 1 + int(binary.BigEndian.Uint32(shape[at+1:]))
		if end > len(shape) {
			return shape
		}
		if shape[at] == pgwire.RowDescription {
			clearTables(shape[at+7 : end])
		}
		at = end
	}
	return shape
}

// clearTables clears each column's table and its number there.
func clearTables(columns []byte) {
	for {
		name := bytes.IndexByte(columns, 0)
		if name < 0 || len(columns) < name+19 {
			return
		}
		clear(columns[name+1 : name+7])
		columns = columns[name+19:]
	}
}
