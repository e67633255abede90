package mysqlfront

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/pingcap/tidb/pkg/parser/auth"

	"serverlessproxy/credential"
	"serverlessproxy/mysqlfront/mysqlwire"
)

var testKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// pair is both ends of a conversation.
func pair(t *testing.T) (a, b *packets) {
	t.Helper()
	one, other := net.Pipe()
	for _, c := range []net.Conn{one, other} {
		c.SetDeadline(time.Now().Add(20 * time.Second))
		t.Cleanup(func() { c.Close() })
	}
	return &packets{conn: one}, &packets{conn: other}
}

// TestProofMeetsExam has what logs in to engines log in to what examines
// clients, by each method and in each kind of privacy.
func TestProofMeetsExam(t *testing.T) {
	sha2 := credential.Secret(auth.NewHashPassword("pw", "caching_sha2_password"))
	sha256 := "$5$" + sha2[7:27] + "$" + sha2[27:]
	native := credential.Secret("*D821809F681A40A6E379B50D0463EFAE20BDD122")
	whole := secrets{sha1: sha1Of("pw"), password: "pw", known: true}
	hash := secrets{sha1: sha1Of("pw")}
	none := secrets{known: true}
	for _, c := range []struct {
		name    string
		method  credential.Method
		secrets secrets
		private bool
		plugin  string // that the greeting named
		ok      bool
	}{
		{"native", credential.Method{Plugin: "mysql_native_password", Verifier: native}, whole, false, "mysql_native_password", true},
		{"native by its hash", credential.Method{Plugin: "mysql_native_password", Verifier: native}, hash, false, "mysql_native_password", true},
		{"native after another", credential.Method{Plugin: "mysql_native_password", Verifier: native}, hash, false, "caching_sha2_password", true},
		{"native, wrong", credential.Method{Plugin: "mysql_native_password", Verifier: native}, none, false, "mysql_native_password", false},
		{"sha2 in private", credential.Method{Plugin: "caching_sha2_password", Verifier: sha2}, whole, true, "caching_sha2_password", true},
		{"sha2 by RSA", credential.Method{Plugin: "caching_sha2_password", Verifier: sha2}, whole, false, "mysql_native_password", true},
		{"sha2 without the password", credential.Method{Plugin: "caching_sha2_password", Verifier: sha2}, hash, true, "caching_sha2_password", false},
		{"sha256 in private", credential.Method{Plugin: "sha256_password", Verifier: sha256}, whole, true, "sha256_password", true},
		{"sha256 by RSA", credential.Method{Plugin: "sha256_password", Verifier: sha256}, whole, false, "mysql_native_password", true},
		{"ed25519 asks for the password", credential.Method{Plugin: "ed25519", Verifier: "vRq+ROSzhW4MwhdoPvlkL1fHkT0w6ZDDbTpVQwSNQ90"}, whole, false, "mysql_native_password", true},
		{"no password", credential.Method{Plugin: "caching_sha2_password"}, none, false, "caching_sha2_password", true},
		{"no password, native", credential.Method{Plugin: "mysql_native_password"}, none, false, "mysql_native_password", true},
		{"one too many", credential.Method{Plugin: "mysql_native_password"}, whole, false, "mysql_native_password", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			keys := credential.NewKeyring()
			for _, round := range []string{"first", "again"} { // by what is remembered
				if ok, err := meet(t, keys, c.method, c.secrets, c.private, c.plugin); ok != c.ok {
					t.Errorf("%s: %v, want %v (%v)", round, ok, c.ok, err)
				}
			}
		})
	}
}

// meet runs one login, and tells whether it succeeded on both sides.
func meet(t *testing.T, keys *credential.Keyring, m credential.Method, s secrets, private bool, plugin string) (bool, error) {
	server, client := pair(t)
	salt := newSalt()
	p := &proof{packets: client, secrets: s, private: private, plugin: plugin, salt: salt[:]}
	e := &exam{client: server, rsaKey: testKey, keys: keys, secure: private, canSwitch: true, plugin: plugin, proof: p.first(), salt: salt}
	finished := make(chan error, 1)
	go func() {
		_, err := p.finish()
		finished <- err
	}()
	key, failure := e.pass("u@h", []credential.Method{m})
	if failure == nil {
		keys.Put("u@h", key)
		if err := server.write(mysqlwire.AppendOK(nil, mysqlwire.OK{}, 0)); err != nil {
			t.Fatal(err)
		}
	} else if err := server.write((&answer{1045, "28000", "no"}).packet()); err != nil {
		t.Fatal(err)
	}
	err := <-finished
	if (err == nil) != (failure == nil) {
		t.Errorf("one side says %v, the other %v", err, failure)
	}
	return failure == nil, failure
}

// TestProofOfParsec answers as MariaDB asks: a salt, then what the password's
// key is derived by.
func TestProofOfParsec(t *testing.T) {
	server, client := pair(t)
	p := &proof{packets: client, secrets: secrets{password: "pw", known: true}, plugin: "mysql_native_password"}
	finished := make(chan error, 1)
	go func() {
		_, err := p.finish()
		finished <- err
	}()
	salt, how := bytes.Repeat([]byte{9}, 32), append([]byte{'P', 0}, "abcdefghijklmnopqr"...)
	server.write(append([]byte("\xfeparsec\x00"), salt...))
	if first, err := server.read(100); err != nil || len(first) != 0 {
		t.Fatalf("first answer %x, %v", first, err)
	}
	server.write(how)
	answer, err := server.read(200)
	if err != nil || len(answer) != 32+64 {
		t.Fatalf("second answer %x, %v", answer, err)
	}
	key, _ := mysqlwire.ParsecKey("pw", how)
	if !ed25519.Verify(key.Public().(ed25519.PublicKey), append(salt, answer[:32]...), answer[32:]) {
		t.Error("the signature does not fit")
	}
	server.write([]byte("\x00\x00\x00\x02\x00\x00\x00"))
	if err := <-finished; err != nil {
		t.Error(err)
	}
}

// TestSecretsStayIn: nothing that a listener could use goes out in the open,
// and what is lacking is named where the engine refuses.
func TestSecretsStayIn(t *testing.T) {
	for _, plugin := range []string{"mysql_clear_password", "dialog", "auth_gssapi_client", "mysql_old_password"} {
		server, client := pair(t)
		p := &proof{packets: client, secrets: secrets{password: "pw", known: true}, plugin: "mysql_native_password"}
		finished := make(chan error, 1)
		go func() {
			_, err := p.finish()
			finished <- err
		}()
		server.write([]byte("\xfe" + plugin + "\x00"))
		if data, err := server.read(100); err != nil || len(data) != 0 {
			t.Errorf("%s is answered with %q, %v", plugin, data, err)
		}
		server.write((&answer{1045, "28000", "no"}).packet())
		err := <-finished
		var refusal *mysqlwire.ServerError
		if !errors.As(err, &refusal) || !errors.Is(err, errUnknownPlugin) {
			t.Errorf("%s: %v", plugin, err)
		}
	}
}

// TestEndlessAuthentication gives up on an engine that never has enough.
func TestEndlessAuthentication(t *testing.T) {
	server, client := pair(t)
	p := &proof{packets: client, secrets: secrets{password: "pw", known: true}, plugin: "mysql_native_password"}
	go func() {
		for {
			if server.write(append([]byte("\xfemysql_native_password\x00"), make([]byte, 21)...)) != nil {
				return
			}
			if _, err := server.read(100); err != nil {
				return
			}
		}
	}()
	if _, err := p.finish(); !errors.Is(err, errEndlessAnswers) {
		t.Error(err)
	}
}

// FuzzExam has anything at all answer an exam: it fails or it is the password.
func FuzzExam(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x02"), "caching_sha2_password", []byte("12345678901234567890123456789012"))
	f.Add([]byte("\x03\x00\x00\x00pw\x00"), "mysql_native_password", []byte{})
	f.Add([]byte("\x00\x00\x00\x00"), "", []byte{0})
	sha2 := credential.Secret(auth.NewHashPassword("a password that nobody guesses", "caching_sha2_password"))
	f.Fuzz(func(t *testing.T, sent []byte, plugin string, first []byte) {
		e := &exam{
			client: &packets{conn: &script{in: bytes.NewReader(sent)}}, rsaKey: testKey, keys: credential.NewKeyring(),
			secure: len(sent)%2 == 0, canSwitch: true, plugin: plugin, proof: first,
		}
		if key, err := e.pass("u@h", []credential.Method{
			{Plugin: "unix_socket"},
			{Plugin: "mysql_native_password", Verifier: "*D821809F681A40A6E379B50D0463EFAE20BDD121"},
			{Plugin: "caching_sha2_password", Verifier: sha2},
			{Plugin: "sha256_password", Verifier: "$5$"},
		}); err == nil {
			t.Errorf("passed, with %v", key)
		}
	})
}

// script is a connection that says what it was told to.
type script struct {
	net.Conn
	in *bytes.Reader
}

func (s *script) Read(b []byte) (int, error)  { return s.in.Read(b) }
func (s *script) Write(b []byte) (int, error) { return len(b), nil }
