// Package credential holds what must be known of a cluster's users to let
// them in while its engine sleeps, and the keys to log in to the engine again
// on their behalf.
//
// It owns the Book (verifiers, databases, the server's greeting), its saved
// copy (0600) and the in-memory keys. It never knows a connection, a wire
// protocol or the state of a cluster. Keys print as "[redacted]", are never
// written to disk and never mixed between users.
package credential

import (
	"context"
	"time"
)

// Book is what one cluster's engine knows of its users. A Book is immutable
// once it is shared.
//
// A Book asked for with one user and one database holds at least what
// concerns these two; the Book saved at a pause holds everything.
type Book struct {
	ServerVersion string    `json:"server_version"` // as a client sees it: "15.18 (Debian 15.18-0+deb12u1)", "5.5.5-10.11.19-MariaDB…"
	Taken         time.Time `json:"taken"`

	// PostgreSQL
	Roles      map[string]Role     `json:"roles,omitempty"`      // by name
	Databases  map[string]Database `json:"databases,omitempty"`  // by name; MySQL's schemas too
	Parameters map[string]string   `json:"parameters,omitempty"` // ParameterStatus of a fresh session

	// MySQL and MariaDB
	Accounts []Account `json:"accounts,omitempty"` // in the order in which the engine would try them
	Greeting *Greeting `json:"greeting,omitempty"`
}

// Role is a PostgreSQL role, from pg_authid.
type Role struct {
	Name        string     `json:"name"`
	Verifier    Secret     `json:"verifier,omitempty"` // rolpassword: "SCRAM-SHA-256$…", "md5…" or ""
	CanLogin    bool       `json:"can_login"`
	Superuser   bool       `json:"superuser,omitempty"`
	Replication bool       `json:"replication,omitempty"`
	ValidUntil  *time.Time `json:"valid_until,omitempty"`
	MemberOf    []string   `json:"member_of,omitempty"` // every role it is a member of, transitively
}

// Database is a PostgreSQL database or a MySQL schema.
type Database struct {
	Name             string   `json:"name"`
	AllowConnections bool     `json:"allow_connections"` // always true for MySQL
	Connect          []string `json:"connect,omitzero"`  // PostgreSQL: the roles that may connect; nil means everyone
}

// Account is a MySQL or MariaDB account, from mysql.global_priv or mysql.user.
type Account struct {
	User            string   `json:"user"`
	Host            string   `json:"host"`
	Methods         []Method `json:"methods"` // any of them lets the user in (MariaDB: IDENTIFIED VIA a OR b)
	RequireSSL      bool     `json:"require_ssl,omitempty"`
	RequireX509     bool     `json:"require_x509,omitempty"`
	Locked          bool     `json:"locked,omitempty"`
	PasswordExpired bool     `json:"password_expired,omitempty"`
	Superuser       bool     `json:"superuser,omitempty"` // SUPER or CONNECTION ADMIN: may use the reserved slots
	Role            bool     `json:"role,omitempty"`      // MariaDB role: cannot log in
	CIDR            bool     `json:"cidr,omitempty"`      // the engine takes 10.0.0.0/8 in Host for a network (MySQL since 8.0.23; MariaDB does not)
	// Schemas are the schema patterns it may use; nil means that only the engine can tell.
	Schemas []string `json:"schemas,omitzero"`
}

// Method is one way for an account to prove itself.
type Method struct {
	Plugin   string `json:"plugin"` // mysql_native_password, caching_sha2_password, ed25519, unix_socket…
	Verifier Secret `json:"verifier,omitempty"`
}

// Greeting is what a MySQL server says first.
type Greeting struct {
	ServerVersion string `json:"server_version"`
	Capabilities  uint32 `json:"capabilities"`
	Extended      uint32 `json:"extended"` // MariaDB's extended capabilities; 0 for MySQL
	Charset       uint8  `json:"charset"`
	Status        uint16 `json:"status"`
	DefaultPlugin string `json:"default_plugin"`
	// SkipNameResolve: the server looks up no names, so that a client's address alone counts ("localhost" still stands for the socket).
	SkipNameResolve bool `json:"skip_name_resolve,omitempty"`
}

// Secret is text that is saved but never printed.
type Secret string

// Directory answers for one cluster's users, whatever state it is in: from
// the engine while it runs, from the saved Book while it does not. It never
// wakes the cluster.
type Directory interface {
	// Book returns what concerns user and database. The error says that
	// neither the engine nor a saved copy could answer.
	Book(ctx context.Context, user, database string) (*Book, error)
}

// Source asks a running engine.
type Source interface {
	// Book returns what concerns user and database, or everything when both
	// are empty.
	Book(ctx context.Context, user, database string) (*Book, error)
}
