package mysqlwire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// Greetings as servers sent them.
const (
	greetingMariaDB = "0a352e352e352d31302e31312e31392d4d6172696144422d302b6465623132753100040000003e546e4c706e584e00fef7080200ff81150000000000001d0000005c635f3321492b3b27503d7d006d7973716c5f6e61746976655f70617373776f726400"
	greetingMySQL   = "0a392e372e3400080000003132333435363738" + "00" + "ffff" + "ff" + "0200" + "ffdf" + "15" + "00000000000000000000" + "6162636465666768696a6b6c00" + "63616368696e675f736861325f70617373776f726400"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGreetingOfMariaDB(t *testing.T) {
	payload := unhex(t, greetingMariaDB)
	g, err := ParseGreeting(payload)
	if err != nil {
		t.Fatal(err)
	}
	if g.ServerVersion != "5.5.5-10.11.19-MariaDB-0+deb12u1" || g.ConnectionID != 4 || g.Charset != 8 || g.Status != 2 ||
		g.Plugin != NativePassword || string(g.Salt[:]) != ">TnLpnXN\\c_3!I+;'P=}" {
		t.Errorf("parsed as %+v", g)
	}
	if want := MariaDBProgress | MariaDBBulkOperations | MariaDBExtendedMetadata | MariaDBCacheMetadata; g.Capabilities>>32<<32 != want {
		t.Errorf("extended capabilities %#x, want %#x", g.Capabilities, want)
	}
	if !g.Capabilities.IsMariaDB() {
		t.Error("not known as MariaDB's")
	}
	if again := AppendGreeting(nil, g); !bytes.Equal(again, payload) {
		t.Errorf("written as\n%x, want\n%x", again, payload)
	}
}

func TestGreetingOfMySQL(t *testing.T) {
	payload := unhex(t, greetingMySQL)
	g, err := ParseGreeting(payload)
	if err != nil {
		t.Fatal(err)
	}
	if g.Capabilities.IsMariaDB() || g.Capabilities>>32 != 0 || !g.Capabilities.Has(mysql.CLIENT_DEPRECATE_EOF) || g.Plugin != CachingSHA2 {
		t.Errorf("parsed as %+v", g)
	}
	if again := AppendGreeting(nil, g); !bytes.Equal(again, payload) {
		t.Errorf("written as\n%x, want\n%x", again, payload)
	}
}

func TestCutGreetings(t *testing.T) {
	payload := unhex(t, greetingMariaDB)
	for n := range len(payload) {
		g, err := ParseGreeting(payload[:n])
		if err == nil && len(payload)-n > len(NativePassword)+1 {
			t.Errorf("%d of %d bytes parsed as %+v", n, len(payload), g)
		}
	}
}

const serverCaps = Capabilities(0xffffffff)&^Capabilities(mysql.CLIENT_LONG_PASSWORD) | MariaDBProgress | MariaDBCacheMetadata

func TestResponses(t *testing.T) {
	base := Capabilities(mysql.CLIENT_PROTOCOL_41 | mysql.CLIENT_SECURE_CONNECTION)
	for name, r := range map[string]Response{
		"least":    {Capabilities: base, User: "app"},
		"database": {Capabilities: base | Capabilities(mysql.CLIENT_CONNECT_WITH_DB), User: "app", Auth: []byte("12345678901234567890"), Database: "app"},
		"MySQL": {Capabilities: base | Capabilities(mysql.CLIENT_LONG_PASSWORD|mysql.CLIENT_PLUGIN_AUTH), MaxPacket: 1 << 24, Charset: 255,
			User: "app", Auth: []byte{1, 0, 2}, Plugin: CachingSHA2},
		"MariaDB": {Capabilities: base | Capabilities(mysql.CLIENT_PLUGIN_AUTH) | MariaDBProgress | MariaDBCacheMetadata, User: "app", Plugin: NativePassword},
		"attributes": {Capabilities: base | Capabilities(mysql.CLIENT_PLUGIN_AUTH|mysql.CLIENT_CONNECT_ATTRS|mysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA),
			User: "", Auth: bytes.Repeat([]byte{7}, 300), Plugin: "p", Attributes: []Attribute{{"endpoint", "my"}, {"_pid", ""}, {"long", strings.Repeat("x", 1000)}}},
		"zstd": {Capabilities: base | Capabilities(mysql.CLIENT_ZSTD_COMPRESSION_ALGORITHM), User: "app", ZstdLevel: 3},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseResponse(AppendResponse(nil, r), serverCaps)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Auth) == 0 {
				got.Auth = nil
			}
			if !reflect.DeepEqual(got, r) {
				t.Errorf("read as\n%+v, want\n%+v", got, r)
			}
		})
	}
}

// TestAgreedCapabilities is what MariaDB's command line client sends to a
// MariaDB, and what it means to a MySQL: nothing extended.
func TestAgreedCapabilities(t *testing.T) {
	r := Response{Capabilities: Capabilities(mysql.CLIENT_PROTOCOL_41|mysql.CLIENT_SECURE_CONNECTION|mysql.CLIENT_COMPRESS) | MariaDBProgress, User: "a"}
	got, err := ParseResponse(AppendResponse(nil, r), serverCaps&^Capabilities(mysql.CLIENT_COMPRESS))
	if err != nil || got.Capabilities != r.Capabilities&^Capabilities(mysql.CLIENT_COMPRESS) {
		t.Errorf("agreed on %#x, %v", got.Capabilities, err)
	}
	got, err = ParseResponse(AppendResponse(nil, r), serverCaps|Capabilities(mysql.CLIENT_LONG_PASSWORD))
	if err != nil || got.Capabilities>>32 != 0 {
		t.Errorf("agreed with a MySQL on %#x, %v", got.Capabilities, err)
	}
}

func TestBadResponses(t *testing.T) {
	whole := AppendResponse(nil, Response{
		Capabilities: Capabilities(mysql.CLIENT_PROTOCOL_41 | mysql.CLIENT_SECURE_CONNECTION | mysql.CLIENT_CONNECT_ATTRS),
		User:         "app", Auth: []byte("12345678901234567890"), Attributes: []Attribute{{"a", "b"}},
	})
	for n := range len(whole) {
		_, err := ParseResponse(whole[:n], serverCaps)
		if n != len(whole)-5 && err == nil { // attributes may be left out
			t.Errorf("%d of %d bytes are accepted", n, len(whole))
		}
	}
	if _, err := ParseResponse([]byte("\x05\x24\x00\x00\x00root\x00"), serverCaps); !errors.Is(err, ErrOldProtocol) {
		t.Errorf("a client from before 4.1: %v", err)
	}
}

func TestSSLRequest(t *testing.T) {
	r := Response{Capabilities: Capabilities(mysql.CLIENT_PROTOCOL_41 | mysql.CLIENT_SSL)}
	if !IsSSLRequest(AppendSSLRequest(nil, r)) {
		t.Error("not known")
	}
	if IsSSLRequest(AppendResponse(nil, r)) || IsSSLRequest(AppendSSLRequest(nil, Response{})) {
		t.Error("taken for one")
	}
}

func TestChangeUsers(t *testing.T) {
	caps := Capabilities(mysql.CLIENT_SECURE_CONNECTION | mysql.CLIENT_PLUGIN_AUTH | mysql.CLIENT_CONNECT_ATTRS)
	want := ChangeUser{User: "u", Auth: []byte("xyz"), Database: "d", Charset: 45, Plugin: NativePassword, Attributes: []Attribute{{"a", "b"}}}
	got, err := ParseChangeUser(AppendChangeUser(nil, want, caps), caps)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read as %+v, %v", got, err)
	}
	short, err := ParseChangeUser([]byte("\x11u\x00\x00d"), caps)
	if err != nil || short.User != "u" || short.Database != "d" {
		t.Errorf("short form read as %+v, %v", short, err)
	}
	for _, bad := range []string{"", "\x03", "\x11u", "\x11u\x00\x05abc"} {
		if _, err := ParseChangeUser([]byte(bad), caps); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzHandshakeResponse(f *testing.F) {
	f.Add(AppendResponse(nil, Response{Capabilities: serverCaps, User: "app", Auth: []byte("x"), Database: "d", Plugin: "p", Attributes: []Attribute{{"a", "b"}}}), uint64(serverCaps))
	f.Add(AppendResponse(nil, Response{Capabilities: Capabilities(mysql.CLIENT_PROTOCOL_41), User: "app"}), uint64(serverCaps))
	f.Add(AppendSSLRequest(nil, Response{Capabilities: Capabilities(mysql.CLIENT_SSL)}), uint64(0))
	f.Add([]byte("\x11user\x00\x03abcdb\x00\x2d\x00plugin\x00"), uint64(serverCaps))
	f.Fuzz(func(t *testing.T, payload []byte, offered uint64) {
		IsSSLRequest(payload)
		ParseChangeUser(payload, Capabilities(offered))
		r, err := ParseResponse(payload, Capabilities(offered))
		if err != nil {
			return
		}
		if extra := r.Capabilities &^ (Capabilities(offered) | Capabilities(mysql.CLIENT_SSL|mysql.CLIENT_LONG_PASSWORD)); extra != 0 {
			t.Errorf("agreed on %#x, which was not offered", extra)
		}
		if !r.Capabilities.Has(mysql.CLIENT_PROTOCOL_41 | mysql.CLIENT_SECURE_CONNECTION) {
			return
		}
		again, err := ParseResponse(AppendResponse(nil, r), Capabilities(offered))
		if err != nil || again.User != r.User || again.Database != r.Database && r.Capabilities.Has(mysql.CLIENT_CONNECT_WITH_DB) && len(r.Auth) < 256 {
			t.Errorf("read again as %+v, %v, want %+v", again, err, r)
		}
	})
}
