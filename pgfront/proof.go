package pgfront

import (
	"bytes"
	"crypto/md5"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"strings"
	"time"

	"github.com/jackc/pgproto3/v2"

	"serverlessproxy/credential"
	"serverlessproxy/pgfront/pgwire"
)

// evidence is what a client's proof is checked against: a verifier, or the
// password itself where the operator configured it and the engine shows no
// verifier. With neither, nothing that it can prove lets it in.
type evidence struct{ verifier, password credential.Secret }

func evidenceFor(role credential.Role, passwords map[string]credential.Secret, now time.Time) evidence {
	switch {
	case role.Name == "", role.Expired(now):
		return evidence{}
	case role.Verifier != "":
		return evidence{verifier: role.Verifier}
	}
	return evidence{password: passwords[role.Name]}
}

// prove has the client prove that it is the user, and returns the key that
// logs it in to the engine again. Without evidence the exchange is gone
// through all the same, and fails.
func (v *visitor) prove(e evidence) (credential.Key, error) {
	if isMD5(e.verifier) {
		return v.proveMD5(e.verifier)
	}
	stored, ok := parseVerifier(e.verifier)
	if !ok {
		stored = v.front.standIn(v.user)
	}
	if e.password != "" {
		stored = derive(e.password, stored.KeyFactors).stored(stored.KeyFactors)
	}
	clientKey, err := v.proveSCRAM(stored)
	if err != nil {
		return credential.Key{}, err
	}
	key := credential.Key{ClientKey: clientKey, ServerKey: stored.ServerKey, Verifier: e.verifier}
	if e.password != "" {
		key = credential.Key{Password: e.password}
	}
	return key, v.send(authenticationOK())
}

func authenticationOK() []byte {
	return pgwire.AppendMessage(nil, pgwire.Authentication, make([]byte, 4))
}

// isMD5 tells whether a verifier is one of the old kind.
func isMD5(verifier credential.Secret) bool {
	return len(verifier) == 35 && strings.HasPrefix(string(verifier), "md5")
}

func (v *visitor) proveMD5(verifier credential.Secret) (credential.Key, error) {
	challenge := pgproto3.AuthenticationMD5Password{}
	rand.Read(challenge.Salt[:])
	message, err := challenge.Encode(nil)
	if err != nil {
		return credential.Key{}, err
	}
	if err := v.send(message); err != nil {
		return credential.Key{}, err
	}
	kind, body, err := v.next()
	if err != nil {
		return credential.Key{}, err
	}
	if kind != pgwire.Password {
		return credential.Key{}, unexpectedMessage("password", kind)
	}
	answer, _, terminated := bytes.Cut(body, []byte{0})
	if !terminated {
		return credential.Key{}, violation("invalid password packet size", "")
	}
	if subtle.ConstantTimeCompare(answer, saltedMD5(verifier, challenge.Salt)) != 1 {
		return credential.Key{}, wrongPassword(v.user)
	}
	// The engine's own challenge can be answered with the verifier.
	return credential.Key{Verifier: verifier}, v.send(authenticationOK())
}

// saltedMD5 is the answer to an MD5 challenge.
func saltedMD5(verifier credential.Secret, salt [4]byte) []byte {
	sum := md5.Sum(append([]byte(strings.TrimPrefix(string(verifier), "md5")), salt[:]...))
	return []byte("md5" + hex.EncodeToString(sum[:]))
}

// verifierMD5 is what an engine would keep of a password.
func verifierMD5(password credential.Secret, user string) credential.Secret {
	sum := md5.Sum([]byte(string(password) + user))
	return credential.Secret("md5" + hex.EncodeToString(sum[:]))
}
