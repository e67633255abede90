package credential

import (
	"errors"
	"slices"
	"time"
)

// Why PostgreSQL does not let an authenticated role in.
var (
	ErrNoRole        = errors.New("role does not exist")
	ErrNoLogin       = errors.New("role is not permitted to log in")
	ErrNoDatabase    = errors.New("database does not exist")
	ErrNotAccepting  = errors.New("database is not currently accepting connections")
	ErrNoConnect     = errors.New("user does not have CONNECT privilege")
	ErrUnavailable   = errors.New("engine does not answer") // a Source wraps it for a lost connection
	ErrAsleep        = errors.New("engine is not running")
	ErrNothingSaved  = errors.New("no saved credentials")
	ErrUnreadable    = errors.New("saved credentials cannot be read")
	ErrUnknownFormat = errors.New("saved credentials are of a newer version")
)

// Role is what the Book knows of a PostgreSQL role.
func (b *Book) Role(name string) (Role, bool) {
	role, found := b.Roles[name]
	return role, found
}

// Expired tells whether the role's password is past its VALID UNTIL; the
// engine then says that the password is wrong.
func (r Role) Expired(now time.Time) bool {
	return r.ValidUntil != nil && r.ValidUntil.Before(now)
}

// Is tells whether the role is one of names or a member of one.
func (r Role) Is(names []string) bool {
	return slices.Contains(names, r.Name) ||
		slices.ContainsFunc(r.MemberOf, func(group string) bool { return slices.Contains(names, group) })
}

// Admit says whether an authenticated role may enter a database, in the order
// in which PostgreSQL asks. No database (physical replication): the role alone.
func (b *Book) Admit(user, database string) error {
	role, found := b.Roles[user]
	if !found {
		return ErrNoRole
	}
	if !role.CanLogin {
		return ErrNoLogin
	}
	if database == "" {
		return nil
	}
	db, found := b.Databases[database]
	if !found {
		return ErrNoDatabase
	}
	if !db.AllowConnections {
		return ErrNotAccepting
	}
	if db.Connect != nil && !role.Superuser && !role.Is(db.Connect) {
		return ErrNoConnect
	}
	return nil
}
