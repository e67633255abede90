package mysqlfront

import (
	"strings"
	"testing"
)

func TestAskingLeavesLimitsOut(t *testing.T) {
	all := settings{"sql_mode": {}, "autocommit": {}, "max_statement_time": {}, "sql_select_limit": {}}
	got := asking(all)
	want := "CONCAT_WS(_binary x'00', @@gtid_seq_no, IFNULL(@@autocommit, x'00'), IFNULL(@@sql_mode, x'00'))"
	if got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// row is one of the second reading's.
func row(kind, name, value string) [][]byte {
	return [][]byte{[]byte(kind), []byte(name), []byte(value), nil, nil}
}

// TestRestTakesKnownSettings: only a sum that is known stands for settings.
func TestRestTakesKnownSettings(t *testing.T) {
	fresh := settings{"sql_mode": {value: "A"}, "autocommit": {value: "ON"}}
	of := []known{
		{fresh: fresh, asks: "q", sum: sumOf("q", "A ON")},
		{fresh: fresh, changed: settings{"sql_mode": {value: "B"}}, asks: "q", sum: sumOf("q", "B ON")},
		{fresh: settings{"sql_mode": {value: "of another list"}}, asks: "p", sum: sumOf("p", "C ON")},
	}
	for values, want := range map[string]string{"A ON": "A", "B ON": "B", "C ON": "", "": ""} {
		r := &reading{counters: map[string]int64{}}
		if err := r.rest([][][]byte{row("d", "", values), row("s", "com_flush", "0"), row("t", "", "1")}, of); err != nil {
			t.Fatal(err)
		}
		if got := r.changed["sql_mode"].value; got != want {
			t.Errorf("%q: sql_mode %q, want %q", values, got, want)
		}
		if r.changed != nil {
			r.changed["sql_mode"] = setting{value: "spoilt"}
		}
		if fresh["sql_mode"].value != "A" || strings.Contains(of[1].changed["sql_mode"].value, "spoilt") {
			t.Fatal("what is known is shared")
		}
	}
}
