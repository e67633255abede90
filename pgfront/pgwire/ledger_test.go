package pgwire

import (
	"slices"
	"strings"
	"testing"
)

func text(kind byte, s string) []byte { return msg(kind, []byte(s)...) }

func TestUnnamedStatement(t *testing.T) {
	one, two, named := text(Parse, "\x00one\x00\x00\x00"), text(Parse, "\x00two\x00\x00\x00"), text(Parse, "n\x00other\x00\x00\x00")
	complete, failed := msg(ParseComplete), msg(ErrorResponse, 0)
	for _, c := range []struct {
		name           string
		client, server [][]byte
		want           string
		unknown        bool
	}{
		{"none", [][]byte{named, msg(Sync)}, [][]byte{complete, ready('I')}, "", false},
		{"one", [][]byte{one, msg(Sync)}, [][]byte{complete, ready('I')}, "one", false},
		{"two in a batch", [][]byte{one, named, two, msg(Sync)}, [][]byte{complete, complete, complete, ready('I')}, "two", false},
		{"the second skipped", [][]byte{one, named, two, msg(Sync)}, [][]byte{complete, failed, ready('I')}, "one", false},
		{"two batches, the first failed", [][]byte{one, msg(Sync), two, msg(Sync)}, [][]byte{failed, ready('I'), complete, ready('I')}, "two", false},
		{"two batches, the second failed", [][]byte{one, msg(Sync), two, msg(Sync)}, [][]byte{complete, ready('I'), failed, ready('I')}, "one", false},
		{"too long", [][]byte{text(Parse, "\x00"+strings.Repeat("x", maxParse)), msg(Sync)}, [][]byte{complete, ready('I')}, "", true},
	} {
		var tr Tracker
		feedAll(tr.FromClient, slices.Concat(c.client...), []byte{6, 1, 200})
		feedAll(tr.FromServer, slices.Concat(c.server...), []byte{3})
		body, known := tr.Unnamed()
		if got := strings.Trim(string(body), "\x00"); got != c.want || known == c.unknown {
			t.Errorf("%s: %q, known %v", c.name, got, known)
		}
	}
}

func TestNamesOfSettings(t *testing.T) {
	for sql, want := range map[string]string{
		"set my.name = 1":                       "my.name",
		`SET "My"."Name" TO x; reset other.one`: "my.name other.one",
		"select set_config('a.b.c', $1, false)": "a.b.c",
		"select t.c from t":                     "",
		"set work_mem = 1.5":                    "",
	} {
		for _, kind := range []byte{Query, Parse} {
			var tr Tracker
			body := sql + "\x00"
			if kind == Parse {
				body = "n\x00" + sql + "\x00\x00\x00"
			}
			feedAll(tr.FromClient, text(kind, body), []byte{2})
			names, _ := tr.Names()
			slices.Sort(names)
			if got := strings.Join(names, " "); got != want {
				t.Errorf("%c %s: %q", kind, sql, got)
			}
		}
	}
	var tr Tracker
	tr.FromClient(text(Parse, "n\x00select set_config($1,$2,false)\x00\x00\x00"))
	tr.FromClient(text(Bind, "\x00n\x00\x00\x00\x00\x02\x00\x00\x00\x07my.name\x00\x00\x00\x01x\x00\x00"))
	if names, _ := tr.Names(); !slices.Equal(names, []string{"my.name"}) {
		t.Errorf("%q", names)
	}
}

func TestUnmask(t *testing.T) {
	carried := substituteMark + "0A000cached plan must not change result type" + substituteEnd + room
	body := "SERROR\x00VERROR\x00C22P02\x00Minvalid input syntax for type integer: \"" + carried + "\"\x00Fnumutils.c\x00\x00"
	want := "SERROR\x00VERROR\x00C0A000\x00Mcached plan must not change result type\x00R"
	for _, substituted := range []bool{true, false} {
		var tr Tracker
		if substituted {
			tr.Substituted()
		}
		passed, _ := feedAll(tr.FromServer, append(text(ErrorResponse, body), ready('I')...), []byte{9})
		if got := strings.HasPrefix(string(passed[5:]), want); got != substituted {
			t.Errorf("substituted %v: %q", substituted, passed)
		}
		if len(passed) != len(body)+5+6 {
			t.Errorf("%d bytes", len(passed))
		}
	}
}
