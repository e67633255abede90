package mysqlfront

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"serverlessproxy/mysqlfront/mysqlwire"
)

// What a session has on its backend is read by two statements of which the
// first must be the first: a second one reads what the first has left behind.
// Values come as bytes of their own, whatever the session's character sets
// (one's connection character set may be utf16, in which literals and HEX() are);
// what limits statements does not bind ours.
const (
	readGlow = "SELECT CAST(ROW_COUNT() AS BINARY), CAST(FOUND_ROWS() AS BINARY), CAST(@@warning_count AS BINARY), CAST(@@error_count AS BINARY), " +
		"CAST(LAST_INSERT_ID() AS BINARY), CAST(@@insert_id AS BINARY), CAST(@@rand_seed1 AS BINARY), CAST(@@rand_seed2 AS BINARY), " +
		"CAST(@@timestamp AS BINARY), CAST(@@in_transaction AS BINARY), CAST(DATABASE() AS BINARY), CAST(CURRENT_ROLE() AS BINARY), " +
		"CAST(@@max_statement_time AS BINARY), CAST(@@sql_select_limit AS BINARY), CAST(IF(@@sql_big_selects, _latin1'ON', _latin1'OFF') AS BINARY), " +
		"CAST(@@max_session_mem_used AS BINARY) LIMIT 1"
	unlimited    = "SET STATEMENT max_statement_time = 0, max_session_mem_used = 9223372036854775807, sql_big_selects = 1, sql_select_limit = 18446744073709551615 FOR "
	readSettings = "SELECT _binary'v', CAST(LOWER(variable_name) AS BINARY), CAST(session_value AS BINARY), CAST(variable_type AS BINARY), CAST(NULL AS BINARY) " +
		"FROM information_schema.system_variables WHERE variable_scope LIKE 'SESSION%' AND read_only = 'NO'"
	readSum  = "SELECT _binary'd', CAST(NULL AS BINARY), CAST(%s AS BINARY), CAST(NULL AS BINARY), CAST(NULL AS BINARY)"
	readRest = " UNION ALL SELECT _binary'u', CAST(variable_name AS BINARY), CAST(IF(variable_type = 'VARCHAR', variable_value IS NULL, variable_value) AS BINARY), " +
		"CAST(variable_type AS BINARY), CAST(character_set_name AS BINARY) FROM information_schema.user_variables " +
		"UNION ALL SELECT _binary's', CAST(LOWER(variable_name) AS BINARY), CAST(variable_value AS BINARY), NULL, NULL " +
		"FROM information_schema.session_status WHERE variable_name IN ('Com_create_temporary_table', 'Com_create_sequence', 'Com_lock_tables', 'Com_ha_open', " +
		"'Com_prepare_sql', 'Com_flush', 'Com_backup', 'Com_backup_lock', 'Bytes_received') " +
		"UNION ALL SELECT _binary't', NULL, CAST(@@timestamp AS BINARY), NULL, NULL"
	readLocks = " UNION ALL SELECT _binary'l', CAST(lock_type AS BINARY), NULL, NULL, NULL " +
		"FROM information_schema.metadata_lock_info WHERE thread_id = CONNECTION_ID()"
	isUnlocked = unlimited + "SELECT 1 FROM seq_1_to_1"
	isUserLock = unlimited + "SELECT CAST(%s AS BINARY)"
)

// reading is a session's state as its backend tells it.
type reading struct {
	carried
	transaction bool
	counters    map[string]int64 // the session's status counters
	locks       []string         // kinds of locks that it holds, if they can be seen
	locksSeen   bool             // they can
	sent        int64            // to the backend before the counters were read
	locked      bool             // LOCK TABLES is, or may be, in force
	userLock    bool             // GET_LOCK by one of the names that the session's texts told
}

var (
	errUnreadable = errors.New("the session's state cannot be read")
	errNotNow     = errors.New("the session's state could not be read now")
)

// take reads a backend's state. of are the settings that it may well have.
func (s *session) take(ctx context.Context, b *backend, of ...known) (*reading, error) {
	rest := readRest
	if b.showsLocks {
		rest += readLocks
	}
	settings := readSettings
	if len(of) > 0 && of[0].asks != "" {
		settings = fmt.Sprintf(readSum, of[0].asks)
	}
	answers, err := s.ask(ctx, b, readGlow, unlimited+settings+rest)
	if err != nil {
		return nil, err
	}
	r := &reading{counters: map[string]int64{}, locksSeen: b.showsLocks, sent: s.scanner.Facts().Sent}
	if answers[0].refusal != nil || len(answers[0].rows) != 1 {
		return r, fmt.Errorf("%w: %w", errNotNow, answers[0].refused())
	}
	r.first(answers[0].rows[0])
	all := answers[1]
	if all.refusal != nil && settings != readSettings { // a variable that there is no more
		again, err := s.ask(ctx, b, unlimited+readSettings+rest)
		if err != nil {
			return nil, err
		}
		all = again[0]
	}
	if all.refusal != nil {
		return r, fmt.Errorf("%w: %w", errNotNow, all.refusal)
	}
	if err := r.rest(all.rows, of); err != nil {
		return r, err
	}
	if err := s.takeSettings(ctx, b, r); err != nil {
		return r, err
	}
	r.limits(answers[0].rows[0])
	return r, s.takeMore(ctx, b, r)
}

// takeSettings reads the settings of a session whose values are none that are
// known.
func (s *session) takeSettings(ctx context.Context, b *backend, r *reading) error {
	if len(r.changed) > 0 {
		return nil
	}
	answers, err := s.ask(ctx, b, unlimited+readSettings)
	if err != nil {
		return err
	}
	if answers[0].refusal != nil {
		return fmt.Errorf("%w: %w", errNotNow, answers[0].refusal)
	}
	for _, v := range answers[0].rows {
		if err := r.setting(v); err != nil {
			return err
		}
	}
	if len(r.changed) == 0 {
		return errUnreadable
	}
	return nil
}

// first takes what the first statement tells.
func (r *reading) first(row [][]byte) {
	number := func(i int) int64 { n, _ := strconv.ParseInt(string(row[i]), 10, 64); return n }
	r.glow = glow{rowCount: number(0), foundRows: number(1), warnings: number(2), errors: number(3)}
	r.lastInsertID, r.insertID = string(row[4]), string(row[5])
	r.seeds = [2]string{string(row[6]), string(row[7])}
	r.timestamp = string(row[8])
	r.transaction = number(9) != 0
	r.database, r.role = string(row[10]), string(row[11])
}

// rest takes what the second one tells: the settings only where it tells them,
// or the sum of some that are known.
func (r *reading) rest(rows [][][]byte, of []known) error {
	r.changed, r.variables = settings{}, map[string]userVariable{}
	clock := ""
	for _, v := range rows {
		name, value := string(v[1]), string(v[2])
		switch v[0][0] {
		case 'v':
			if err := r.setting(v); err != nil {
				return err
			}
		case 'd':
			r.asks, r.sum = of[0].asks, sumOf(of[0].asks, value)
			if i := slices.IndexFunc(of, func(k known) bool { return k.asks == r.asks && k.sum == r.sum }); i >= 0 {
				r.changed = of[i].wanted()
			}
		case 'u':
			r.variables[name] = userVariable{kind: string(v[3]), charset: string(v[4]), null: v[2] == nil, value: value}
		case 's':
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return errUnreadable
			}
			r.counters[name] = n
		case 't':
			clock = value
		case 'l':
			r.locks = append(r.locks, name)
		}
	}
	if clock == "" || len(r.counters) == 0 {
		return errUnreadable
	}
	if clock != r.timestamp {
		r.timestamp = ""
	}
	return nil
}

// setting takes a row of the table of them.
func (r *reading) setting(v [][]byte) error {
	name, value := string(v[1]), string(v[2])
	if name == "gtid_seq_no" && value != "0" {
		return errUnreadable // for the next statement alone
	}
	if !uncarried[name] {
		null := v[2] == nil || name == "character_set_results" && value == ""
		r.changed[name] = setting{value: value, null: null, kind: string(v[3])}
	}
	return nil
}

// limits takes what the first statement tells of the settings that the second
// one is exempt from.
func (r *reading) limits(row [][]byte) {
	for i, name := range limiting {
		v := r.changed[name]
		v.value, v.null = string(row[12+i]), false
		r.changed[name] = v
	}
	r.glow.oracle = isOracle(r.changed["sql_mode"].value)
}

// isOracle tells whether a sql_mode has another language for compound
// statements.
func isOracle(mode string) bool { return strings.Contains(mode, "ORACLE") }

// takeMore reads the texts of user variables as they are, and asks whether
// tables are locked where they may be.
func (s *session) takeMore(ctx context.Context, b *backend, r *reading) error {
	var texts []string
	var names []string
	for name, v := range r.variables {
		if !ascii(name) {
			return errUnreadable
		}
		if v.kind == "VARCHAR" {
			names = append(names, name)
			at := "@" + quoteName(name)
			texts = append(texts, "CAST(CONVERT(HEX("+at+") USING latin1) AS BINARY), CAST(COLLATION("+at+") AS BINARY)")
		}
	}
	var questions []string
	const atOnce = 200
	for i := 0; i < len(texts); i += atOnce {
		questions = append(questions, unlimited+"SELECT "+strings.Join(texts[i:min(i+atOnce, len(texts))], ", "))
	}
	unlock := r.counters["com_lock_tables"] > 0 && !r.locksSeen
	if unlock {
		questions = append(questions, isUnlocked)
	}
	locks := s.namedLocks(b)
	if locks != "" {
		questions = append(questions, locks)
	}
	if len(questions) == 0 {
		return nil
	}
	answers, err := s.ask(ctx, b, questions...)
	if err != nil {
		return err
	}
	if locks != "" {
		last := answers[len(answers)-1]
		r.userLock, answers = !says(last, "0"), answers[:len(answers)-1]
		if !r.userLock {
			s.scanner.Unlocked()
		}
	}
	if unlock {
		last := answers[len(answers)-1]
		r.locked, answers = last.refusal != nil, answers[:len(answers)-1]
	}
	i := 0
	for _, a := range answers {
		if a.refusal != nil || len(a.rows) != 1 {
			return errNotNow
		}
		for row := a.rows[0]; len(row) > 1; row = row[2:] {
			if err := r.text(names[i], row[0], row[1]); err != nil {
				return err
			}
			i++
		}
	}
	return nil
}

// namedLocks asks whether the session still holds one of the locks that its
// texts named, "" where there is none, or the server shows locks itself.
func (s *session) namedLocks(b *backend) string {
	names := s.scanner.Facts().UserLocks
	if b != s.backend || b.showsLocks || len(names) == 0 {
		return ""
	}
	held := make([]string, len(names))
	for i, name := range names {
		held[i] = "IS_USED_LOCK('" + name + "') <=> CONNECTION_ID()"
	}
	return fmt.Sprintf(isUserLock, strings.Join(held, " OR "))
}

// says tells whether an answer is one value, this one.
func says(a table, value string) bool {
	return a.refusal == nil && len(a.rows) == 1 && len(a.rows[0]) == 1 && string(a.rows[0][0]) == value
}

// text takes a user variable's own bytes. What it was asked for before only
// told whether it is NULL.
func (r *reading) text(name string, digits, collation []byte) error {
	v := r.variables[name]
	null := v.value == "1"
	value, err := hex.DecodeString(string(digits))
	if err != nil || null != (digits == nil) {
		return errUnreadable
	}
	v.null, v.value, v.collation = null, string(value), string(collation)
	r.variables[name] = v
	return nil
}

func ascii(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r >= 0x80 })
}

// decide tells what keeps a session on its backend: nothing, or the reasons.
func (r *reading) decide(facts mysqlwire.Facts) []string {
	var reasons []string
	pin := func(on bool, reason string) {
		if on && !slices.Contains(reasons, reason) {
			reasons = append(reasons, reason)
		}
	}
	pin(r.transaction, "transaction")
	for _, reason := range r.untilReset() {
		pin(true, reason)
	}
	pin(r.locked, "lock_tables")
	for _, kind := range r.locks {
		pin(kind == "User lock", "user_lock")
		pin(kind != "User lock", "lock_tables")
	}
	pin(!r.locksSeen && (facts.UserLock || r.userLock), "user_lock")
	return reasons
}

// untilReset are the reasons that only a reset of the session ends: they are
// known by counters, which only grow.
func (r *reading) untilReset() []string {
	var reasons []string
	pin := func(on bool, reason string) {
		if on {
			reasons = append(reasons, reason)
		}
	}
	count := r.counters
	pin(count["com_create_temporary_table"] > 0 || count["com_create_sequence"] > 0, "temporary_object")
	pin(count["com_backup"] > 0 || count["com_backup_lock"] > 0 || !r.locksSeen && count["com_flush"] > 0, "lock_tables")
	pin(count["com_ha_open"] > 0, "handler")
	pin(count["com_prepare_sql"] > 0, "prepared_text")
	pin(count["bytes_received"] < r.sent, "unreadable") // FLUSH STATUS: the counters tell nothing
	return reasons
}
