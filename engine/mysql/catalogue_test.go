package mysql

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"serverlessproxy/credential"
)

const (
	native  = "mysql_native_password"
	hashOfX = "*B69027D44F6E5EDC07F1AEAD1477967B16F28227"
)

func method(plugin, verifier string) credential.Method {
	return credential.Method{Plugin: plugin, Verifier: credential.Secret(verifier)}
}

func methods(m ...credential.Method) []credential.Method { return m }

// What MariaDB writes into mysql.global_priv.
func TestGlobalPriv(t *testing.T) {
	now := time.Unix(1795569169+40*24*3600, 0)
	for name, c := range map[string]struct {
		priv  string
		aging aging
		want  credential.Account
		opens bool
	}{
		"a password":      {priv: `{"access":0,"version_id":101119,"plugin":"mysql_native_password","authentication_string":"` + hashOfX + `","password_last_changed":1795569169}`, want: credential.Account{Methods: methods(method(native, hashOfX))}},
		"no password":     {priv: `{"access":0,"plugin":"mysql_native_password","authentication_string":""}`, want: credential.Account{Methods: methods(method(native, ""))}},
		"nothing at all":  {priv: `{}`, want: credential.Account{Methods: methods(method(native, ""))}},
		"no plugin named": {priv: `{"access":1,"authentication_string":"` + hashOfX + `"}`, want: credential.Account{Methods: methods(method(native, hashOfX))}, opens: true},
		"an old hash":     {priv: `{"access":0,"authentication_string":"5d2e19393cc5ef67"}`, want: credential.Account{Methods: methods(method("mysql_old_password", "5d2e19393cc5ef67"))}},
		"root as made": {priv: `{"access":18446744073709551615,"plugin":"mysql_native_password","authentication_string":"invalid","auth_or":[{},{"plugin":"unix_socket"}]}`,
			want: credential.Account{Superuser: true, Methods: methods(method(native, "invalid"), method("unix_socket", ""))}, opens: true},
		"access as a negative number": {priv: `{"access":-1,"plugin":"unix_socket"}`, want: credential.Account{Superuser: true, Methods: methods(method("unix_socket", ""))}, opens: true},
		"three methods, the stored one in the middle": {priv: `{"access":0,"plugin":"mysql_native_password","authentication_string":"` + hashOfX + `","auth_or":[{"plugin":"ed25519","authentication_string":"Gv2JI8Env2fd5YGonZ082tX3UAW+yJYldOlj4R1bfK4"},{},{"plugin":"unix_socket"}]}`,
			want: credential.Account{Methods: methods(method("ed25519", "Gv2JI8Env2fd5YGonZ082tX3UAW+yJYldOlj4R1bfK4"), method(native, hashOfX), method("unix_socket", ""))}},
		"the same plugin twice": {priv: `{"access":0,"plugin":"mysql_native_password","authentication_string":"*AA","auth_or":[{},{"plugin":"mysql_native_password","authentication_string":"*BB"}]}`,
			want: credential.Account{Methods: methods(method(native, "*AA"), method(native, "*BB"))}},
		"locked":            {priv: `{"access":0,"plugin":"ed25519","authentication_string":"k","account_locked":true}`, want: credential.Account{Locked: true, Methods: methods(method("ed25519", "k"))}},
		"expired by hand":   {priv: `{"access":0,"plugin":"ed25519","authentication_string":"k","password_last_changed":0,"password_lifetime":-1}`, want: credential.Account{PasswordExpired: true, Methods: methods(method("ed25519", "k"))}},
		"too old":           {priv: `{"access":0,"plugin":"ed25519","authentication_string":"k","password_last_changed":1795569169,"password_lifetime":30}`, aging: aging{now, 0}, want: credential.Account{PasswordExpired: true, Methods: methods(method("ed25519", "k"))}},
		"not yet too old":   {priv: `{"access":0,"plugin":"ed25519","authentication_string":"k","password_last_changed":1795569169,"password_lifetime":41}`, aging: aging{now, 1}, want: credential.Account{Methods: methods(method("ed25519", "k"))}},
		"never too old":     {priv: `{"access":0,"plugin":"ed25519","authentication_string":"k","password_last_changed":1795569169,"password_lifetime":0}`, aging: aging{now, 1}, want: credential.Account{Methods: methods(method("ed25519", "k"))}},
		"by the default":    {priv: `{"access":0,"plugin":"ed25519","authentication_string":"k","password_last_changed":1795569169,"password_lifetime":-1}`, aging: aging{now, 30}, want: credential.Account{PasswordExpired: true, Methods: methods(method("ed25519", "k"))}},
		"require ssl":       {priv: `{"access":0,"plugin":"x","ssl_type":1}`, want: credential.Account{RequireSSL: true, Methods: methods(method("x", ""))}},
		"require x509":      {priv: `{"access":0,"plugin":"x","ssl_type":2}`, want: credential.Account{RequireSSL: true, RequireX509: true, Methods: methods(method("x", ""))}},
		"require subject":   {priv: `{"access":0,"plugin":"x","ssl_type":3,"x509_subject":"/CN=a"}`, want: credential.Account{RequireSSL: true, RequireX509: true, Methods: methods(method("x", ""))}},
		"super":             {priv: `{"access":32768,"plugin":"x"}`, want: credential.Account{Superuser: true, Methods: methods(method("x", ""))}},
		"connection admin":  {priv: `{"access":4294967296,"plugin":"x"}`, want: credential.Account{Superuser: true, Methods: methods(method("x", ""))}},
		"process alone":     {priv: `{"access":256,"plugin":"x"}`, want: credential.Account{Methods: methods(method("x", ""))}},
		"grant option":      {priv: `{"access":1024,"plugin":"x"}`, want: credential.Account{Methods: methods(method("x", ""))}, opens: true},
		"a later privilege": {priv: `{"access":549755813888,"plugin":"x"}`, want: credential.Account{Methods: methods(method("x", ""))}, opens: true},
		"a role":            {priv: `{"access":0,"version_id":101119,"is_role":true}`, want: credential.Account{Role: true}},
	} {
		t.Run(name, func(t *testing.T) {
			var priv globalPriv
			if err := json.Unmarshal([]byte(c.priv), &priv); err != nil {
				t.Fatal(err)
			}
			c.want.User, c.want.Host = "u", "h"
			got := priv.account("u", "h", c.aging)
			if !reflect.DeepEqual(got, c.want) {
				gotText, _ := json.Marshal(got)
				wantText, _ := json.Marshal(c.want)
				t.Errorf("got  %s\nwant %s", gotText, wantText)
			}
			if priv.opensSchemas() != c.opens {
				t.Errorf("opens schemas: %v", priv.opensSchemas())
			}
		})
	}
}

func FuzzGlobalPriv(f *testing.F) {
	f.Add(`{"access":18446744073709551615,"plugin":"a","auth_or":[{},{"plugin":"unix_socket"}]}`)
	f.Add(`{"access":1e3,"ssl_type":9,"password_last_changed":-1,"password_lifetime":99999999999}`)
	f.Fuzz(func(t *testing.T, text string) {
		var priv globalPriv
		if json.Unmarshal([]byte(text), &priv) != nil {
			return
		}
		account := priv.account("u", "h", aging{time.Unix(1, 0), 3})
		if !priv.IsRole && len(account.Methods) == 0 {
			t.Error("an account without a method")
		}
	})
}

// One Book from the tables that MariaDB answers with.
func TestFillFromMariaDB(t *testing.T) {
	row := func(kv ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return m
	}
	account := func(user, host, priv string) map[string]string { return row("user", user, "host", host, "priv", priv) }
	grant := func(user, name, pattern string) map[string]string {
		return row("user", user, "name", name, "pattern", pattern)
	}
	settings := row("skip_name_resolve", "0", "lower_case", "0", "password_lifetime", "0", "now", "1795569169")
	const plain = `{"access":0,"plugin":"x"}`
	for name, c := range map[string]struct {
		accounts, grants table
		settings         map[string]string
		of               scope
		want             map[string][]string // schemas by account
		order            []string
	}{
		"patterns, names, and everybody's": {
			accounts: table{account("u", "%", plain)},
			grants:   table{grant("u", `a\_b%`, "1"), grant("u", "t_1", "0"), grant("", "open", "1"), grant("v", "his", "1")},
			settings: settings, of: scope{users: []string{"u"}},
			want: map[string][]string{"u@%": {`information\_schema`, `INFORMATION\_SCHEMA`, `a\_b%`, `t\_1`, "open"}},
		},
		"a global privilege": {accounts: table{account("u", "%", `{"access":1,"plugin":"x"}`)}, settings: settings, of: scope{users: []string{"u"}}, want: map[string][]string{"u@%": nil}},
		"a default role":     {accounts: table{account("u", "%", `{"access":0,"plugin":"x","default_role":"r"}`)}, settings: settings, of: scope{users: []string{"u"}}, want: map[string][]string{"u@%": nil}},
		"PUBLIC has a schema": {accounts: table{account("PUBLIC", "", `{"access":0,"is_role":true}`), account("u", "%", plain)}, grants: table{grant("PUBLIC", "x", "1")},
			settings: settings, of: scope{users: []string{"u"}}, want: map[string][]string{"u@%": nil, "PUBLIC@": nil}},
		"PUBLIC has everything": {accounts: table{account("PUBLIC", "", `{"access":1,"is_role":true}`), account("u", "%", plain)},
			settings: settings, of: scope{users: []string{"u"}}, want: map[string][]string{"u@%": nil, "PUBLIC@": nil}},
		"PUBLIC has nothing": {accounts: table{account("PUBLIC", "", `{"access":0,"is_role":true}`), account("u", "%", plain)},
			settings: settings, of: scope{users: []string{"u"}}, want: map[string][]string{"u@%": {`information\_schema`, `INFORMATION\_SCHEMA`}, "PUBLIC@": {`information\_schema`, `INFORMATION\_SCHEMA`}}},
		"names equal but for a space": {accounts: table{account("u ", "%", plain), account("", "%", plain)}, settings: settings, of: scope{users: []string{"u"}},
			want: map[string][]string{"@%": {`information\_schema`, `INFORMATION\_SCHEMA`}}},
		"in the engine's order": {accounts: table{account("u", "%", plain), account("", "10.0.0.1", plain), account("u", "10.%", plain), account("u", "10.0.0.1", plain)},
			settings: settings, of: scope{everything: true}, order: []string{"u@10.0.0.1", "@10.0.0.1", "u@10.%", "u@%"}},
	} {
		t.Run(name, func(t *testing.T) {
			book := &credential.Book{Greeting: &credential.Greeting{}}
			if err := fillFromMariaDB(book, []table{c.accounts, c.grants, nil, {c.settings}}, c.of); err != nil {
				t.Fatal(err)
			}
			got := map[string][]string{}
			var order []string
			for _, a := range book.Accounts {
				got[a.User+"@"+a.Host] = a.Schemas
				order = append(order, a.User+"@"+a.Host)
			}
			if c.want != nil && !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			if c.order != nil && !slices.Equal(order, c.order) {
				t.Errorf("order %q, want %q", order, c.order)
			}
		})
	}
	t.Run("not JSON", func(t *testing.T) {
		err := fillFromMariaDB(&credential.Book{Greeting: &credential.Greeting{}}, []table{{account("u", "%", "x")}, nil, nil, {settings}}, scope{everything: true})
		if err == nil || !strings.Contains(err.Error(), "u@%") {
			t.Error(err)
		}
	})
}

func TestAccountOfMySQL(t *testing.T) {
	base := func(more map[string]string) map[string]string {
		row := map[string]string{"user": "u", "host": "h", "plugin": "caching_sha2_password", "authentication_string": "$A$005$x", "ssl_type": "", "account_locked": "N", "password_expired": "N", "super_priv": "N", "select_priv": "N"}
		for k, v := range more {
			row[k] = v
		}
		return row
	}
	sha := method("caching_sha2_password", "$A$005$x")
	for name, c := range map[string]struct {
		row  map[string]string
		want credential.Account
		fail bool
	}{
		"a password":     {row: base(nil), want: credential.Account{Methods: methods(sha)}},
		"locked":         {row: base(map[string]string{"account_locked": "Y"}), want: credential.Account{Locked: true, Methods: methods(sha)}},
		"expired":        {row: base(map[string]string{"password_expired": "Y"}), want: credential.Account{PasswordExpired: true, Methods: methods(sha)}},
		"super":          {row: base(map[string]string{"super_priv": "Y"}), want: credential.Account{Superuser: true, Methods: methods(sha)}},
		"require ssl":    {row: base(map[string]string{"ssl_type": "ANY"}), want: credential.Account{RequireSSL: true, Methods: methods(sha)}},
		"require x509":   {row: base(map[string]string{"ssl_type": "X509"}), want: credential.Account{RequireSSL: true, RequireX509: true, Methods: methods(sha)}},
		"two passwords":  {row: base(map[string]string{"user_attributes": `{"additional_password":"$A$005$y"}`}), want: credential.Account{Methods: methods(sha, method("caching_sha2_password", "$A$005$y"))}},
		"more factors":   {row: base(map[string]string{"user_attributes": `{"multi_factor_authentication":[{"plugin":"x"}]}`}), want: credential.Account{Methods: methods(method(severalFactors, ""))}},
		"attributes":     {row: base(map[string]string{"user_attributes": `{"metadata":{"a":1}}`}), want: credential.Account{Methods: methods(sha)}},
		"attributes bad": {row: base(map[string]string{"user_attributes": `{`}), fail: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := accountOfMySQL(c.row)
			if c.fail {
				if err == nil {
					t.Error("accepted")
				}
				return
			}
			c.want.User, c.want.Host = "u", "h"
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, %v\nwant %+v", got, err, c.want)
			}
		})
	}
}

func TestOpensSchemas(t *testing.T) {
	for _, c := range []struct {
		row  map[string]string
		want bool
	}{
		{map[string]string{"select_priv": "N", "process_priv": "Y", "super_priv": "Y"}, false},
		{map[string]string{"select_priv": "Y"}, true},
		{map[string]string{"grant_priv": "Y"}, true},
		{map[string]string{"user": "Y", "select_priv": "N"}, false},
	} {
		if got := opensSchemas(c.row); got != c.want {
			t.Errorf("%v: %v", c.row, got)
		}
	}
}

func TestLiteralPattern(t *testing.T) {
	for name, want := range map[string]string{"app": "app", "my_app": `my\_app`, "100%": `100\%`, `a\b`: `a\\b`} {
		if got := literalPattern(name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// What a client sends as its name is never part of a statement's text.
func TestQuestionsHoldNoText(t *testing.T) {
	hostile := `x' OR '1'='1`
	for _, flavor := range flavors {
		for _, question := range flavor.catalogue.questions(Version{8, 0, 0}, scope{users: []string{hostile, "\xff"}, databases: []string{hostile, "\xff"}}) {
			if strings.Contains(question, "OR '1'") || strings.Contains(question, "\xff") {
				t.Errorf("%s", question)
			}
		}
	}
}
