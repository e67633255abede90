package mysqlwire

import "testing"

func TestTextEffect(t *testing.T) {
	for text, want := range map[string]effect{
		"SELECT 1":                               harmless,
		" /* c */ select * from t where a = 'x'": harmless,
		"-- c\nINSERT INTO t VALUES ('a@b.c')":   harmless,
		"UPDATE t SET n = n + 1;":                harmless,
		"DELETE FROM t":                          harmless,
		"REPLACE INTO t VALUES (1)":              harmless,
		"WITH a AS (SELECT 1) SELECT * FROM a":   harmless,
		"SELECT @@autocommit, @x":                harmless,
		"SELECT LAST_INSERT_ID()":                harmless,
		"SAVEPOINT a":                            harmless,
		"RELEASE SAVEPOINT a":                    harmless,
		"ROLLBACK TO SAVEPOINT a":                harmless,
		"rollback work to `a`":                   harmless,
		"EXPLAIN SELECT 1":                       harmless,
		"SHOW WARNINGS":                          harmless,
		"INSERT INTO t VALUES (';')":             harmless,

		"SELECT @x := 1":                       alters,
		"SELECT 1 INTO @x":                     alters,
		"SELECT 1 INTO/**/@x":                  alters,
		"SELECT 1 INTO -- c\n@x":               alters,
		"SELECT GET_LOCK('a', 0)":              alters,
		"DO RELEASE_ALL_LOCKS()":               alters,
		"UPDATE t SET n = LAST_INSERT_ID(n+1)": alters,

		"BEGIN":                       opens,
		"begin work;":                 opens,
		"START TRANSACTION":           opens,
		"start transaction read only": opens,
		"START TRANSACTION WITH CONSISTENT SNAPSHOT": opens,
		"ROLLBACK":                             undoes,
		"/* c */ rollback work and no chain ;": undoes,

		"":                             unclear,
		"/* only":                      unclear,
		"COMMIT":                       unclear,
		"ROLLBACK AND CHAIN":           unclear,
		"ROLLBACK RELEASE":             unclear,
		"BEGIN NOT ATOMIC COMMIT; END": unclear,
		"START SLAVE":                  unclear,
		"SET @x = 1":                   unclear,
		"CALL p()":                     unclear,
		"CREATE TABLE t (n INT)":       unclear,
		"SELECTED":                     unclear,
		"/*!999999 SELECT */ COMMIT":   unclear,
		"/*!50000 COMMIT */":           unclear,
		"XA END 'a'":                   unclear,
		"LOAD DATA LOCAL INFILE 'f' INTO TABLE t": unclear,
	} {
		if got := textEffect([]byte(text), false, true); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	for text, want := range map[string]effect{
		"SELECT 1;":                  harmless,
		"SELECT 1; COMMIT":           unclear,
		"ROLLBACK; SELECT 1":         unclear,
		"BEGIN; SELECT 1":            unclear,
		"INSERT INTO t VALUES (';')": unclear,
	} {
		if got := textEffect([]byte(text), true, true); got != want {
			t.Errorf("several, %q: %d, want %d", text, got, want)
		}
	}
	if got := textEffect([]byte("ROLLBACK"), false, false); got != unclear {
		t.Errorf("the beginning ROLLBACK: %d", got)
	}
}

func TestEffectOfMore(t *testing.T) {
	for _, c := range []struct {
		before  effect
		more    string
		several bool
		want    effect
	}{
		{harmless, "'), ('b", false, harmless},
		{harmless, "a;b", false, harmless},
		{harmless, "a;b", true, unclear},
		{harmless, "@x", false, alters},
		{alters, "a", false, alters},
		{undoes, " to a", false, unclear},
		{unclear, "a", false, unclear},
	} {
		if got := c.before.and([]byte(c.more), c.several); got != c.want {
			t.Errorf("%d and %q: %d, want %d", c.before, c.more, got, c.want)
		}
	}
}
