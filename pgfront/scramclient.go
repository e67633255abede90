package pgfront

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
	"github.com/xdg-go/stringprep"

	"serverlessproxy/credential"
)

// scramKeys log a user in. (xdg-go/scram's client knows passwords alone, and a
// proxy has the keys that a client's own proof showed.)
type scramKeys struct{ client, server []byte }

// derive makes keys from a password. One that SASLprep does not allow is used
// as it is, as libpq and the server do.
func derive(password credential.Secret, factors scram.KeyFactors) scramKeys {
	prepared, err := stringprep.SASLprep.Prepare(string(password))
	if err != nil {
		prepared = string(password)
	}
	salted, err := pbkdf2.Key(sha256.New, prepared, []byte(factors.Salt), factors.Iters, sha256.Size)
	if err != nil {
		return scramKeys{}
	}
	return scramKeys{client: mac(salted, "Client Key"), server: mac(salted, "Server Key")}
}

func (k scramKeys) storedKey() []byte {
	sum := sha256.Sum256(k.client)
	return sum[:]
}

// stored is what a server would keep of them.
func (k scramKeys) stored(factors scram.KeyFactors) scram.StoredCredentials {
	return scram.StoredCredentials{KeyFactors: factors, StoredKey: k.storedKey(), ServerKey: k.server}
}

var (
	errSCRAMChallenge = fmt.Errorf("%w: malformed SCRAM challenge", errBadUpstream)
	errSCRAMServer    = fmt.Errorf("%w: it could not prove that it knows the user", errBadUpstream)
)

// maxIterations bounds what a server may make the proxy compute.
const maxIterations = 10_000_000

// scramClient logs in to a server by SCRAM-SHA-256.
type scramClient struct {
	key       credential.Key
	nonce     string
	signature []byte // what the server must answer in the end; nil once it did
}

// first is the client's first message. The server takes the user's name from
// the start-up message.
func (c *scramClient) first() string {
	var nonce [18]byte
	rand.Read(nonce[:])
	c.nonce = base64.StdEncoding.EncodeToString(nonce[:])
	return "n,," + c.bare()
}

func (c *scramClient) bare() string { return "n=,r=" + c.nonce }

// final answers the server's challenge.
func (c *scramClient) final(challenge string) (string, error) {
	nonce, factors, err := parseChallenge(challenge)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(nonce, c.nonce) || len(nonce) == len(c.nonce) {
		return "", fmt.Errorf("%w: nonce", errSCRAMChallenge)
	}
	keys := scramKeys{c.key.ClientKey, c.key.ServerKey}
	if keys.client == nil {
		keys = derive(c.key.Password, factors)
	}
	withoutProof := "c=biws,r=" + nonce
	message := c.bare() + "," + challenge + "," + withoutProof
	c.signature = mac(keys.server, message)
	proof := xor(keys.client, mac(keys.storedKey(), message))
	return withoutProof + ",p=" + base64.StdEncoding.EncodeToString(proof), nil
}

// check tells whether the server knows the user, too.
func (c *scramClient) check(outcome string) error {
	encoded, ok := strings.CutPrefix(outcome, "v=")
	signature, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || c.signature == nil || !hmac.Equal(signature, c.signature) {
		return errSCRAMServer
	}
	c.nonce, c.signature = "", nil
	return nil
}

// done tells whether a server that lets the user in has proved itself, too.
func (c *scramClient) done() error {
	if c.nonce != "" {
		return errSCRAMServer
	}
	return nil
}

func parseChallenge(challenge string) (nonce string, factors scram.KeyFactors, err error) {
	fields := strings.Split(challenge, ",")
	if len(fields) < 3 {
		return "", factors, errSCRAMChallenge
	}
	nonce, ok1 := strings.CutPrefix(fields[0], "r=")
	salt, ok2 := strings.CutPrefix(fields[1], "s=")
	iterations, ok3 := strings.CutPrefix(fields[2], "i=")
	raw, err1 := base64.StdEncoding.DecodeString(salt)
	n, err2 := strconv.Atoi(iterations)
	if !ok1 || !ok2 || !ok3 || err1 != nil || err2 != nil || n < 1 || n > maxIterations {
		return "", factors, errSCRAMChallenge
	}
	return nonce, scram.KeyFactors{Salt: string(raw), Iters: n}, nil
}

// offers tells whether a mechanism is in an AuthenticationSASL's list.
func offers(list []byte, mechanism string) bool {
	return slices.Contains(strings.Split(string(list), "\x00"), mechanism)
}
