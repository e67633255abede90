package mysqlfront

import (
	"context"
	"sync"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"serverlessproxy/credential"
	"serverlessproxy/mysqlfront/mysqlwire"
	"serverlessproxy/router"
)

// What is never offered: these change the bytes in ways that are not spoken
// here, or concern the login alone. (A client that keeps a prepared statement's
// columns would read rows by them when the statement is prepared again on
// another backend, where they may have changed.)
const notServed = mysqlwire.Capabilities(mysql.CLIENT_SSL|clientMultiFactor) | mysqlwire.MariaDBComMulti | mysqlwire.MariaDBCacheMetadata

// clientMultiFactor is MULTI_FACTOR_AUTHENTICATION.
const clientMultiFactor = 1 << 28

// Single flags, as Capabilities.
const (
	flagSSL       = mysqlwire.Capabilities(mysql.CLIENT_SSL)
	flagWithDB    = mysqlwire.Capabilities(mysql.CLIENT_CONNECT_WITH_DB)
	flagLongProof = mysqlwire.Capabilities(mysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA)
	flagCompress  = mysqlwire.Capabilities(mysql.CLIENT_COMPRESS)
	flagZstd      = mysqlwire.Capabilities(mysql.CLIENT_ZSTD_COMPRESSION_ALGORITHM)
	flagMySQL     = mysqlwire.Capabilities(mysql.CLIENT_LONG_PASSWORD)
)

// needed is what every server has had since 5.5; logins rest on it.
const needed = mysqlwire.Capabilities(mysql.CLIENT_PROTOCOL_41 | mysql.CLIENT_SECURE_CONNECTION | mysql.CLIENT_PLUGIN_AUTH)

// unknownGreeting is for a listener without a default cluster, and for a
// cluster of which nothing is known yet: what every engine can do.
var unknownGreeting = credential.Greeting{
	ServerVersion: "5.7.0-serverlessproxy",
	Capabilities: uint32(needed) | mysql.CLIENT_LONG_PASSWORD | mysql.CLIENT_FOUND_ROWS | mysql.CLIENT_LONG_FLAG |
		mysql.CLIENT_CONNECT_WITH_DB | mysql.CLIENT_COMPRESS | mysql.CLIENT_IGNORE_SPACE | mysql.CLIENT_INTERACTIVE |
		mysql.CLIENT_TRANSACTIONS | mysql.CLIENT_MULTI_STATEMENTS | mysql.CLIENT_MULTI_RESULTS | mysql.CLIENT_PS_MULTI_RESULTS |
		mysql.CLIENT_CONNECT_ATTRS | mysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA,
	Charset:       45, // utf8mb4_general_ci
	Status:        mysql.SERVER_STATUS_AUTOCOMMIT,
	DefaultPlugin: mysqlwire.NativePassword,
}

// capabilitiesOf puts both halves of a greeting's capabilities together.
func capabilitiesOf(g credential.Greeting) mysqlwire.Capabilities {
	return mysqlwire.Capabilities(g.Capabilities) | mysqlwire.Capabilities(g.Extended)<<32
}

// offer is what a client may agree on: what the engine can do, as far as it
// is served, and TLS where there is a certificate.
func offer(g credential.Greeting, withTLS bool) mysqlwire.Capabilities {
	caps := capabilitiesOf(g)&^notServed | needed
	if withTLS {
		caps |= flagSSL
	}
	return caps
}

// greetings keeps what the engines say first, for a moment: port scans and
// short connections must not each ask the engine.
type greetings struct {
	mu    sync.Mutex // protects known
	known map[string]knownGreeting
}

type knownGreeting struct {
	greeting credential.Greeting
	read     time.Time
}

const greetingLasts = time.Second

// of returns the greeting of a target.
func (g *greetings) of(ctx context.Context, target *router.Target, now time.Time) (credential.Greeting, bool) {
	g.mu.Lock()
	known, there := g.known[target.Name]
	g.mu.Unlock()
	if there && now.Sub(known.read) < greetingLasts {
		return known.greeting, true
	}
	// Nobody's accounts and a schema that every server has: no book is smaller.
	book, err := target.Users.Book(ctx, "", "information_schema")
	if err != nil || book.Greeting == nil {
		return known.greeting, there
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.known == nil {
		g.known = map[string]knownGreeting{}
	}
	g.known[target.Name] = knownGreeting{*book.Greeting, now}
	return *book.Greeting, true
}
