package mysqlfront

import (
	"crypto/ed25519"
	"crypto/sha1" //nolint:gosec // what mysql_native_password stores
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"filippo.io/edwards25519"
	"github.com/pingcap/tidb/pkg/parser/auth"
	"github.com/pingcap/tidb/pkg/parser/mysql"

	"serverlessproxy/credential"
	"serverlessproxy/mysqlfront/mysqlwire"
)

// scheme is how one of the engine's authentication methods is proved at the
// endpoint.
type scheme struct {
	// plugin is what the client has to use with us. It is not always the
	// method's own: a proof by ed25519 or parsec is good for one salt only, and
	// the engine's would be another; so the password is asked for.
	plugin string
	// verify checks a password against what the engine keeps.
	verify func(password string, verifier credential.Secret) bool
}

// schemes are the methods that can be proved at the endpoint, by the engine's
// names. What is missing (unix_socket, auth_socket, gssapi, pam, …) cannot.
var schemes = map[string]scheme{
	mysqlwire.NativePassword: {mysqlwire.NativePassword, verifyNative},
	mysqlwire.CachingSHA2:    {mysqlwire.CachingSHA2, verifyCachingSHA2},
	mysqlwire.SHA256Password: {mysqlwire.SHA256Password, verifySHA256},
	"ed25519":                {mysqlwire.CachingSHA2, verifyEd25519},
	mysqlwire.Parsec:         {mysqlwire.CachingSHA2, verifyParsec},
}

// nativeStored is SHA1(SHA1(password)) of a verifier; nil where no password
// fits it ("invalid").
func nativeStored(verifier credential.Secret) []byte {
	digits, starred := strings.CutPrefix(string(verifier), "*")
	stored, err := hex.DecodeString(digits)
	if !starred || err != nil || len(stored) != sha1.Size {
		return nil
	}
	return stored
}

func verifyNative(password string, verifier credential.Secret) bool {
	once := sha1.Sum([]byte(password))
	twice := sha1.Sum(once[:])
	return subtle.ConstantTimeCompare(twice[:], nativeStored(verifier)) == 1
}

// A caching_sha2_password verifier: $A$, three hexadecimal digits of thousands
// of rounds, $, 20 bytes of salt and 43 of SHA-crypt's digest.
const (
	sha2SaltLength     = 20
	sha2DigestLength   = 43
	sha2RoundsLength   = len("$A$005$")
	sha2VerifierLength = sha2RoundsLength + sha2SaltLength + sha2DigestLength
)

func verifyCachingSHA2(password string, verifier credential.Secret) bool {
	if len(verifier) != sha2VerifierLength || !strings.HasPrefix(string(verifier), "$A$") || verifier[sha2RoundsLength-1] != '$' {
		return false
	}
	ok, err := auth.CheckHashingPassword([]byte(verifier), password, mysql.AuthCachingSha2Password)
	return err == nil && ok
}

// verifySHA256 checks a sha256_password verifier, $5$salt$digest: the same
// digest in another dress.
func verifySHA256(password string, verifier credential.Secret) bool {
	inside, ok := strings.CutPrefix(string(verifier), "$5$")
	salt, digest, split := strings.Cut(inside, "$")
	if !ok || !split {
		return false
	}
	return verifyCachingSHA2(password, credential.Secret("$A$005$"+salt+digest))
}

// verifyEd25519 checks MariaDB's ed25519 verifier: the public key that a
// password stands for, without the padding of base64.
func verifyEd25519(password string, verifier credential.Secret) bool {
	stored, err := base64.RawStdEncoding.DecodeString(string(verifier))
	if err != nil || len(stored) != ed25519.PublicKeySize {
		return false
	}
	digest := sha512.Sum512([]byte(password))
	secret, err := edwards25519.NewScalar().SetBytesWithClamping(digest[:32])
	if err != nil {
		return false
	}
	public := new(edwards25519.Point).ScalarBaseMult(secret).Bytes()
	return subtle.ConstantTimeCompare(public, stored) == 1
}

// verifyParsec checks MariaDB's parsec verifier: P, the doublings of 1024
// rounds, salt and public key.
func verifyParsec(password string, verifier credential.Secret) bool {
	fields := strings.Split(string(verifier), ":")
	if len(fields) != 3 || len(fields[0]) != 2 {
		return false
	}
	salt, saltErr := base64.RawStdEncoding.DecodeString(fields[1])
	stored, keyErr := base64.RawStdEncoding.DecodeString(fields[2])
	if saltErr != nil || keyErr != nil {
		return false
	}
	how := append([]byte{fields[0][0], fields[0][1] - '0'}, salt...)
	key, err := mysqlwire.ParsecKey(password, how)
	if err != nil {
		return false
	}
	return subtle.ConstantTimeCompare(key.Public().(ed25519.PublicKey), stored) == 1
}
