package mysqlwire

import (
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// TestFacts: what is kept of a session's own words.
func TestFacts(t *testing.T) {
	for text, want := range map[string]Facts{
		"SELECT 1":                                         {},
		"SET TRANSACTION READ ONLY":                        {NextTransaction: []byte("SET TRANSACTION READ ONLY"), NextUnclear: false},
		"SET SESSION TRANSACTION READ ONLY":                {},
		"set @@tx_isolation = 'SERIALIZABLE'":              {NextTransaction: []byte("set @@tx_isolation = 'SERIALIZABLE'")},
		"SELECT 1; SET TRANSACTION READ ONLY":              {NextUnclear: true},
		"SET SESSION a = 1; SET TRANSACTION READ ONLY":     {NextUnclear: true},
		"select Get_Lock('a', 1)":                          {UserLock: true},
		"/* x */ SET autocommit = 0":                       {},
		"SELECT 'a_b', GET_LOC, budget_lock_ FROM get_loc": {UserLock: true}, // a lock too many is safe
	} {
		tr := NewTracker(Config{})
		tr.FromClient(AppendPacket(nil, 0, append([]byte{mysql.COM_QUERY}, text...)))
		got := tr.Facts()
		if got.UserLock != want.UserLock || string(got.NextTransaction) != string(want.NextTransaction) || got.NextUnclear != want.NextUnclear {
			t.Errorf("%s: %+v %q", text, got, got.NextTransaction)
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
