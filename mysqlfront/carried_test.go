package mysqlfront

import (
	"slices"
	"testing"

	"serverlessproxy/mysqlfront/mysqlwire"
)

func TestDecide(t *testing.T) {
	for name, c := range map[string]struct {
		reading reading
		facts   mysqlwire.Facts
		want    []string
	}{
		"nothing":           {reading{}, mysqlwire.Facts{}, nil},
		"transaction":       {reading{transaction: true}, mysqlwire.Facts{}, []string{"transaction"}},
		"temporary":         {reading{counters: map[string]int64{"com_create_temporary_table": 1}}, mysqlwire.Facts{}, []string{"temporary_object"}},
		"handler, prepared": {reading{counters: map[string]int64{"com_ha_open": 1, "com_prepare_sql": 2}}, mysqlwire.Facts{}, []string{"handler", "prepared_text"}},
		"lock by its text":  {reading{}, mysqlwire.Facts{UserLock: true}, []string{"user_lock"}},
		"lock that is seen": {reading{locksSeen: true, locks: []string{"User lock"}}, mysqlwire.Facts{}, []string{"user_lock"}},
		"lock that is not":  {reading{locksSeen: true}, mysqlwire.Facts{UserLock: true}, nil},
		"flushed status":    {reading{sent: 100, counters: map[string]int64{"bytes_received": 99}}, mysqlwire.Facts{}, []string{"unreadable"}},
		"flush":             {reading{counters: map[string]int64{"com_flush": 1}}, mysqlwire.Facts{}, []string{"lock_tables"}},
	} {
		if got := c.reading.decide(c.facts); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestSettingsStatement(t *testing.T) {
	got := settings{
		"sql_big_selects":      {value: "ON", kind: "BOOLEAN"},
		"max_join_size":        {value: "5", kind: "BIGINT UNSIGNED"},
		"collation_connection": {value: "utf8mb4_bin", kind: "ENUM"},
		"character_set_client": {null: true, kind: "ENUM"},
		"sql_mode":             {value: "ANSI_QUOTES", kind: "SET"},
		"time_zone":            {value: "it's", kind: "VARCHAR"},
	}.statement()
	want := "SET SESSION character_set_client = NULL, SESSION collation_connection = 'utf8mb4_bin', SESSION sql_mode = 'ANSI_QUOTES', " +
		"SESSION time_zone = _utf8mb4 x'69742773', SESSION max_join_size = 5, SESSION sql_big_selects = 'ON'"
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestEcho(t *testing.T) {
	for g, want := range map[glow]bool{
		{rowCount: -1, foundRows: 0}:            true,
		{rowCount: -1, foundRows: 5000}:         true,
		{rowCount: -1, foundRows: 1 << 30}:      false,
		{rowCount: 0}:                           true,
		{rowCount: 0, foundRows: 1 << 30}:       false,
		{rowCount: 3}:                           true,
		{rowCount: 3, oracle: true}:             false,
		{rowCount: 1 << 20}:                     false,
		{rowCount: 0, warnings: 1}:              false,
		{rowCount: -1, foundRows: 1, errors: 1}: false,
	} {
		if g.lasts() != want {
			t.Errorf("%+v: %v", g, !want)
		}
	}
}
