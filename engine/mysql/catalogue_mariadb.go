package mysql

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"serverlessproxy/credential"
)

var catalogueOfMariaDB = catalogue{
	questions: func(_ Version, of scope) []string {
		return []string{
			"SELECT User AS user, Host AS host, Priv AS priv FROM mysql.global_priv" + of.where("User", public),
			of.privileges(public),
			of.schemata(),
			"SELECT @@global.skip_name_resolve AS skip_name_resolve, @@global.lower_case_table_names AS lower_case," +
				" @@global.default_password_lifetime AS password_lifetime, UNIX_TIMESTAMP() AS now",
		}
	},
	fill: fillFromMariaDB,
}

// public is the role that everybody has.
const public = "PUBLIC"

func fillFromMariaDB(book *credential.Book, tables []table, of scope) error {
	settings, err := only(tables, 3)
	if err != nil {
		return err
	}
	rules := rulesOf(settings)
	book.Greeting.SkipNameResolve = rules.skipNameResolve
	book.Databases = databases(tables[2], rules, of)

	now, _ := strconv.ParseInt(settings["now"], 10, 64)
	lifetime, _ := strconv.ParseInt(settings["password_lifetime"], 10, 64)
	aging := aging{time.Unix(now, 0), lifetime}
	patterns := schemaPatterns(tables[1])
	everybodyMay := len(patterns[public]) > 0
	for _, row := range tables[0] {
		if !of.named(row["user"]) && row["user"] != public {
			continue
		}
		var priv globalPriv
		if err := json.Unmarshal([]byte(row["priv"]), &priv); err != nil {
			return fmt.Errorf("read account %s@%s: %w", row["user"], row["host"], err)
		}
		if row["user"] == public && priv.IsRole {
			everybodyMay = everybodyMay || priv.opensSchemas()
		}
		account := priv.account(row["user"], row["host"], aging)
		if !priv.opensSchemas() && priv.DefaultRole == "" {
			account.Schemas = schemasOf(account.User, patterns)
		}
		book.Accounts = append(book.Accounts, account)
	}
	if everybodyMay {
		for i := range book.Accounts {
			book.Accounts[i].Schemas = nil
		}
	}
	credential.SortAccounts(book.Accounts)
	return nil
}

func rulesOf(settings map[string]string) namingRules {
	return namingRules{
		skipNameResolve: settings["skip_name_resolve"] == "1",
		lowerCase:       settings["lower_case"] != "0",
	}
}

// globalPriv is the JSON of mysql.global_priv.
type globalPriv struct {
	Access     json.Number  `json:"access"`
	globalAuth              // the method that SET PASSWORD changes
	Or         []globalAuth `json:"auth_or"` // all methods; {} stands for the one above

	Locked      bool   `json:"account_locked"`
	LastChanged *int64 `json:"password_last_changed"` // 0: expired by hand
	Lifetime    *int64 `json:"password_lifetime"`     // days; -1: the server's default
	SSL         int    `json:"ssl_type"`
	IsRole      bool   `json:"is_role"`
	DefaultRole string `json:"default_role"`
}

type globalAuth struct {
	Plugin   string `json:"plugin"`
	Verifier string `json:"authentication_string"`
}

// Bits of access, as privilege.h counts them.
const (
	accessSuper           = 1 << 15
	accessConnectionAdmin = 1 << 32

	// accessElsewhere are the privileges that open no schema: RELOAD,
	// SHUTDOWN, PROCESS, FILE, SHOW DATABASES, SUPER, REPLICATION SLAVE,
	// BINLOG MONITOR, CREATE USER, CREATE TABLESPACE, and from SET USER to
	// SLAVE MONITOR.
	accessElsewhere = 1<<6 | 1<<7 | 1<<8 | 1<<9 | 1<<14 | 1<<15 | 1<<19 | 1<<20 | 1<<25 | 1<<28 | 0x1FF<<30
)

// Values of ssl_type.
const (
	sslAny = iota + 1
	sslX509
	sslSpecified // a certificate with a given subject, issuer or cipher
)

func (g globalPriv) access() uint64 {
	if bits, err := strconv.ParseUint(g.Access.String(), 10, 64); err == nil {
		return bits
	}
	bits, _ := strconv.ParseInt(g.Access.String(), 10, 64)
	return uint64(bits)
}

func (g globalPriv) opensSchemas() bool { return g.access()&^accessElsewhere != 0 }

// aging is what decides whether a password is too old.
type aging struct {
	now      time.Time
	lifetime int64 // days; 0: passwords do not expire
}

func (a aging) expired(g globalPriv) bool {
	if g.LastChanged == nil {
		return false
	}
	lifetime := a.lifetime
	if g.Lifetime != nil && *g.Lifetime >= 0 {
		lifetime = *g.Lifetime
	}
	changed := time.Unix(*g.LastChanged, 0)
	return *g.LastChanged == 0 || lifetime > 0 && !a.now.Before(changed.AddDate(0, 0, int(lifetime)))
}

func (g globalPriv) account(user, host string, aging aging) credential.Account {
	return credential.Account{
		User:            user,
		Host:            host,
		Methods:         g.methods(),
		RequireSSL:      g.SSL >= sslAny,
		RequireX509:     g.SSL >= sslX509,
		Locked:          g.Locked,
		PasswordExpired: aging.expired(g),
		Superuser:       g.access()&(accessSuper|accessConnectionAdmin) != 0,
		Role:            g.IsRole,
	}
}

func (g globalPriv) methods() []credential.Method {
	if g.IsRole {
		return nil
	}
	if len(g.Or) == 0 {
		return []credential.Method{g.globalAuth.method()}
	}
	methods := make([]credential.Method, len(g.Or))
	for i, way := range g.Or {
		if way == (globalAuth{}) {
			way = g.globalAuth
		}
		methods[i] = way.method()
	}
	return methods
}

// lengthOfOldHash is that of a password from before 4.1, in hexadecimal digits.
const lengthOfOldHash = 16

// method names the plugin where an old row leaves it to the verifier's length.
func (a globalAuth) method() credential.Method {
	plugin := a.Plugin
	switch {
	case plugin == "" && len(a.Verifier) == lengthOfOldHash:
		plugin = "mysql_old_password"
	case plugin == "":
		plugin = "mysql_native_password"
	}
	return credential.Method{Plugin: plugin, Verifier: credential.Secret(a.Verifier)}
}
