package pgwire

import "testing"

// TestVacates: what needs a database for itself is noticed, in either form of
// request, and what only speaks of one is not.
func TestVacates(t *testing.T) {
	for text, want := range map[string]bool{
		"drop database shop":                               true,
		"  /* tidy */ DROP  DATABASE IF EXISTS \"x\"":      true,
		"-- a line\ncreate database a template b":          true,
		"alter database a rename to b":                     true,
		"begin; alter database a rename to b; commit":      true,
		"drop table orders":                                false,
		"create table t (n int)":                           false,
		"select 'drop database shop'":                      false,
		"begin":                                            false,
		"comment on database shop is 'drop database shop'": false,
		"": false,
	} {
		for kind, b := range map[string][]byte{
			"query": AppendMessage(nil, Query, append([]byte(text), 0)),
			"parse": AppendMessage(nil, Parse, append([]byte("name\x00"+text), 0, 0, 0)),
		} {
			var tracker Tracker
			tracker.FromClient(b)
			if got := tracker.Vacates(); got != want {
				t.Errorf("%s %q: %v", kind, text, got)
			}
			if tracker.Vacates() {
				t.Errorf("%s %q: it was asked for twice", kind, text)
			}
		}
	}
}
