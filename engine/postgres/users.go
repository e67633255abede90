package postgres

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"serverlessproxy/credential"
)

// usersQuery reads, in one round trip, the role $1 and the database $2, or all
// of both when both are empty, as JSON in credential's own form.
//
// A role's memberships are those whose privileges it inherits, since they
// decide what it may do. PostgreSQL 16 made that a property of the grant; up to
// 15 it is one of the member.
//
// A database's list is nil when everybody may connect. Otherwise it names the
// bootstrap superuser too, who always may, so that it is never empty.
const usersQuery = `
WITH RECURSIVE asked AS (
	SELECT u.oid, u.rolname, u.rolpassword, u.rolcanlogin, u.rolsuper, u.rolreplication, u.rolvaliduntil
	FROM pg_catalog.{users} u WHERE u.rolname = $1::text OR $1::text = '' AND $2::text = ''
), granted(member, roleid) AS (
	SELECT m.member, m.roleid FROM pg_catalog.pg_auth_members m JOIN asked a ON a.oid = m.member WHERE {inherits}
	UNION
	SELECT g.member, m.roleid FROM granted g JOIN pg_catalog.pg_auth_members m ON m.member = g.roleid WHERE {inherits}
)
SELECT
	(SELECT coalesce(json_agg(json_build_object(
		'name', a.rolname,
		'verifier', CASE WHEN {verifiers} THEN coalesce(a.rolpassword, '') ELSE '' END,
		'can_login', a.rolcanlogin,
		'superuser', a.rolsuper,
		'replication', a.rolreplication,
		'valid_until', CASE
			WHEN a.rolvaliduntil >= '9999-01-01 00:00:00+00' THEN NULL
			WHEN a.rolvaliduntil < '1970-01-01 00:00:00+00' THEN '1970-01-01T00:00:00Z'
			ELSE to_char(a.rolvaliduntil AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') END,
		'member_of', (SELECT json_agg(r.rolname ORDER BY r.rolname)
			FROM granted g JOIN pg_catalog.pg_roles r ON r.oid = g.roleid WHERE g.member = a.oid)
	)), '[]') FROM asked a)::text,
	(SELECT coalesce(json_agg(json_build_object(
		'name', d.datname,
		'allow_connections', d.datallowconn AND d.datconnlimit <> -2,
		'connect', (SELECT CASE WHEN bool_or(x.grantee = 0) THEN NULL ELSE json_agg(DISTINCT r.rolname) FILTER (WHERE r.rolname IS NOT NULL) END
			FROM (SELECT 10::oid AS grantee UNION ALL
				SELECT e.grantee FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) e
				WHERE e.privilege_type = 'CONNECT') x
			LEFT JOIN pg_catalog.pg_roles r ON r.oid = x.grantee)
	)), '[]') FROM pg_catalog.pg_database d WHERE d.datname = $2::text OR $1::text = '' AND $2::text = '')::text`

// inheritByGrant is the version from which a grant says whether it is inherited.
const inheritByGrant = 16

// queryFor is usersQuery for a version, from pg_authid, which has the
// verifiers, or pg_roles, which hides them.
func queryFor(major int, shown bool) string {
	users, verifiers := "pg_authid", "true"
	if !shown {
		users, verifiers = "pg_roles", "false"
	}
	inherits := "m.inherit_option"
	if major < inheritByGrant {
		inherits = "(SELECT i.rolinherit FROM pg_catalog.pg_roles i WHERE i.oid = m.member)"
	}
	return strings.NewReplacer("{users}", users, "{verifiers}", verifiers, "{inherits}", inherits).Replace(usersQuery)
}

// parseUsers reads the two answers of usersQuery.
func parseUsers(roles, databases string) (*credential.Book, error) {
	var readRoles []credential.Role
	if err := json.Unmarshal([]byte(roles), &readRoles); err != nil {
		return nil, fmt.Errorf("read roles: %w", err)
	}
	var readDatabases []credential.Database
	if err := json.Unmarshal([]byte(databases), &readDatabases); err != nil {
		return nil, fmt.Errorf("read databases: %w", err)
	}
	book := &credential.Book{
		Taken:     time.Now().UTC(),
		Roles:     make(map[string]credential.Role, len(readRoles)),
		Databases: make(map[string]credential.Database, len(readDatabases)),
	}
	for _, role := range readRoles {
		book.Roles[role.Name] = role
	}
	for _, database := range readDatabases {
		book.Databases[database.Name] = database
	}
	return book, nil
}
