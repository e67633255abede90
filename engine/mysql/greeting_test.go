package mysql

import (
	"encoding/hex"
	"net"
	"strings"
	"testing"

	"serverlessproxy/credential"
)

// Greetings as MariaDB 10.11 and MySQL 9.7 sent them, with another salt.
var greetings = map[string]struct {
	hex  string
	want credential.Greeting
}{
	"MariaDB 10.11": {
		"0a 352e352e352d31302e31312e31392d4d6172696144422d302b6465623132753100 03000000 3131313131313131 00 fef7 2d 0200 ff81 15 000000000000 1d000000 323232323232323232323232 00" +
			"6d7973716c5f6e61746976655f70617373776f726400",
		credential.Greeting{ServerVersion: "5.5.5-10.11.19-MariaDB-0+deb12u1", Capabilities: 0x81fff7fe, Extended: 0x1d, Charset: 45, Status: 2, DefaultPlugin: "mysql_native_password"},
	},
	"MySQL 9.7": {
		"0a 392e372e342d3200 08000000 3131313131313131 00 ffff ff 0200 ffdf 15 00000000000000000000 323232323232323232323232 00 63616368696e675f736861325f70617373776f726400",
		credential.Greeting{ServerVersion: "9.7.4-2", Capabilities: 0xdfffffff, Charset: 255, Status: 2, DefaultPlugin: "caching_sha2_password"},
	},
}

func payload(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseGreeting(t *testing.T) {
	for name, c := range greetings {
		got, err := parseGreeting(payload(t, c.hex))
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		whole := payload(t, c.hex)
		for n := range whole[:len(whole)-len(c.want.DefaultPlugin)-1] {
			if _, err := parseGreeting(whole[:n]); err == nil {
				t.Errorf("%s: %d bytes of it are accepted", name, n)
			}
		}
	}
	for _, refused := range []string{"", "ff10045465737400", "09352e3000"} {
		if _, err := parseGreeting(payload(t, refused)); err == nil {
			t.Errorf("%s is accepted", refused)
		}
	}
}

func FuzzGreeting(f *testing.F) {
	for _, c := range greetings {
		f.Add(payload(f, c.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := parseGreeting(b)
		if err == nil && len(g.ServerVersion)+len(g.DefaultPlugin) > len(b) {
			t.Error("more than there is")
		}
	})
}

// piecewise gives what it has in pieces.
type piecewise struct {
	net.Conn
	pieces []string
}

func (p *piecewise) Read(b []byte) (int, error) {
	n := copy(b, p.pieces[0])
	p.pieces = p.pieces[1:]
	return n, nil
}

func TestEavesdropperHearsTheFirstPacketAlone(t *testing.T) {
	for name, pieces := range map[string][]string{
		"at once":        {"\x05\x00\x00\x00hello"},
		"in pieces":      {"\x05", "\x00\x00", "\x00he", "llo"},
		"and more":       {"\x05\x00\x00\x00hello\x02\x00\x00\x01no", "more"},
		"a piece longer": {"\x05\x00\x00", "\x00hello\x01", "x"},
	} {
		e := &eavesdropper{Conn: &piecewise{pieces: pieces}}
		for range pieces {
			if _, err := e.Read(make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
		}
		if string(e.packet()) != "hello" {
			t.Errorf("%s: %q", name, e.packet())
		}
	}
	if e := (&eavesdropper{Conn: &piecewise{}}); e.packet() != nil {
		t.Error("heard what nobody said")
	}
}
