package mysql

import (
	"slices"
	"testing"
)

// TestLiterals: how an option's value is written in a statement.
func TestLiterals(t *testing.T) {
	for value, want := range map[string][]string{
		"ON":      {"'ON'"},
		"":        {"''"},
		"7":       {"7", "'7'"},
		"true":    {"true", "'true'"},
		"-1":      {"-1", "'-1'"},
		"0.5":     {"0.5", "'0.5'"},
		"4M":      {"4194304", "'4M'"},
		"2k":      {"2048", "'2k'"},
		"99999E":  {"'99999E'"}, // more than a number holds
		"4MB":     {"'4MB'"},
		"it's":    {"'it''s'"},
		`a\`:      {`_utf8mb4 x'615c'`},
		"1; DROP": {"'1; DROP'"},
	} {
		if got := literals(value); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}

// TestLoosened: what the server's program alone may not know it passes over.
func TestLoosened(t *testing.T) {
	options := []string{"--server-audit-logging=ON", "--loose-x=1", "--foo=2"}
	for _, tt := range []struct {
		name  string
		known map[string]bool
		want  []string
	}{
		{"no server runs", nil, []string{"--loose-server-audit-logging=ON", "--loose-x=1", "--loose-foo=2"}},
		{"a server that has the plugin", map[string]bool{"server_audit_logging": true}, []string{"--loose-server-audit-logging=ON", "--loose-x=1", "--foo=2"}},
		{"one that has not", map[string]bool{}, options},
	} {
		if got := loosened(options, tt.known); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestComplaint(t *testing.T) {
	e := New(Config{Parameters: map[string]string{"key_passwrd": "s3cret"}})
	for _, tt := range []struct{ name, output, want string }{
		{"nothing", "2026-01-01 14:41:33 0 [Warning] Changed limits", ""},
		{"MariaDB", "2026-01-01 14:41:33 0 [ERROR] Unknown suffix 'a' used for variable 'x'\n2026-01-01 14:41:33 0 [ERROR] mariadbd: Error while setting value 'a' to 'x'\n2026-01-01 14:41:33 0 [ERROR] Aborting\n",
			"Unknown suffix 'a' used for variable 'x'; Error while setting value 'a' to 'x'"},
		{"MySQL", "2026-01-01T14:41:33.1Z 0 [ERROR] [MY-000067] [Server] unknown variable 'foo=1'.\n2026-01-01T14:41:33.1Z 0 [ERROR] [MY-010119] [Server] Aborting\n",
			"unknown variable 'foo=1'."},
		{"a secret", "2026-01-01 14:41:33 0 [ERROR] /usr/sbin/mariadbd: unknown variable 'key_passwrd=s3cret'", "unknown variable 'key_passwrd'"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := e.Complaint(tt.output); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
