package mysqlwire

import (
	"bytes"
	"regexp"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// effect is what a command may do to an open transaction and to the session
// beside it: it decides what a client can be told whose engine died.
type effect byte

const (
	unclear  effect = iota // may commit, or that cannot be ruled out
	alters                 // changes the session, which no ROLLBACK takes back; commits nothing
	harmless               // neither
	still                  // neither, and runs nothing
	opens                  // begins a transaction, after committing the one before
	undoes                 // rolls the transaction back, and nothing else
)

// commandEffects are those of the commands without a text. What is not named
// here is unclear.
var commandEffects = [256]effect{
	mysql.COM_PING: still, mysql.COM_STATISTICS: still, mysql.COM_STMT_PREPARE: still, mysql.COM_STMT_RESET: still,
	mysql.COM_FIELD_LIST: harmless, mysql.COM_PROCESS_INFO: harmless, mysql.COM_STMT_FETCH: harmless,
	mysql.COM_INIT_DB: alters, mysql.COM_SET_OPTION: alters, mysql.COM_RESET_CONNECTION: alters,
}

// plainWords begin statements that commit nothing, whatever follows: a stored
// function or a trigger may not do so either.
var plainWords = []string{"select", "insert", "update", "delete", "replace", "with", "values", "table", "do", "show", "explain", "desc", "describe", "savepoint", "release"}

// textEffect is that of a statement's text. With several, there may be more of
// them in one text; not whole, there is more of it than this.
func textEffect(text []byte, several, whole bool) effect {
	rest, ok := LeadingSQL(text)
	if !ok || bytes.IndexByte(text[:len(text)-len(rest)], '!') >= 0 {
		return unclear // whether a server runs what such a comment holds depends on its version
	}
	rest = bytes.TrimRight(rest, "; \t\r\n")
	if several && bytes.IndexByte(rest, ';') >= 0 {
		return unclear
	}
	switch {
	case whole && isOpening(rest):
		return opens
	case whole && IsRollback(rest):
		return undoes
	case isSavepointRollback(rest):
		return harmless
	}
	for _, word := range plainWords {
		if begins(rest, word) {
			return plainUnless(rest)
		}
	}
	return unclear
}

// plainUnless is the effect of a statement that commits nothing: it alters the
// session if it sets a user variable or takes a lock.
func plainUnless(text []byte) effect {
	if altersSession(text) {
		return alters
	}
	return harmless
}

var (
	intoVariable  = regexp.MustCompile(`(?i)into\s*@`)
	givenInsertID = regexp.MustCompile(`(?i)last_insert_id\s*\(\s*[^\s)]`)
)

// altersSession tells whether a statement, or a part of one, may set a user
// variable, or take or release a lock. What it cannot read, it takes for that.
func altersSession(text []byte) bool {
	if holds(text, "_lock") || holds(text, "last_insert_id") && givenInsertID.Match(text) {
		return true
	}
	if bytes.IndexByte(text, '@') < 0 {
		return false
	}
	comment := bytes.Contains(text, []byte("/*")) || bytes.Contains(text, []byte("--")) || bytes.IndexByte(text, '#') >= 0
	return comment || bytes.Contains(text, []byte(":=")) || intoVariable.Match(text)
}

// and is the effect of a text of which a further part has come.
func (e effect) and(part []byte, several bool) effect {
	switch {
	case e != harmless && e != alters:
		return unclear
	case several && bytes.IndexByte(part, ';') >= 0:
		return unclear
	case bytes.IndexByte(part, '@') >= 0 || holds(part, "_lock"):
		return alters
	}
	return e
}

var (
	openingText   = regexp.MustCompile(`(?i)^(?:begin(?:\s+work)?|start\s+transaction(?:[\s,]+(?:read\s+(?:only|write)|with\s+consistent\s+snapshot))*)$`)
	rollbackText  = regexp.MustCompile(`(?i)^rollback(?:\s+work)?(?:\s+and\s+no\s+chain)?(?:\s+no\s+release)?$`)
	savepointText = regexp.MustCompile("(?i)^rollback(?:\\s+work)?\\s+to\\s+(?:savepoint\\s+)?[a-z0-9_`$]+$")
)

// longestEnd is longer than any statement of interest that begins or ends a
// transaction.
const longestEnd = 256

func isOpening(text []byte) bool {
	return len(text) <= longestEnd && (begins(text, "begin") || begins(text, "start")) && openingText.Match(text)
}

func isSavepointRollback(text []byte) bool {
	return len(text) <= longestEnd && begins(text, "rollback") && savepointText.Match(text)
}

// IsRollback tells whether a text is one ROLLBACK of the whole transaction,
// after which the connection goes on outside of one.
func IsRollback(text []byte) bool {
	rest, ok := LeadingSQL(text)
	rest = bytes.TrimRight(rest, "; \t\r\n")
	return ok && len(rest) <= longestEnd && begins(rest, "rollback") && rollbackText.Match(rest)
}
