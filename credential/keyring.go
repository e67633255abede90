package credential

import "sync"

// Keyring keeps, in memory alone, what logs a user in again: a SCRAM
// ClientKey, SHA1 of a MySQL password, or a password that the client gave in
// full. Keys of one user are never given for another.
type Keyring struct {
	mu   sync.Mutex // protects keys
	keys map[string]Key
}

// Key is one user's key. Verifier is the verifier that it was proved against:
// a key whose verifier is no longer the user's is worth nothing.
type Key struct {
	ClientKey []byte // SCRAM-SHA-256
	ServerKey []byte
	SHA1      []byte // mysql_native_password: SHA1(password)
	Password  Secret
	Verifier  Secret
}

func NewKeyring() *Keyring { return &Keyring{keys: map[string]Key{}} }

// Put keeps a key for user (MySQL: "user@host" of the account).
func (k *Keyring) Put(user string, key Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys[user] = key
}

// Get returns user's key if it was proved against this verifier.
func (k *Keyring) Get(user string, verifier Secret) (Key, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key, ok := k.keys[user]
	return key, ok && key.Verifier == verifier
}
