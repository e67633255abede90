package mysqlfront

import (
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"

	"serverlessproxy/mysqlfront/mysqlwire"
)

// TestKills reads the forms of KILL and puts another number in.
func TestKills(t *testing.T) {
	attributes := mysqlwire.Capabilities(mysql.CLIENT_QUERY_ATTRIBUTES)
	for _, c := range []struct {
		payload string
		caps    mysqlwire.Capabilities
		id      uint64
		query   bool
		want    string // "" where it is not rewritten
	}{
		{"\x03KILL 3000000000", 0, 3000000000, false, "\x03KILL 7"},
		{"\x03kill query 3000000000;", 0, 3000000000, true, "\x03kill query 7;"},
		{"\x03 /* x */ Kill -- c\n Hard  Connection\t3000000000 # d", 0, 3000000000, false, "\x03 /* x */ Kill -- c\n Hard  Connection\t7 # d"},
		{"\x03KILL SOFT 3000000000", 0, 3000000000, false, "\x03KILL SOFT 7"},
		{"\x03KILL SOFT QUERY 3000000000", 0, 3000000000, true, "\x03KILL SOFT QUERY 7"},
		{"\x03KILL 3000000000/* c */", 0, 3000000000, false, "\x03KILL 7/* c */"},
		{"\x03\x00\x01KILL 3000000000", attributes, 3000000000, false, "\x03\x00\x01KILL 7"},
		{"\x0c\x00\x5e\xd0\xb2", 0, 3000000000, false, "\x0c\x07\x00\x00\x00"},
		{"\x03KILL QUERY ID 3000000000", 0, 0, false, ""},
		{"\x03KILL USER app", 0, 0, false, ""},
		{"\x03KILL", 0, 0, false, ""},
		{"\x03KILL QUERY", 0, 0, false, ""},
		{"\x03KILL 3000000000+1", 0, 0, false, ""},
		{"\x03KILL 3000000000a", 0, 0, false, ""},
		{"\x03KILL @a", 0, 0, false, ""},
		{"\x03KILLER 3000000000", 0, 0, false, ""},
		{"\x03KILL 99999999999999999999999", 0, 0, false, ""},
		{"\x0c\x00", 0, 0, false, ""},
	} {
		order, found := readKill([]byte(c.payload), c.caps)
		if found != (c.want != "") {
			t.Errorf("%q: found %v", c.payload, found)
			continue
		}
		if !found {
			continue
		}
		if order.id != c.id || order.query != c.query {
			t.Errorf("%q is read as %+v", c.payload, order)
		}
		if got := string(retarget([]byte(c.payload), order.at, 7)); got != c.want {
			t.Errorf("%q becomes %q, want %q", c.payload, got, c.want)
		}
	}
}

func FuzzKill(f *testing.F) {
	f.Add([]byte("\x03KILL QUERY 3000000000 -- x"))
	f.Add([]byte("\x0c\x00\x5e\xd0\xb2"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if len(payload) == 0 {
			return
		}
		order, found := readKill(payload, 0)
		if !found {
			return
		}
		if again, found := readKill(retarget(payload, order.at, 4000000000), 0); !found || again.id != 4000000000 || again.query != order.query {
			t.Errorf("%q is read again as %+v, %v", payload, again, found)
		}
	})
}
