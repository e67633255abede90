package mysqlfront

import (
	"crypto/ed25519"
	"encoding/base64"
	"testing"

	"github.com/pingcap/tidb/pkg/parser/auth"

	"serverlessproxy/credential"
	"serverlessproxy/mysqlfront/mysqlwire"
)

// TestVerifiers checks passwords against what engines store. Those of
// MariaDB's plugins and of caching_sha2_password are taken from servers.
func TestVerifiers(t *testing.T) {
	made := credential.Secret(auth.NewHashPassword("pw", "caching_sha2_password"))
	sha256 := "$5$" + string(made[7:27]) + "$" + string(made[27:])
	key, err := mysqlwire.ParsecKey("pw", append([]byte{'P', 1}, "abcdefghijklmnopqr"...))
	if err != nil {
		t.Fatal(err)
	}
	parsec := "P1:" + base64.RawStdEncoding.EncodeToString([]byte("abcdefghijklmnopqr")) + ":" +
		base64.RawStdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
	for _, c := range []struct {
		plugin, password string
		verifier         credential.Secret
		want             bool
	}{
		{"mysql_native_password", "pw", "*D821809F681A40A6E379B50D0463EFAE20BDD122", true},
		{"mysql_native_password", "pW", "*D821809F681A40A6E379B50D0463EFAE20BDD122", false},
		{"mysql_native_password", "pw", "D821809F681A40A6E379B50D0463EFAE20BDD122", false},
		{"mysql_native_password", "invalid", "invalid", false},
		{"mysql_native_password", "", "", false},
		{"caching_sha2_password", "foobar", "$A$005$\x03\x1a\x69\x25\x1c\x34\x29\x5c\x4b\x35\x16\x7c\x7f\x1e\x5a\x7b\x63\x09\x13\x49503974624D34504B5A424679354856336868686F52485A736E4A733368786E427575516C73446469496537", false},
		{"caching_sha2_password", "foobar", "$A$005$\x03\x1a\x69\x25\x1c\x34\x29\x5c\x4b\x35\x16\x7c\x7f\x1e\x5a\x7b\x63\x09\x13\x49P9tbM4PKZBFy5HV3hhhoRHZsnJs3hxnBuuQlsDdiIe7", true},
		{"caching_sha2_password", "pw", made, true},
		{"caching_sha2_password", "pv", made, false},
		{"caching_sha2_password", "pw", made[:60], false},
		{"caching_sha2_password", "pw", "$A$005$", false},
		{"caching_sha2_password", "pw", "$B$005$" + made[7:], false},
		{"sha256_password", "pw", credential.Secret(sha256), true},
		{"sha256_password", "pv", credential.Secret(sha256), false},
		{"sha256_password", "pw", "$5$", false},
		{"ed25519", "pw", "vRq+ROSzhW4MwhdoPvlkL1fHkT0w6ZDDbTpVQwSNQ90", true},
		{"ed25519", "pv", "vRq+ROSzhW4MwhdoPvlkL1fHkT0w6ZDDbTpVQwSNQ90", false},
		{"ed25519", "pw", "vRq", false},
		{"parsec", "pw", credential.Secret(parsec), true},
		{"parsec", "pv", credential.Secret(parsec), false},
		{"parsec", "pw", "P0:a", false},
		{"parsec", "pw", "P9:" + credential.Secret(parsec[3:]), false},
	} {
		if got := schemes[c.plugin].verify(c.password, c.verifier); got != c.want {
			t.Errorf("%s of %q: %v, want %v", c.plugin, c.password, got, c.want)
		}
	}
}
