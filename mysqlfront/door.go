package mysqlfront

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"serverlessproxy/credential"
	"serverlessproxy/mysqlfront/mysqlwire"
)

// door decides whether a client may enter a cluster, from what is known of
// its users: without the engine, which may be asleep.
type door struct {
	users     credential.Directory
	decoys    decoys
	address   net.Addr
	encrypted bool // by TLS
	certified bool // the client's certificate was checked
}

// wish is who a client wants to be, and where.
type wish struct{ user, database string }

// admit has a client prove that it is who it wants to be, and checks in the
// engine's order what else keeps it out.
func (d door) admit(ctx context.Context, e *exam, w wish) (identity, error) {
	book, err := d.users.Book(ctx, w.user, w.database)
	if err != nil {
		return identity{}, fmt.Errorf("%w: %w", errNoUsers, err)
	}
	greeting := unknownGreeting
	if book.Greeting != nil {
		greeting = *book.Greeting
	}
	names, shown := d.names(ctx, book.Accounts, greeting.SkipNameResolve)
	account, known := credential.MatchAccount(book.Accounts, w.user, names...)
	if !known {
		account = d.decoys.account(w.user, greeting.DefaultPlugin)
	}
	proved := !e.empty()
	key, err := e.pass(account.Name(), account.Methods)
	denied := &accessDenied{w.user, shown, proved || !e.empty()}
	switch {
	case errors.Is(err, errFailed), err == nil && !known:
		return identity{}, denied
	case errors.Is(err, errNoScheme):
		return identity{}, &noWayIn{w.user, shown}
	case err != nil:
		return identity{}, gone(err)
	}
	e.keys.Put(account.Name(), key)
	if account.Locked {
		return identity{}, &accountLocked{w.user, shown, capabilitiesOf(greeting).IsMariaDB()}
	}
	if account.RequireSSL && !d.encrypted || account.RequireX509 && !d.certified {
		return identity{}, denied
	}
	if err := mayUse(book, account, w.database); err != nil {
		return identity{}, err
	}
	return identity{
		user:     w.user,
		host:     shown,
		database: w.database,
		account:  account,
		rivals:   rivals(book.Accounts, w.user),
		key:      key,
	}, nil
}

// mayUse says why an account cannot begin in a database, as far as the Book
// knows: in the engine's order, privileges first.
func mayUse(book *credential.Book, account credential.Account, database string) error {
	if database == "" || strings.EqualFold(database, "information_schema") {
		return nil
	}
	// Where names differ in case alone, the engine knows what that means.
	lower := strings.ToLower(database)
	allowed := func(pattern string) bool { return like(strings.ToLower(pattern), lower) }
	if account.Schemas != nil && !slices.ContainsFunc(account.Schemas, allowed) {
		return &noAccess{account.User, account.Host, database}
	}
	if book.Databases == nil {
		return nil
	}
	for name := range book.Databases {
		if strings.EqualFold(name, database) {
			return nil
		}
	}
	return &noDatabase{database}
}

// rivals tells whether more than one account may be chosen for a user.
func rivals(accounts []credential.Account, user string) bool {
	n := 0
	for _, a := range accounts {
		if !a.Role && (a.User == user || a.User == "") {
			n++
		}
	}
	return n > 1
}

// names are what the engine would know the client's host by, and the one that
// it would show.
func (d door) names(ctx context.Context, accounts []credential.Account, numeric bool) (names []string, shown string) {
	tcp, ok := d.address.(*net.TCPAddr)
	if !ok {
		return []string{"localhost"}, "localhost"
	}
	ip := tcp.IP.String()
	if numeric {
		return []string{ip}, ip
	}
	if tcp.IP.IsLoopback() {
		return []string{"localhost", ip}, "localhost"
	}
	if slices.ContainsFunc(accounts, byHostName) {
		if name := hostName(ctx, ip); name != "" {
			return []string{name, ip}, name
		}
	}
	return []string{ip}, ip
}

// byHostName tells whether an account is for hosts by their name.
func byHostName(a credential.Account) bool {
	return a.Host != "localhost" && !strings.Contains(a.Host, ":") &&
		strings.ContainsFunc(a.Host, func(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' })
}

const resolveLasts = 2 * time.Second

// hostName is the name of an address, if that name leads back to it.
func hostName(ctx context.Context, ip string) string {
	ctx, cancel := context.WithTimeout(ctx, resolveLasts)
	defer cancel()
	found, err := net.DefaultResolver.LookupAddr(ctx, ip)
	if err != nil || len(found) == 0 {
		return ""
	}
	name := strings.TrimSuffix(found[0], ".")
	back, err := net.DefaultResolver.LookupHost(ctx, name)
	if err != nil || !slices.Contains(back, ip) {
		return ""
	}
	return name
}

// like matches a schema against a pattern of a GRANT: % is any run, _ is any
// character, and \ takes the next one as it is.
func like(pattern, name string) bool {
	rest, from := "", -1 // after the last %, and where in name its run ends
	for i := 0; i < len(name); {
		switch {
		case pattern != "" && pattern[0] == '%':
			pattern = pattern[1:]
			rest, from = pattern, i
		case len(pattern) > 1 && pattern[0] == '\\' && pattern[1] == name[i]:
			pattern, i = pattern[2:], i+1
		case pattern != "" && (pattern[0] == '_' || pattern[0] == name[i]):
			pattern, i = pattern[1:], i+1
		case from >= 0:
			from++
			pattern, i = rest, from
		default:
			return false
		}
	}
	return strings.Trim(pattern, "%") == ""
}

// decoys are accounts for users that do not exist: they are asked to prove
// themselves as others are, each time in the same way, and always fail.
type decoys struct{ verifiers map[string]credential.Secret }

func newDecoys() decoys {
	salt, digest := newSalt(), strings.Repeat(".", sha2DigestLength)
	return decoys{map[string]credential.Secret{
		mysqlwire.NativePassword: "invalid",
		mysqlwire.CachingSHA2:    credential.Secret("$A$005$" + string(salt[:]) + digest),
	}}
}

// account is the decoy for a user, which has the engine's default method.
func (d decoys) account(user, plugin string) credential.Account {
	verifier, there := d.verifiers[plugin]
	if !there {
		plugin, verifier = mysqlwire.NativePassword, d.verifiers[mysqlwire.NativePassword]
	}
	return credential.Account{User: user, Methods: []credential.Method{{Plugin: plugin, Verifier: verifier}}}
}
