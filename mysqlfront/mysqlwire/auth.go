package mysqlwire

import (
	"bytes"
	"crypto/ed25519"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the protocol's
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// The authentication plugins, as they are named on the wire.
const (
	NativePassword = "mysql_native_password"
	CachingSHA2    = "caching_sha2_password"
	SHA256Password = "sha256_password"
	ClearPassword  = "mysql_clear_password"
	OldPassword    = "mysql_old_password"
	Dialog         = "dialog"
	Ed25519        = "client_ed25519"
	Parsec         = "parsec"
)

// First bytes of the packets of an authentication, beside OK and ERR.
const (
	AuthMoreHeader   byte = mysql.MORE_DATE_HEADER // more of the same plugin's data
	AuthSwitchHeader byte = mysql.EOF_HEADER       // another plugin
)

// What caching_sha2_password's packets hold.
const (
	SHA2FastOK      byte = mysql.CACHE_SHA2_FAST_AUTH
	SHA2FullNeeded  byte = mysql.CACHE_SHA2_FULL_AUTH
	SHA2KeyWanted   byte = 2 // from the client; sha256_password's is 1
	SHA256KeyWanted byte = 1
)

// AppendAuthSwitch appends the payload of an AuthSwitchRequest.
func AppendAuthSwitch(dst []byte, plugin string, salt [SaltSize]byte) []byte {
	dst = append(dst, AuthSwitchHeader)
	dst = append(append(dst, plugin...), 0)
	return append(append(dst, salt[:]...), 0)
}

// ParseAuthSwitch reads the payload of an AuthSwitchRequest. The salt is as
// long as the plugin has it, without the zero byte that ends a text one.
func ParseAuthSwitch(payload []byte) (plugin string, salt []byte, err error) {
	if len(payload) == 0 || payload[0] != AuthSwitchHeader {
		return "", nil, fmt.Errorf("parse change of plugin: %w", ErrMalformed)
	}
	if len(payload) == 1 { // the oldest form
		return OldPassword, nil, nil
	}
	name, salt, ok := NullString(payload[1:])
	if !ok {
		return "", nil, fmt.Errorf("parse change of plugin: %w", ErrMalformed)
	}
	if len(salt) == SaltSize+1 {
		salt = salt[:SaltSize]
	}
	return string(name), salt, nil
}

// AppendAuthMore appends the payload of an AuthMoreData packet.
func AppendAuthMore(dst []byte, data ...byte) []byte {
	return append(append(dst, AuthMoreHeader), data...)
}

// NativeProof answers a salt for SHA1(password), nil for no password.
func NativeProof(sha1Password []byte, salt []byte) []byte {
	if len(sha1Password) == 0 {
		return nil
	}
	stored := sha1.Sum(sha1Password)
	return mysql.Xor(nativeMask(stored[:], salt), sha1Password)
}

// CheckNative checks a proof against what the server stores,
// SHA1(SHA1(password)), and recovers SHA1(password) from it.
func CheckNative(proof, salt, stored []byte) (sha1Password []byte, ok bool) {
	if len(proof) != sha1.Size || len(stored) != sha1.Size {
		return nil, false
	}
	candidate := mysql.Xor(proof, nativeMask(stored, salt))
	twice := sha1.Sum(candidate)
	if subtle.ConstantTimeCompare(twice[:], stored) != 1 {
		return nil, false
	}
	return candidate, true
}

func nativeMask(stored, salt []byte) []byte {
	h := sha1.New()
	h.Write(salt)
	h.Write(stored)
	return h.Sum(nil)
}

// SHA2Proof answers a salt for a password, as caching_sha2_password's fast
// path does; nil for no password.
func SHA2Proof(password string, salt []byte) []byte {
	return mysql.CalcCachingSha2Password(salt, []byte(password))
}

// CheckSHA2 checks a proof of the fast path for a password that is known.
func CheckSHA2(proof, salt []byte, password string) bool {
	want := SHA2Proof(password, salt)
	return len(proof) == sha256.Size && subtle.ConstantTimeCompare(proof, want) == 1
}

// ErrNotEncrypted says that a password did not come as our key encrypts it.
var ErrNotEncrypted = errors.New("password not encrypted with this key")

// PublicKeyPEM is a public key as clients ask for it.
func PublicKeyPEM(key *rsa.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// Encrypt encrypts a password for a server whose public key came as PEM.
func Encrypt(password string, salt []byte, keyPEM []byte) ([]byte, error) {
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return nil, fmt.Errorf("decode server's public key: %w", ErrMalformed)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("decode server's public key: %w", err)
	}
	public, ok := key.(*rsa.PublicKey)
	if !ok || len(salt) == 0 {
		return nil, fmt.Errorf("decode server's public key: %w", ErrMalformed)
	}
	return mysql.EncryptPassword(password, salt, public)
}

// Decrypt recovers a password that a client encrypted for key.
func Decrypt(data, salt []byte, key *rsa.PrivateKey) (string, error) {
	plain, err := rsa.DecryptOAEP(sha1.New(), rand.Reader, key, data, nil)
	if err != nil || len(plain) == 0 {
		return "", ErrNotEncrypted
	}
	return ParseClear(mysql.Xor(plain, salt))
}

// ParseClear reads a password that was sent in the clear: it ends with a zero
// byte.
func ParseClear(data []byte) (string, error) {
	password, rest, ok := NullString(data)
	if !ok || len(rest) > 0 {
		return "", fmt.Errorf("parse password: %w", ErrMalformed)
	}
	return string(password), nil
}

// Ed25519Proof answers a salt for MariaDB's ed25519 plugin.
func Ed25519Proof(password string, salt []byte) ([]byte, error) {
	return mysql.CalcEd25519Password(salt, password)
}

// ParsecKey is the key pair that MariaDB's parsec derives from a password;
// how: 'P', the number of doublings of 1024 rounds, the salt.
func ParsecKey(password string, how []byte) (ed25519.PrivateKey, error) {
	const longest = 3 // doublings that the plugin knows
	if len(how) < 3 || how[0] != 'P' || how[1] > longest {
		return nil, fmt.Errorf("derive parsec key: %w", ErrMalformed)
	}
	seed, err := pbkdf2.Key(sha512.New, password, how[2:], 1024<<how[1], ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("derive parsec key: %w", err)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// ParsecProof answers the server's 32-byte salt: 32 bytes of our own, and a
// signature of both.
func ParsecProof(password string, salt, how []byte) ([]byte, error) {
	key, err := ParsecKey(password, how)
	if err != nil {
		return nil, err
	}
	own := make([]byte, 32)
	rand.Read(own) //nolint:errcheck // never fails
	return append(own, ed25519.Sign(key, bytes.Join([][]byte{salt, own}, nil))...), nil
}
