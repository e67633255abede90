package postgres

import "testing"

func TestComplaint(t *testing.T) {
	for _, tt := range []struct{ name, output, want string }{
		{"nothing", "", ""},
		{"nothing wrong", "2026-01-01 14:41:33.344 GMT [510] LOG:  skipping missing configuration file \"/x\"\n2026-01-01 14:41:33.344 GMT [510] LOG:  listening\n/x", ""},
		{"a name and a value", `2026-01-01 14:41:33.344 GMT [510] LOG:  skipping missing configuration file "/x/postgresql.auto.conf"
    2026-01-01 14:41:33.344 GMT [510] LOG:  unrecognized configuration parameter "foo" in file "/x/postgresql.conf" line 3
    2026-01-01 14:41:33.345 GMT [510] LOG:  invalid value for parameter "work_mem": "abc"
    2026-01-01 14:41:33.345 GMT [510] FATAL:  configuration file "/x/postgresql.conf" contains errors`,
			`unrecognized configuration parameter "foo"; invalid value for parameter "work_mem": "abc"`},
		{"a start", `the engine ended before it answered: it ended with exit status 1; its log ends:
    2026-01-01 14:41:33.344 GMT [510] LOG:  starting PostgreSQL 15.18
    2026-01-01 14:41:33.345 GMT [510] FATAL:  could not access file "nosuch": No such file or directory
    2026-01-01 14:41:33.346 GMT [510] LOG:  database system is shut down`,
			`could not access file "nosuch": No such file or directory`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := New(Config{}).Complaint(tt.output); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
