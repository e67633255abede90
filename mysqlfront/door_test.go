package mysqlfront

import (
	"net"
	"testing"

	"serverlessproxy/credential"
)

func TestSchemas(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"app", "app", true}, {"app", "apps", false}, {"app%", "app", true}, {"app%", "apps", true}, {"%", "", true},
		{"a_p", "axp", true}, {`a\_p`, "a_p", true}, {`a\_p`, "axp", false}, {`a\%`, "a%", true}, {`a\%`, "ab", false},
		{"%a%b%", "xxaxxbxx", true}, {"%a%b", "xxaxxbxx", false}, {"", "x", false}, {"%_", "", false}, {"%ab", "aab", true},
	} {
		if got := like(c.pattern, c.name); got != c.want {
			t.Errorf("%q like %q: %v", c.name, c.pattern, got)
		}
	}
}

// TestMayUse: privileges before existence, and what the Book does not know is
// left to the engine.
func TestMayUse(t *testing.T) {
	known := &credential.Book{Databases: map[string]credential.Database{"app": {}, "App2": {}, "secret": {}}}
	some := credential.Account{User: "u", Host: "%", Schemas: []string{"app%", "gone"}}
	for _, c := range []struct {
		book     *credential.Book
		account  credential.Account
		database string
		want     string
	}{
		{known, some, "", ""},
		{known, some, "app", ""},
		{known, some, "APP2", ""}, // the engine knows whether case matters
		{known, some, "Information_Schema", ""},
		{known, some, "gone", "Unknown database 'gone'"},
		{known, some, "secret", "Access denied for user 'u'@'%' to database 'secret'"},
		{known, some, "nothere", "Access denied for user 'u'@'%' to database 'nothere'"},
		{known, credential.Account{}, "secret", ""},
		{known, credential.Account{}, "nothere", "Unknown database 'nothere'"},
		{&credential.Book{}, credential.Account{}, "nothere", ""},
		{known, credential.Account{User: "u", Host: "h", Schemas: []string{}}, "app", "Access denied for user 'u'@'h' to database 'app'"},
	} {
		got := ""
		if err := mayUse(c.book, c.account, c.database); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%q for %v: %q, want %q", c.database, c.account.Schemas, got, c.want)
		}
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		address net.Addr
		numeric bool
		shown   string
		n       int
	}{
		{&net.UnixAddr{}, false, "localhost", 1},
		{&net.UnixAddr{}, true, "localhost", 1},
		{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, false, "localhost", 2},
		{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, true, "127.0.0.1", 1},
		{&net.TCPAddr{IP: net.IPv4(10, 1, 2, 3)}, false, "10.1.2.3", 1},
		{&net.TCPAddr{IP: net.ParseIP("fd00::1")}, false, "fd00::1", 1},
	} {
		names, shown := door{address: c.address}.names(t.Context(), nil, c.numeric)
		if shown != c.shown || len(names) != c.n {
			t.Errorf("%v: %v, shown as %s", c.address, names, shown)
		}
	}
	for host, want := range map[string]bool{"localhost": false, "%": false, "10.%": false, "::1": false, "10.0.0.0/8": false, "%.example": true, "db1": true} {
		if byHostName(credential.Account{Host: host}) != want {
			t.Errorf("%q by its name: %v", host, !want)
		}
	}
}
