package mysqlfront

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// setting is one system variable of a session.
type setting struct {
	value string
	null  bool
	kind  string // the engine's VARIABLE_TYPE
}

// settings are a session's system variables, by their names in lower case.
type settings map[string]setting

// userVariable is a variable @name.
type userVariable struct {
	kind      string // the engine's VARIABLE_TYPE: INT, INT UNSIGNED, DECIMAL, DOUBLE, VARCHAR
	charset   string
	collation string // of a VARCHAR
	null      bool
	value     string
}

// glow is what only the next statement may ask about the one before.
type glow struct {
	rowCount, foundRows int64
	warnings, errors    int64
	oracle              bool // sql_mode has ORACLE
}

// carried is what a session has on its backend and takes to the next.
type carried struct {
	known
	variables    map[string]userVariable
	database     string
	role         string // "" for none
	lastInsertID string
	insertID     string // of the next insert, "0" for the engine's choice
	timestamp    string // as SET TIMESTAMP fixed it, "" for the clock's
	seeds        [2]string
	glow         glow
}

// uncarried are variables that are no setting: they follow the session's
// statements, are carried by themselves, or cannot be set in a session.
var uncarried = map[string]bool{
	"max_allowed_packet": true, "net_buffer_length": true, "pseudo_thread_id": true, "timestamp": true, "insert_id": true,
	"last_insert_id": true, "identity": true, "rand_seed1": true, "rand_seed2": true, "gtid_seq_no": true, "in_transaction": true,
	"error_count": true, "warning_count": true, "last_gtid": true, "proxy_user": true, "external_user": true,
	"max_user_connections": true,
	"max_relay_log_size":   true, "sql_slave_skip_counter": true, // of default_master_connection, not of the session
}

// limiting are settings that our own statements are exempt from, and which are
// therefore read apart.
var limiting = []string{"max_statement_time", "sql_select_limit", "sql_big_selects", "max_session_mem_used"}

// differing are the settings of s that other has not.
func (s settings) differing(other settings) settings {
	d := settings{}
	for name, v := range s {
		if o, there := other[name]; !there || o.value != v.value || o.null != v.null {
			d[name] = v
		}
	}
	return d
}

// statement sets settings, character sets before their collations, and what
// limits statements last.
func (s settings) statement() string {
	if len(s) == 0 {
		return ""
	}
	names := make([]string, 0, len(s))
	for name := range s {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := settingOrder(a) - settingOrder(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	var text strings.Builder
	for i, name := range names {
		if i > 0 {
			text.WriteString(", ")
		} else {
			text.WriteString("SET ")
		}
		fmt.Fprintf(&text, "SESSION %s = %s", name, s[name].literal())
	}
	return text.String()
}

func settingOrder(name string) int {
	switch {
	case strings.HasPrefix(name, "character_set_"):
		return 0
	case strings.HasPrefix(name, "collation_"):
		return 1
	case name == "max_join_size":
		return 3 // it changes sql_big_selects
	case slices.Contains(limiting, name):
		return 4
	}
	return 2
}

func (v setting) literal() string {
	if v.null {
		return "NULL"
	}
	if numeric(v.value) && (strings.Contains(v.kind, "INT") || v.kind == "DOUBLE") {
		return v.value
	}
	return textLiteral(v.value)
}

func numeric(text string) bool {
	_, err := strconv.ParseFloat(text, 64)
	return err == nil && !strings.ContainsAny(text, "xXnNiIpP_")
}

// textLiteral is a literal that means the same in every sql_mode and character
// set.
func textLiteral(text string) string {
	plain := !strings.ContainsFunc(text, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(" _=,.:/+-", r))
	})
	if plain {
		return "'" + text + "'"
	}
	return "_utf8mb4 x'" + hex.EncodeToString([]byte(text)) + "'"
}

// quoteName quotes an identifier.
func quoteName(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// assignment sets a user variable.
func (v userVariable) assignment(name string) string {
	return "@" + quoteName(name) + " = " + v.literal()
}

func (v userVariable) literal() string {
	quoted := "'" + v.value + "'"
	if v.null {
		quoted = "NULL"
	}
	switch v.kind {
	case "INT":
		return "CAST(" + quoted + " AS SIGNED)"
	case "INT UNSIGNED":
		return "CAST(" + quoted + " AS UNSIGNED)"
	case "DOUBLE":
		return "CAST(" + quoted + " AS DOUBLE)"
	case "DECIMAL":
		_, fraction, _ := strings.Cut(v.value, ".")
		return fmt.Sprintf("CAST(%s AS DECIMAL(65,%d))", quoted, len(fraction))
	}
	switch {
	case v.null && v.charset == "binary":
		return "NULL"
	case v.null:
		return "CONVERT(NULL USING " + v.charset + ") COLLATE " + v.collation
	case v.charset == "binary":
		return "x'" + hex.EncodeToString([]byte(v.value)) + "'"
	}
	return "_" + v.charset + " x'" + hex.EncodeToString([]byte(v.value)) + "' COLLATE " + v.collation
}

// assignments are the statements that set user variables, none of them longer
// than an engine takes.
func assignments(variables map[string]userVariable) []string {
	const longest = 512 << 10
	var texts []string
	var text bytes.Buffer
	for name, v := range variables {
		one := v.assignment(name)
		if text.Len() > 0 && text.Len()+len(one) > longest {
			texts = append(texts, text.String())
			text.Reset()
		}
		if text.Len() == 0 {
			text.WriteString(unlimited + "SET " + one)
		} else {
			text.WriteString(", " + one)
		}
	}
	if text.Len() > 0 {
		texts = append(texts, text.String())
	}
	return texts
}

// once sets what is good for the statements to come, not for a session.
func (c *carried) once() string {
	text := fmt.Sprintf("SET rand_seed1 = %s, rand_seed2 = %s, last_insert_id = %s", c.seeds[0], c.seeds[1], c.lastInsertID)
	if c.insertID != "0" {
		text += ", insert_id = " + c.insertID
	}
	if c.timestamp != "" {
		text += ", timestamp = " + c.timestamp
	}
	return text
}

// mostFound is the largest FOUND_ROWS() that is carried.
const mostFound = 100_000

// mostChanged is the largest ROW_COUNT() that is carried. To bring it back costs
// so many tiny statements inside of one.
const mostChanged = 1000

// echo are statements after which FOUND_ROWS() and ROW_COUNT() are what they
// were, none where there are none.
func (g glow) echo() []string {
	switch {
	case g.rowCount == 0 && g.manyFound():
		return []string{"DO 0"}
	case g.rowCount == 0:
		return []string{g.found(), "DO 0"} // which leaves what was found
	case g.rowCount < -1 || g.rowCount > mostChanged || g.manyFound() || g.errors > 0:
		return nil
	case g.rowCount == -1:
		return []string{g.found()}
	case g.oracle:
		return nil // another language
	case g.foundRows == 0:
		// The last one that finds nothing counts for nothing.
		return []string{fmt.Sprintf(changed, g.rowCount, "SELECT 1 LIMIT 0")}
	}
	return []string{fmt.Sprintf(changed, g.rowCount-1, g.found())}
}

// manyFound tells whether FOUND_ROWS() cannot be brought back.
func (g glow) manyFound() bool { return g.foundRows < 0 || g.foundRows > mostFound }

// changed is a statement that a server takes for one that has changed rows,
// though it changes nothing: each row put into a variable counts as one.
const changed = "BEGIN NOT ATOMIC DECLARE x INT; DECLARE CONTINUE HANDLER FOR NOT FOUND BEGIN END; " +
	"FOR i IN 1..%d DO SELECT 1 LIMIT 1 INTO x; END FOR; %s INTO x; END"

// found is a SELECT after which FOUND_ROWS() is what it was, whatever limits
// the session has.
func (g glow) found() string {
	if g.foundRows < 2 {
		return fmt.Sprintf("SELECT 1 LIMIT %d", g.foundRows)
	}
	return fmt.Sprintf(unlimited+"WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < 1000) "+
		"SELECT SQL_CALC_FOUND_ROWS 1 FROM g a JOIN g b WHERE (a.n - 1) * 1000 + b.n <= %d LIMIT 1", g.foundRows)
}

// lasts tells whether a session that gives up its backend now would answer
// questions about its last statement as before.
func (g glow) lasts() bool {
	return g.warnings == 0 && g.errors == 0 && !g.manyFound() && len(g.echo()) > 0
}

// unlike tells what of a session that was restored is not as it was, "" for
// nothing.
func (c *carried) unlike(got *carried) string {
	if c.database != got.database {
		return "database"
	}
	if c.role != got.role {
		return "role"
	}
	for name, v := range c.variables {
		if got.variables[name] != v {
			return "user variable @" + name
		}
	}
	if len(got.variables) != len(c.variables) {
		return "user variables"
	}
	for name := range c.wanted().differing(got.wanted()) {
		return "variable " + name
	}
	return ""
}
