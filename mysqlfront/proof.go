package mysqlfront

import (
	"fmt"

	"serverlessproxy/credential"
	"serverlessproxy/mysqlfront/mysqlwire"
)

// secrets are what logs a user in to the engine.
type secrets struct {
	sha1     []byte            // of the password
	password credential.Secret // where it is known
	known    bool              // whether the password is
}

// secretsOf are those of a user who has proved itself, or those that the
// operator configured for it.
func secretsOf(who identity, configured map[string]credential.Secret) secrets {
	if password, ok := configured[who.user]; ok {
		return secrets{sha1: sha1Of(string(password)), password: password, known: true}
	}
	empty := len(who.key.SHA1) == 0 && who.key.Password == ""
	return secrets{sha1: who.key.SHA1, password: who.key.Password, known: empty || who.key.Password != ""}
}

// proof is our side of an authentication by the engine: it asks by any plugin
// that it likes, and what we can give is given.
type proof struct {
	packets *packets
	secrets secrets
	// private tells that nobody can listen to the connection, and encrypted
	// that it is so by TLS.
	private, encrypted bool
	plugin             string
	salt               []byte
	lacking            string // a plugin for which we had nothing
}

// mostPackets bounds an authentication.
const mostPackets = 32

// first is the data for the plugin that the engine's greeting named.
func (p *proof) first() []byte {
	data, err := p.answer()
	if err != nil {
		p.lacking = p.plugin
	}
	return data
}

// finish goes on until the engine says OK, which it returns, or refuses.
func (p *proof) finish() ([]byte, error) {
	for range mostPackets {
		payload, err := p.packets.readAnswer(maxLoginPacket)
		if err != nil {
			return nil, p.explain(err)
		}
		var data []byte
		switch payload[0] {
		case mysqlwire.OKHeader:
			return payload, nil
		case mysqlwire.AuthSwitchHeader:
			data, err = p.switched(payload)
		case mysqlwire.AuthMoreHeader:
			if len(payload) == 2 && payload[1] == mysqlwire.SHA2FastOK && p.plugin == mysqlwire.CachingSHA2 {
				continue
			}
			data, err = p.more(payload[1:])
		default: // what does not need to be told from the others comes as it is
			data, err = p.more(payload)
		}
		if err != nil {
			p.lacking = p.plugin
		}
		if err := p.packets.write(data); err != nil {
			return nil, err
		}
	}
	return nil, errEndlessAnswers
}

// explain adds to a refusal what we could not give.
func (p *proof) explain(err error) error {
	if p.lacking == "" {
		return err
	}
	return fmt.Errorf("%w (%w: %s)", err, errUnknownPlugin, p.lacking)
}

// switched answers the wish for another plugin.
func (p *proof) switched(payload []byte) ([]byte, error) {
	plugin, salt, err := mysqlwire.ParseAuthSwitch(payload)
	if err != nil {
		return nil, err
	}
	p.plugin, p.salt = plugin, append([]byte(nil), salt...)
	return p.answer()
}

// answer is what the present plugin wants first. Without anything to give it
// is nothing: an engine that knows several ways goes on to the next.
func (p *proof) answer() ([]byte, error) {
	switch p.plugin {
	case mysqlwire.NativePassword, "":
		return mysqlwire.NativeProof(p.secrets.sha1, p.salt), nil
	case mysqlwire.Parsec:
		return nil, nil // asks for the password's salt
	}
	if !p.secrets.known {
		return nil, errUnknownPlugin
	}
	password := string(p.secrets.password)
	switch p.plugin {
	case mysqlwire.CachingSHA2:
		return mysqlwire.SHA2Proof(password, p.salt), nil
	case mysqlwire.SHA256Password: // which trusts TLS, and no Unix socket
		if p.encrypted || password == "" {
			return zeroEnded(password), nil
		}
		return []byte{mysqlwire.SHA256KeyWanted}, nil
	case mysqlwire.ClearPassword, mysqlwire.Dialog:
		if !p.private {
			return nil, errUnknownPlugin
		}
		return zeroEnded(password), nil
	case mysqlwire.Ed25519:
		return mysqlwire.Ed25519Proof(password, p.salt)
	}
	return nil, errUnknownPlugin
}

// more answers what the present plugin says after the first exchange.
func (p *proof) more(data []byte) ([]byte, error) {
	if !p.secrets.known {
		return nil, errUnknownPlugin
	}
	password := string(p.secrets.password)
	switch p.plugin {
	case mysqlwire.CachingSHA2, mysqlwire.SHA256Password:
		switch {
		case len(data) > 1:
			return mysqlwire.Encrypt(password, p.salt, data)
		case p.private:
			return zeroEnded(password), nil
		}
		return []byte{mysqlwire.SHA2KeyWanted}, nil
	case mysqlwire.Parsec:
		return mysqlwire.ParsecProof(password, p.salt, data)
	}
	return nil, errUnknownPlugin
}

func zeroEnded(s string) []byte { return append([]byte(s), 0) }
