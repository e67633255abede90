package mysqlfront

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // mysql_native_password's
	"errors"
	"fmt"

	"serverlessproxy/credential"
	"serverlessproxy/mysqlfront/mysqlwire"
)

// exam is one client's proof of who it is: what it said, and the conversation
// that may follow. Of a login and of COM_CHANGE_USER alike.
type exam struct {
	client *packets
	rsaKey func() (*rsa.PrivateKey, error)
	keys   *credential.Keyring
	// secure tells whether nobody can listen to the client's connection, and
	// canSwitch whether the client knows more than one plugin.
	secure, canSwitch bool

	plugin string // what proof was made with
	proof  []byte
	salt   [mysqlwire.SaltSize]byte
	// password is what the client gave in full, once it did.
	password *string
}

// errFailed is a proof that does not fit; the caller knows the words for it.
var errFailed = errors.New("proof does not fit")

// pass lets the client prove any of the methods, in turn, and returns the key
// that logs it in again. errFailed: none fits. errNoScheme: none of them, or
// the last of them, can be proved here.
func (e *exam) pass(account string, methods []credential.Method) (credential.Key, error) {
	result := error(errNoScheme)
	for _, method := range methods {
		s, known := schemes[method.Plugin]
		if !known {
			result = errNoScheme
			continue
		}
		key, err := e.prove(account, s, method)
		if err == nil || !errors.Is(err, errFailed) {
			return key, err
		}
		result = err
	}
	return credential.Key{}, result
}

// errNoScheme is an account whose methods the endpoint does not have.
var errNoScheme = errors.New("method cannot be proved at the endpoint")

// prove lets the client prove one method.
func (e *exam) prove(account string, s scheme, method credential.Method) (credential.Key, error) {
	if e.password != nil {
		return e.judge(s, method)
	}
	if e.plugin != s.plugin {
		if err := e.switchTo(s.plugin); err != nil {
			return credential.Key{}, err
		}
	}
	if e.empty() || method.Verifier == "" {
		if e.empty() && method.Verifier == "" {
			return credential.Key{Verifier: method.Verifier}, nil
		}
		return credential.Key{}, errFailed
	}
	if s.plugin == mysqlwire.NativePassword {
		return e.proveNative(method)
	}
	if s.plugin == mysqlwire.CachingSHA2 {
		if key, ok := e.remembered(account, method); ok {
			return key, e.say(mysqlwire.SHA2FastOK)
		}
	}
	if err := e.askForPassword(s.plugin); err != nil {
		return credential.Key{}, err
	}
	return e.judge(s, method)
}

// empty tells whether the client has no password.
func (e *exam) empty() bool {
	return len(e.proof) == 0 || len(e.proof) == 1 && e.proof[0] == 0
}

// switchTo has the client use another plugin, with another salt.
func (e *exam) switchTo(plugin string) error {
	if !e.canSwitch {
		return errOneWay
	}
	e.salt = newSalt()
	if err := e.client.write(mysqlwire.AppendAuthSwitch(nil, plugin, e.salt)); err != nil {
		return fmt.Errorf("ask for another plugin: %w", err)
	}
	proof, err := e.client.read(mysqlwire.MaxHandshake)
	if err != nil {
		return fmt.Errorf("read proof: %w", err)
	}
	e.plugin, e.proof = plugin, proof
	return nil
}

// newSalt is random, without the bytes that end or quote a text.
func newSalt() (salt [mysqlwire.SaltSize]byte) {
	rand.Read(salt[:]) //nolint:errcheck // never fails
	for i := range salt {
		salt[i] = '0' + salt[i]%('z'-'0'+1)
	}
	return salt
}

func (e *exam) proveNative(method credential.Method) (credential.Key, error) {
	once, ok := mysqlwire.CheckNative(e.proof, e.salt[:], nativeStored(method.Verifier))
	if !ok {
		return credential.Key{}, errFailed
	}
	return credential.Key{SHA1: once, Verifier: method.Verifier}, nil
}

// remembered is the key of an earlier full proof, if this one is by the same
// password.
func (e *exam) remembered(account string, method credential.Method) (credential.Key, bool) {
	key, known := e.keys.Get(account, method.Verifier)
	if !known || !mysqlwire.CheckSHA2(e.proof, e.salt[:], string(key.Password)) {
		return credential.Key{}, false
	}
	return key, true
}

// judge checks the password that the client gave.
func (e *exam) judge(s scheme, method credential.Method) (credential.Key, error) {
	if !s.verify(*e.password, method.Verifier) {
		return credential.Key{}, errFailed
	}
	return credential.Key{SHA1: sha1Of(*e.password), Password: credential.Secret(*e.password), Verifier: method.Verifier}, nil
}

// askForPassword has the client give its password in full.
func (e *exam) askForPassword(plugin string) error {
	answer := e.proof // sha256_password gives it, or asks for our key, at once
	if plugin == mysqlwire.CachingSHA2 {
		if err := e.say(mysqlwire.SHA2FullNeeded); err != nil {
			return err
		}
		var err error
		if answer, err = e.client.read(mysqlwire.MaxHandshake); err != nil {
			return fmt.Errorf("read password: %w", err)
		}
	}
	password, err := e.open(answer)
	if err != nil {
		return err
	}
	e.password = &password
	return nil
}

// open reads a password: as it is over a connection that nobody can listen
// to, else encrypted with our key, which a client may ask for first.
func (e *exam) open(answer []byte) (string, error) {
	if e.secure && !keyWanted(answer) {
		return clear(answer)
	}
	key, err := e.rsaKey()
	if err != nil {
		return "", fmt.Errorf("make RSA key: %w", err)
	}
	if keyWanted(answer) {
		public, err := mysqlwire.PublicKeyPEM(&key.PublicKey)
		if err != nil {
			return "", err
		}
		if err := e.say(public...); err != nil {
			return "", err
		}
		if answer, err = e.client.read(mysqlwire.MaxHandshake); err != nil {
			return "", fmt.Errorf("read encrypted password: %w", err)
		}
	}
	password, err := mysqlwire.Decrypt(answer, e.salt[:], key)
	if err != nil {
		return "", errFailed
	}
	return password, nil
}

func clear(answer []byte) (string, error) {
	password, err := mysqlwire.ParseClear(answer)
	if err != nil {
		return "", errFailed
	}
	return password, nil
}

func keyWanted(answer []byte) bool {
	return len(answer) == 1 && (answer[0] == mysqlwire.SHA2KeyWanted || answer[0] == mysqlwire.SHA256KeyWanted)
}

// say sends more data of the plugin that is in use.
func (e *exam) say(data ...byte) error {
	if err := e.client.write(mysqlwire.AppendAuthMore(nil, data...)); err != nil {
		return fmt.Errorf("answer proof: %w", err)
	}
	return nil
}

// sha1Of is what mysql_native_password makes of a password: nothing of none.
func sha1Of(password string) []byte {
	if password == "" {
		return nil
	}
	once := sha1.Sum([]byte(password))
	return once[:]
}
