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
}{}

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
