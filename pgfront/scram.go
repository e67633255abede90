package pgfront

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/jackc/pgproto3/v2"
	"github.com/xdg-go/scram"

	"serverlessproxy/credential"
	"serverlessproxy/pgfront/pgwire"
)

const (
	mechanism     = "SCRAM-SHA-256"
	mechanismPlus = "SCRAM-SHA-256-PLUS"
)

// parseVerifier reads SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY.
func parseVerifier(verifier credential.Secret) (scram.StoredCredentials, bool) {
	var stored scram.StoredCredentials
	scheme, rest, _ := strings.Cut(string(verifier), "$")
	factors, keys, _ := strings.Cut(rest, "$")
	iterations, salt, _ := strings.Cut(factors, ":")
	storedKey, serverKey, _ := strings.Cut(keys, ":")
	n, err := strconv.Atoi(iterations)
	if scheme != mechanism || err != nil || n < 1 {
		return stored, false
	}
	rawSalt, err1 := base64.StdEncoding.DecodeString(salt)
	rawStored, err2 := base64.StdEncoding.DecodeString(storedKey)
	rawServer, err3 := base64.StdEncoding.DecodeString(serverKey)
	if err1 != nil || err2 != nil || err3 != nil || len(rawStored) != sha256.Size || len(rawServer) != sha256.Size {
		return stored, false
	}
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(rawSalt), Iters: n},
		StoredKey:  rawStored,
		ServerKey:  rawServer,
	}, true
}

// The server's own defaults for a new password.
const (
	defaultIterations = 4096
	saltSize          = 16
)

// standIn are credentials that no password fits, and that look, each time, as
// those of a real user would.
func (f *Front) standIn(user string) scram.StoredCredentials {
	made := func(what string) []byte { return mac(f.Secret, what+"\x00"+user) }
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(made("salt")[:saltSize]), Iters: defaultIterations},
		StoredKey:  made("stored key"),
		ServerKey:  made("server key"),
	}
}

func mac(key []byte, message string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(message))
	return h.Sum(nil)
}

// proveSCRAM goes through the exchange and returns the ClientKey that the
// client's proof shows.
func (v *visitor) proveSCRAM(stored scram.StoredCredentials) (clientKey []byte, err error) {
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return stored, nil })
	if err != nil {
		return nil, err
	}
	first, plus, err := v.scramFirst()
	if err != nil {
		return nil, err
	}
	conversation := server.NewConversation()
	if v.binding.IsSupported() {
		conversation = server.NewConversationWithChannelBinding(v.binding)
	}
	if bound := strings.HasPrefix(first, "p="); bound != plus {
		return nil, violation("malformed SCRAM message", "The channel binding of the message is not that of the selected mechanism.")
	}
	challenge, err := conversation.Step(first)
	if err != nil {
		return nil, v.scramError(challenge)
	}
	final, err := v.scramChallenge(challenge)
	if err != nil {
		return nil, err
	}
	outcome, err := conversation.Step(final)
	if err != nil || !conversation.Valid() {
		return nil, v.scramError(outcome)
	}
	message := pgproto3.AuthenticationSASLFinal{Data: []byte(outcome)}
	b, err := message.Encode(nil)
	if err != nil {
		return nil, err
	}
	return recoverClientKey(stored.StoredKey, first, challenge, final), v.send(b)
}

// scramFirst offers the mechanisms and reads the client's first message.
func (v *visitor) scramFirst() (first string, plus bool, err error) {
	offer := pgproto3.AuthenticationSASL{AuthMechanisms: []string{mechanism}}
	if v.binding.IsSupported() {
		offer.AuthMechanisms = []string{mechanismPlus, mechanism}
	}
	b, err := offer.Encode(nil)
	if err != nil {
		return "", false, err
	}
	if err := v.send(b); err != nil {
		return "", false, err
	}
	kind, body, err := v.next()
	if err != nil {
		return "", false, err
	}
	if kind != pgwire.Password {
		return "", false, unexpectedMessage("SASL", kind)
	}
	selected, first, ok := parseInitialResponse(body)
	if !ok {
		return "", false, violation("malformed SCRAM message", "")
	}
	for _, offered := range offer.AuthMechanisms {
		if selected == offered {
			return first, selected == mechanismPlus, nil
		}
	}
	return "", false, violation("client selected an invalid SASL authentication mechanism", "")
}

// parseInitialResponse reads a SASLInitialResponse (pgproto3's Decode panics
// on a short one).
func parseInitialResponse(body []byte) (selected, data string, ok bool) {
	name, rest, ok := bytes.Cut(body, []byte{0})
	if !ok || len(rest) < 4 || int64(binary.BigEndian.Uint32(rest)) != int64(len(rest)-4) {
		return "", "", false
	}
	return string(name), string(rest[4:]), true
}

// scramChallenge sends the server's first message and reads the client's
// final one.
func (v *visitor) scramChallenge(challenge string) (final string, err error) {
	message := pgproto3.AuthenticationSASLContinue{Data: []byte(challenge)}
	b, err := message.Encode(nil)
	if err != nil {
		return "", err
	}
	if err := v.send(b); err != nil {
		return "", err
	}
	kind, body, err := v.next()
	if err != nil {
		return "", err
	}
	if kind != pgwire.Password {
		return "", unexpectedMessage("SASL", kind)
	}
	return string(body), nil
}

// scramError turns what RFC 5802 has a server say into what PostgreSQL says.
func (v *visitor) scramError(outcome string) error {
	switch outcome {
	case scram.ErrInvalidProof:
		return wrongPassword(v.user)
	case scram.ErrServerDoesSupportChannelBinding:
		return bindingNegotiation()
	case scram.ErrChannelBindingsDontMatch:
		return bindingCheck()
	}
	return violation("malformed SCRAM message", "")
}

// recoverClientKey takes the ClientKey out of a proof that was found valid:
// ClientProof = ClientKey XOR HMAC(StoredKey, AuthMessage).
func recoverClientKey(storedKey []byte, first, challenge, final string) []byte {
	bare := first
	for range 2 { // without the GS2 header
		_, bare, _ = strings.Cut(bare, ",")
	}
	at := strings.LastIndex(final, ",p=")
	if at < 0 {
		return nil
	}
	proof, err := base64.StdEncoding.DecodeString(final[at+len(",p="):])
	signature := mac(storedKey, bare+","+challenge+","+final[:at])
	if err != nil || len(proof) != len(signature) {
		return nil
	}
	return xor(proof, signature)
}

func xor(a, b []byte) []byte {
	out := make([]byte, len(a))
	for i := range a {
		out[i] = a[i] ^ b[i]
	}
	return out
}
