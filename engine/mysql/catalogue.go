package mysql

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"serverlessproxy/credential"
)

// catalogue is how a flavor keeps its accounts: the questions that are sent in
// one round trip, and what their answers mean.
type catalogue struct {
	questions func(Version, scope) []string
	fill      func(*credential.Book, []table, scope) error
}

// anonymous is the user of accounts that stand for anybody, and of privileges
// that everybody has.
const anonymous = ""

// informationSchema is open to everybody, however it is written.
var informationSchema = []string{"information_schema", "INFORMATION_SCHEMA"}

func appendNew(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// where limits a question to the scope's users and some more; the answer may
// hold others that compare equal in the server's eyes.
func (s scope) where(column string, more ...string) string {
	if s.everything {
		return ""
	}
	literals := []string{literal(anonymous)}
	for _, name := range append(more, s.users...) {
		if name != anonymous && canBeName(name) {
			literals = append(literals, literal(name))
		}
	}
	return " WHERE " + column + " IN (" + strings.Join(literals, ", ") + ")"
}

// canBeName tells whether the servers can have stored a name: they keep them
// in three-byte UTF-8, and refuse to compare with what does not fit it.
func canBeName(name string) bool {
	return utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool { return r > 0xFFFF })
}

// schemata asks which of the databases there are. A question for one name each
// lets the server look at that one alone.
func (s scope) schemata() string {
	const all = "SELECT SCHEMA_NAME AS name FROM information_schema.SCHEMATA"
	if s.everything {
		return all
	}
	parts := []string{all + " WHERE SCHEMA_NAME = " + literal(informationSchema[0])}
	for _, name := range s.databases {
		if name != "" && canBeName(name) {
			parts = append(parts, all+" WHERE SCHEMA_NAME = "+literal(name))
		}
	}
	return strings.Join(parts, " UNION ")
}

// privileges asks which schemas accounts have privileges in: mysql.db holds
// patterns, the others names.
func (s scope) privileges(more ...string) string {
	where := s.where("User", more...)
	parts := []string{"SELECT User AS user, Db AS name, 1 AS pattern FROM mysql.db" + where}
	for _, of := range []string{"tables_priv", "columns_priv", "procs_priv"} {
		parts = append(parts, "SELECT User, Db, 0 FROM mysql."+of+where)
	}
	return strings.Join(parts, " UNION ")
}

// namingRules are the server's settings that say how names are read.
type namingRules struct {
	skipNameResolve bool
	lowerCase       bool // lower_case_table_names is 1 or 2: schemas are found in any case
}

// databases puts the schemas that there are into the Book, under the names
// that they were asked by.
func databases(names table, rules namingRules, of scope) map[string]credential.Database {
	found := map[string]credential.Database{}
	add := func(name string) { found[name] = credential.Database{Name: name, AllowConnections: true} }
	for _, row := range names {
		add(row["name"])
		for _, asked := range of.databases {
			if rules.lowerCase && strings.EqualFold(asked, row["name"]) {
				add(asked)
			}
		}
	}
	for _, name := range informationSchema {
		add(name)
	}
	return found
}

// schemaPatterns are, by user, the patterns of the schemas in which there is a
// privilege. They count for every account of that user: the server compares
// the host of a privilege with the client's, not with the account's.
func schemaPatterns(rows table) map[string][]string {
	patterns := map[string][]string{}
	for _, row := range rows {
		pattern := row["name"]
		if row["pattern"] != "1" {
			pattern = literalPattern(pattern)
		}
		patterns[row["user"]] = appendNew(patterns[row["user"]], pattern)
	}
	return patterns
}

// literalPattern is the pattern that fits this name alone.
func literalPattern(name string) string {
	return strings.NewReplacer(`\`, `\\`, `_`, `\_`, `%`, `\%`).Replace(name)
}

// schemasOf are the patterns for an account without global privileges and
// roles.
func schemasOf(user string, patterns map[string][]string) []string {
	schemas := slices.Clone(informationSchema)
	for i, name := range schemas {
		schemas[i] = literalPattern(name)
	}
	schemas = append(schemas, patterns[user]...)
	if user != anonymous {
		schemas = append(schemas, patterns[anonymous]...)
	}
	return schemas
}

// named tells whether the scope asked for a user; a server's comparison is
// wider (trailing spaces).
func (s scope) named(user string) bool {
	return s.everything || user == anonymous || slices.Contains(s.users, user)
}

func only(tables []table, index int) (map[string]string, error) {
	if len(tables[index]) != 1 {
		return nil, fmt.Errorf("read settings: %d rows", len(tables[index]))
	}
	return tables[index][0], nil
}
