package mysqlwire

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the protocol's
	"errors"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
)

func TestNative(t *testing.T) {
	salt := []byte("12345678901234567890")
	once := sha1.Sum([]byte("pw"))
	twice := sha1.Sum(once[:])
	proof := NativeProof(once[:], salt)
	if want := mysql.CalcNativePassword(salt, []byte("pw")); !bytes.Equal(proof, want) {
		t.Errorf("proof %x, want %x", proof, want)
	}
	got, ok := CheckNative(proof, salt, twice[:])
	if !ok || !bytes.Equal(got, once[:]) {
		t.Errorf("recovered %x, %v", got, ok)
	}
	proof[3] ^= 1
	for _, bad := range [][]byte{proof, nil, proof[:19], append(proof, 0)} {
		if _, ok := CheckNative(bad, salt, twice[:]); ok {
			t.Errorf("%x is accepted", bad)
		}
	}
	if _, ok := CheckNative(make([]byte, 20), salt, nil); ok {
		t.Error("accepted without a verifier")
	}
	if NativeProof(nil, salt) != nil {
		t.Error("a proof of no password")
	}
}

func TestSHA2(t *testing.T) {
	salt := []byte("12345678901234567890")
	proof := SHA2Proof("pw", salt)
	if !CheckSHA2(proof, salt, "pw") || CheckSHA2(proof, salt, "pv") || CheckSHA2(proof, salt[1:], "pw") || CheckSHA2(nil, salt, "") {
		t.Error("fast path")
	}
}

func TestPasswordByKey(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	salt := []byte("12345678901234567890")
	public, err := PublicKeyPEM(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, password := range []string{"", "pw", "a password that is longer than the salt"} {
		data, err := Encrypt(password, salt, public)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Decrypt(data, salt, key); err != nil || got != password {
			t.Errorf("%q arrives as %q, %v", password, got, err)
		}
		if got, err := Decrypt(data, []byte("another salt, 20 byt"), key); err == nil && got == password {
			t.Errorf("%q arrives by another salt", password)
		}
		data[7] ^= 1
		if _, err := Decrypt(data, salt, key); !errors.Is(err, ErrNotEncrypted) {
			t.Errorf("a changed message: %v", err)
		}
	}
	for _, bad := range [][]byte{nil, []byte("no key"), []byte("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n")} {
		if _, err := Encrypt("pw", salt, bad); err == nil {
			t.Errorf("%q serves as a key", bad)
		}
	}
}

func TestAuthSwitches(t *testing.T) {
	salt := [SaltSize]byte([]byte("12345678901234567890"))
	plugin, got, err := ParseAuthSwitch(AppendAuthSwitch(nil, CachingSHA2, salt))
	if err != nil || plugin != CachingSHA2 || !bytes.Equal(got, salt[:]) {
		t.Errorf("read as %q %q, %v", plugin, got, err)
	}
	if plugin, _, err := ParseAuthSwitch([]byte{AuthSwitchHeader}); err != nil || plugin != OldPassword {
		t.Errorf("the oldest form is %q, %v", plugin, err)
	}
	long := append([]byte("\xfeclient_ed25519\x00"), bytes.Repeat([]byte{0}, 32)...)
	if _, got, err := ParseAuthSwitch(long); err != nil || len(got) != 32 {
		t.Errorf("a binary salt is %x, %v", got, err)
	}
	for _, bad := range []string{"", "\x00", "\xfeabc"} {
		if _, _, err := ParseAuthSwitch([]byte(bad)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestParsec(t *testing.T) {
	how := append([]byte{'P', 0}, "123456789012345678"...)
	proof, err := ParsecProof("pw", bytes.Repeat([]byte{1}, 32), how)
	if err != nil || len(proof) != 32+64 {
		t.Errorf("%d bytes, %v", len(proof), err)
	}
	for _, bad := range [][]byte{nil, {'P', 0}, {'Q', 0, 1}, {'P', 40, 1}} {
		if _, err := ParsecKey("pw", bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("% x: %v", bad, err)
		}
	}
}

func FuzzAuth(f *testing.F) {
	f.Add([]byte("\xfemysql_native_password\x0012345678901234567890\x00"))
	f.Add([]byte{'P', 3, 1})
	f.Add([]byte("pw\x00"))
	f.Add([]byte(greetingMariaDB))
	f.Fuzz(func(t *testing.T, data []byte) {
		ParseAuthSwitch(data)
		ParseGreeting(data)
		ParseClear(data)
		CheckNative(data, data, data)
		CheckSHA2(data, data, "pw")
		Encrypt("pw", data, data)
		if len(data) < 8 {
			ParsecKey("pw", data)
		}
	})
}
