package mysqlwire

// Servers keep the conditions that a statement has left (SHOW WARNINGS, GET
// DIAGNOSTICS) until one that uses a table. A statement that uses none answers
// that it has left no warning, although those of the one before are still there.

// tableless begin statements that use no table unless they have a FROM.
var tableless = []string{"select", "set", "do", "get", "use", "begin", "start", "commit", "rollback", "savepoint", "release", "kill"}

// keepsConditions tells whether the conditions of the statement before outlive
// this one.
func keepsConditions(text []byte) bool {
	rest, ok := LeadingSQL(text)
	if !ok || holds(rest, "from") {
		return false
	}
	if begins(rest, "show") {
		return holds(rest, "warnings") || holds(rest, "errors")
	}
	for _, word := range tableless {
		if begins(rest, word) {
			return true
		}
	}
	return false
}

// mayKeep tells whether a COM_QUERY keeps conditions that there are, or that
// the answers to come may leave.
func (t *Tracker) mayKeep(p []byte) bool {
	if !t.facts.Warnings && t.pending.n == 0 {
		return false
	}
	text, ok := QueryText(p, t.caps)
	return ok && keepsConditions(text[:min(len(text), maxNoticed)])
}

// leaves notes whether a statement has left conditions, or those of the one before.
func (t *Tracker) leaves(some bool) {
	t.facts.Warnings = some || t.facts.Warnings && t.pending.first().keeps
}
