package mysqlwire

import (
	"bytes"
	"slices"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// TestFacts: what is kept of a session's own words.
func TestFacts(t *testing.T) {
	for text, want := range map[string]Facts{
		"SELECT 1":          {},
		"set profiling = 1": {Watched: true},
		"SET @@session.optimizer_trace = 'enabled=on'": {Watched: true},
		"HANDLER t OPEN":                                   {Handler: true},
		"SELECT 1; handler t OPEN":                         {Handler: true},
		"SELECT 'handler'":                                 {},
		"FLUSH LOCAL STATUS":                               {Watched: true},
		"SELECT 'profiling' FROM flushes":                  {},
		"SET TRANSACTION READ ONLY":                        {NextTransaction: []byte("SET TRANSACTION READ ONLY"), NextUnclear: false},
		"SET SESSION TRANSACTION READ ONLY":                {},
		"set @@tx_isolation = 'SERIALIZABLE'":              {NextTransaction: []byte("set @@tx_isolation = 'SERIALIZABLE'")},
		"SELECT 1; SET TRANSACTION READ ONLY":              {NextUnclear: true},
		"SET SESSION a = 1; SET TRANSACTION READ ONLY":     {NextUnclear: true},
		"select Get_Lock('a', 1)":                          {UserLocks: []string{"a"}},
		"DO GET_LOCK('a.b-c',0.5) ; ":                      {UserLocks: []string{"a.b-c"}},
		"SELECT GET_LOCK('a', 1) AS l":                     {UserLocks: []string{"a"}},
		"SELECT GET_LOCK('a', 1), GET_LOCK('b', 1)":        {UserLock: true},
		"SELECT GET_LOCK('a', 1); SELECT GET_LOCK('b', 1)": {UserLock: true},
		"SELECT GET_LOCK(@a, 1)":                           {UserLock: true},
		"SELECT GET_LOCK('\xc3\xa9', 1)":                   {UserLock: true},
		"/* x */ SET autocommit = 0":                       {},
		"SELECT 'a_b', GET_LOC, budget_lock_ FROM get_loc": {UserLock: true}, // a lock too many is safe
	} {
		tr := NewTracker(Config{})
		tr.FromClient(AppendPacket(nil, 0, append([]byte{mysql.COM_QUERY}, text...)))
		got := tr.Facts()
		if got.UserLock != want.UserLock || !slices.Equal(got.UserLocks, want.UserLocks) || string(got.NextTransaction) != string(want.NextTransaction) || got.NextUnclear != want.NextUnclear || got.Watched != want.Watched || got.Handler != want.Handler {
			t.Errorf("%s: %+v %q", text, got, got.NextTransaction)
		}
	}
}

// TestNextTransaction: what two statements tell together.
func TestNextTransaction(t *testing.T) {
	const readOnly = "SET TRANSACTION READ ONLY"
	for _, c := range []struct {
		texts   []string
		known   string
		unclear bool
	}{
		{[]string{readOnly, "SET @a = 1"}, readOnly, false},
		{[]string{readOnly, "SELECT 1"}, "", false},
		{[]string{readOnly, "SET SESSION TRANSACTION READ WRITE"}, "", true},
		{[]string{readOnly, "SET SESSION tx_isolation = 'SERIALIZABLE'"}, "", true},
		{[]string{readOnly, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"}, "", true},
		{[]string{readOnly, "SET SESSION TRANSACTION READ WRITE", "SELECT 1"}, "", false},
		{[]string{readOnly, "SELECT 1", readOnly}, readOnly, false},
	} {
		tr := NewTracker(Config{})
		for _, text := range c.texts {
			tr.FromClient(AppendPacket(nil, 0, append([]byte{mysql.COM_QUERY}, text...)))
		}
		if got := tr.Facts(); string(got.NextTransaction) != c.known || got.NextUnclear != c.unclear {
			t.Errorf("%q: %q, unclear %v", c.texts, got.NextTransaction, got.NextUnclear)
		}
	}
}

// TestPresent: a statement is read with what was in force when it was sent.
func TestPresent(t *testing.T) {
	for text, changes := range map[string]bool{
		"SELECT 1":                   false,
		"SET autocommit = 0":         false,
		"SET sql_mode = ''":          true,
		"SET NAMES latin1":           true,
		"use other":                  true,
		"SELECT 1; USE other":        true,
		"SET @@collation_connection": true,
	} {
		tr := NewTracker(Config{})
		s := &Statement{}
		tr.FromClient(AppendPacket(nil, 0, append([]byte{mysql.COM_QUERY}, text...)))
		if tr.Present(s) == changes {
			t.Errorf("%s: changes how texts are read: %v", text, !changes)
		}
	}
}

// TestFactsOfPieces: a text tells the same however it arrives.
func TestFactsOfPieces(t *testing.T) {
	short := "SET TRANSACTION READ ONLY /* get_lock */"
	long := "SELECT '" + string(bytes.Repeat([]byte("x"), 2*maxNoticed)) + "', GET_LOCK('a', 1), 'and what follows'"
	for _, text := range []string{short, long} {
		packet := AppendPacket(nil, 0, append([]byte{mysql.COM_QUERY}, text...))
		for cut := range packet {
			tr := NewTracker(Config{})
			n, _ := tr.FromClient(packet[:cut])
			for m := n; m < len(packet); {
				n, _ = tr.FromClient(packet[m:min(len(packet), max(cut, m)+len(packet)-cut)])
				if n == 0 {
					t.Fatalf("cut at %d: the rest is not taken", cut)
				}
				m += n
			}
			got := tr.Facts()
			if !got.UserLock || text == short && string(got.NextTransaction) != short {
				t.Fatalf("cut at %d: %+v", cut, got)
			}
		}
	}
}
