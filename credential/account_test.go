package credential

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func accounts(names ...string) (list []Account) {
	for _, name := range names {
		user, host, _ := strings.Cut(name, "@")
		list = append(list, Account{User: user, Host: host})
	}
	return list
}

func names(list []Account) (names []string) {
	for _, a := range list {
		names = append(names, a.User+"@"+a.Host)
	}
	return names
}

// TestSortAccounts holds lists in MariaDB 10.11's order. Where two patterns
// are equally wide the one that is greater as a string comes first.
func TestSortAccounts(t *testing.T) {
	tests := [][]string{
		{"a@localhost", "@localhost", "a@%", "@%"},             // literal before %, named before anonymous
		{"a@localhost", "a@::1", "a@127.0.0.1"},                // localhost before the loopback addresses
		{"a@10.0.0.1", "a@10.0.0._", "a@10.0.0.%", "a@10.%"},   // _ is narrower than %
		{"a@10.0.0._", "a@10.0.0.__", "a@10.0.0.%"},            // one _ before two
		{"a@db-1.example.com", "a@%.example.com", "a@%.com"},   // the longer the literal part, the narrower
		{"@10.0.0.%", "a@10.0.%"},                              // the host decides before the user
		{"a@10.0.0.1/255.255.255.255", "a@10.0.0.%"},           // a mask is a literal to this order
		{"a@10.%.0.1", "a@10.%.%.1"},                           // one % before two
		{"a@%%", "a@%"},                                        // a row of % is one
		{`a@a\_b`, "a@a_b"},                                    // an escaped _ is a literal
		{"a@____________________________________%", "a@%____"}, // very many _: the run that % may stand for is shorter
		{"a@", "@%"}, // no host is %
	}
	for _, want := range tests {
		list := accounts(want...)
		for range 20 {
			rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			SortAccounts(list)
			if got := names(list); !slices.Equal(got, want) {
				t.Errorf("sorted %v, want %v", got, want)
				break
			}
		}
	}
}

func TestMatchAccount(t *testing.T) {
	tests := []struct {
		name     string
		accounts []string
		user     string
		from     []string
		want     string // "" for none
	}{
		{"exact", []string{"a@localhost", "a@%"}, "a", []string{"localhost"}, "a@localhost"},
		{"only the pattern fits", []string{"a@localhost", "a@%"}, "a", []string{"10.0.0.7"}, "a@%"},
		{"any of the client's names", []string{"a@db.example", "a@10.%"}, "a", []string{"10.0.0.7", "db.example"}, "a@db.example"},
		{"host names in any case", []string{"a@DB.Example"}, "a", []string{"db.eXAMPLE"}, "a@DB.Example"},
		{"users in their own case", []string{"a@%"}, "A", []string{"10.0.0.7"}, ""},
		{"the anonymous one of a narrower host", []string{"@localhost", "a@%"}, "a", []string{"localhost"}, "@localhost"},
		{"the anonymous one of the same host comes last", []string{"@%", "a@%"}, "a", []string{"1.2.3.4"}, "a@%"},
		{"nobody's name", []string{"@%", "a@%"}, "", []string{"1.2.3.4"}, "@%"},
		{"unknown user", []string{"a@%"}, "b", []string{"1.2.3.4"}, ""},
		{"unknown host", []string{"a@10.%"}, "a", []string{"1.2.3.4"}, ""},
		{"no host means any", []string{"a@"}, "a", []string{"1.2.3.4"}, "a@"},
		{"no name at all", []string{"a@%"}, "a", nil, ""},
		{"_ is one", []string{"a@10.0.0._"}, "a", []string{"10.0.0.7"}, "a@10.0.0._"},
		{"_ is not two", []string{"a@10.0.0._"}, "a", []string{"10.0.0.77"}, ""},
		{"% may be none", []string{"a@%.example"}, "a", []string{".example"}, "a@%.example"},
		{"% in the midst", []string{"a@db%.example"}, "a", []string{"db-12.x.example"}, "a@db%.example"},
		{"escaped", []string{`a@db\_1`}, "a", []string{"db_1"}, `a@db\_1`},
		{"escaped is itself alone", []string{`a@db\_1`}, "a", []string{"dbx1"}, ""},
		{"mask", []string{"a@192.168.1.0/255.255.255.0"}, "a", []string{"192.168.1.99"}, "a@192.168.1.0/255.255.255.0"},
		{"outside the mask", []string{"a@192.168.1.0/255.255.255.0"}, "a", []string{"192.168.2.99"}, ""},
		{"a mask and a name", []string{"a@192.168.1.0/255.255.255.0"}, "a", []string{"localhost"}, ""},
		{"a mask whose base lies outside it", []string{"a@192.168.1.5/255.255.255.0"}, "a", []string{"192.168.1.5"}, ""},
		{"an odd mask", []string{"a@10.0.0.1/255.0.0.255"}, "a", []string{"10.9.9.1"}, "a@10.0.0.1/255.0.0.255"},
		{"prefix", []string{"a@10.0.0.0/12"}, "a", []string{"10.15.255.255"}, "a@10.0.0.0/12"},
		{"outside the prefix", []string{"a@10.0.0.0/12"}, "a", []string{"10.16.0.0"}, ""},
		{"the engines know no networks of IPv6", []string{"a@fd00::/8"}, "a", []string{"fd00::1"}, ""},
		{"a prefix too long", []string{"a@10.0.0.0/33"}, "a", []string{"10.0.0.0"}, ""},
		{"IPv6", []string{"a@::1"}, "a", []string{"::1"}, "a@::1"},
		{"IPv6 written otherwise: the engines compare text", []string{"a@0:0:0:0:0:0:0:1"}, "a", []string{"::1"}, ""},
		{"IPv4 in IPv6", []string{"a@10.0.0.0/255.0.0.0"}, "a", []string{"::ffff:10.1.1.1"}, "a@10.0.0.0/255.0.0.0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			list := accounts(tt.accounts...)
			SortAccounts(list)
			for i := range list {
				list[i].CIDR = true
			}
			account, found := MatchAccount(list, tt.user, tt.from...)
			if got := account.User + "@" + account.Host; found != (tt.want != "") || found && got != tt.want {
				t.Errorf("matched %s, %v; want %q", got, found, tt.want)
			}
		})
	}
}

// TestMariaDBKnowsNoPrefixes: to it, the pattern is the name of a host.
func TestMariaDBKnowsNoPrefixes(t *testing.T) {
	list := accounts("a@10.0.0.0/8", "a@10.0.0.0/255.0.0.0")
	if account, found := MatchAccount(list, "a", "10.0.0.7"); !found || account.Host != "10.0.0.0/255.0.0.0" {
		t.Errorf("matched %+v", account)
	}
}

func TestRolesDoNotLogIn(t *testing.T) {
	list := []Account{{User: "a", Role: true}, {User: "a", Host: "%", Locked: true}, {User: "a", Host: "%"}}
	if account, found := MatchAccount(list, "a", "1.2.3.4"); !found || account.Role || !account.Locked {
		t.Errorf("matched %+v: the first account that fits is the one, locked or not", account)
	}
}

// FuzzLikeHost compares with a regular expression of the same meaning.
func FuzzLikeHost(f *testing.F) {
	for _, seed := range [][2]string{{"%.a", "b.a"}, {`\%a_`, "%ab"}, {"a%b%c", "abbc"}, {"%%", ""}, {`a\`, `a\`}, {`\\_`, `\x`}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern)+len(name) > 200 || !ascii(pattern) || !ascii(name) {
			return
		}
		var expression strings.Builder
		expression.WriteString(`(?s)^`)
		for i := 0; i < len(pattern); i++ {
			switch {
			case pattern[i] == '%':
				expression.WriteString(`.*`)
			case pattern[i] == '_':
				expression.WriteString(`.`)
			case pattern[i] == '\\' && i+1 < len(pattern):
				i++
				fallthrough
			default:
				expression.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
			}
		}
		expression.WriteString(`$`)
		want := regexp.MustCompile(expression.String()).MatchString(name)
		if got := likeHost(pattern, name); got != want {
			t.Errorf("likeHost(%q, %q) = %v, want %v", pattern, name, got, want)
		}
		Account{Host: pattern, CIDR: true}.fits([]string{name})
		breadth(pattern)
	})
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > 127 })
}
