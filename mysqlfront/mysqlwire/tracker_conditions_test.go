package mysqlwire

import "testing"

// TestKeepsConditions: after which statements SHOW WARNINGS still tells of the
// one before, as MariaDB 10.11 has it.
func TestKeepsConditions(t *testing.T) {
	for text, want := range map[string]bool{
		"SELECT 1":                    true,
		"/* x */ select @a":           true,
		"SELECT 1 FROM t":             false,
		"SHOW WARNINGS":               true,
		"SHOW COUNT(*) ERRORS":        true,
		"SHOW TABLES":                 false,
		"GET DIAGNOSTICS @n = NUMBER": true,
		"SET @a = (SELECT b FROM t)":  false,
		"SET @a = 1":                  true,
		"COMMIT":                      true,
		"INSERT INTO t VALUES (1)":    false,
		"CREATE TABLE t (a INT)":      false,
		"SELECTED":                    false,
		"":                            false,
	} {
		if got := keepsConditions([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
