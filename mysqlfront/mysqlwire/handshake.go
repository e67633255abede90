package mysqlwire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// SaltSize is the length of the salt of a greeting and of an AuthSwitch.
const SaltSize = 20

// MaxHandshake is the longest packet that a client may send before it is
// authenticated: its attributes alone may take 64 KiB.
const MaxHandshake = 68 << 10

// ErrOldProtocol says that a client speaks the protocol from before MySQL 4.1.
var ErrOldProtocol = errors.New("protocol older than 4.1")

// Greeting is what a server says first.
type Greeting struct {
	ServerVersion string
	ConnectionID  uint32
	Salt          [SaltSize]byte
	Capabilities  Capabilities
	Charset       byte
	Status        uint16
	Plugin        string
}

const (
	protocolVersion   = 10
	reservedBytes     = 10 // MySQL; MariaDB has its extended capabilities in the last four
	saltFirst         = 8  // of the salt, what the oldest servers sent
	saltLengthWithEnd = SaltSize + 1
)

// IsMariaDB tells whether capabilities are MariaDB's: it does not set the
// flag that its own extended ones took the place of.
func (c Capabilities) IsMariaDB() bool { return !c.Has(mysql.CLIENT_LONG_PASSWORD) }

// AppendGreeting appends the payload of a greeting.
func AppendGreeting(dst []byte, g Greeting) []byte {
	dst = append(dst, protocolVersion)
	dst = append(append(dst, g.ServerVersion...), 0)
	dst = binary.LittleEndian.AppendUint32(dst, g.ConnectionID)
	dst = append(append(dst, g.Salt[:saltFirst]...), 0)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(g.Capabilities))
	dst = append(dst, g.Charset)
	dst = binary.LittleEndian.AppendUint16(dst, g.Status)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(g.Capabilities>>16))
	dst = append(dst, saltLengthWithEnd)
	dst = append(dst, make([]byte, reservedBytes-4)...)
	dst = binary.LittleEndian.AppendUint32(dst, extended(g.Capabilities, g.Capabilities))
	dst = append(append(dst, g.Salt[saltFirst:]...), 0)
	return append(append(dst, g.Plugin...), 0)
}

// extended is the extended half of c, where those of the one who decides have
// a place for it.
func extended(c, decides Capabilities) uint32 {
	if !decides.IsMariaDB() {
		return 0
	}
	return uint32(c >> 32)
}

// ParseGreeting reads the payload of a greeting. Strings are copies.
func ParseGreeting(payload []byte) (Greeting, error) {
	var g Greeting
	if len(payload) == 0 || payload[0] != protocolVersion {
		return g, fmt.Errorf("parse greeting's protocol version: %w", ErrMalformed)
	}
	version, b, ok := NullString(payload[1:])
	if !ok || len(b) < 31 {
		return g, fmt.Errorf("parse greeting: %w", ErrMalformed)
	}
	g.ServerVersion = string(version)
	g.ConnectionID = binary.LittleEndian.Uint32(b)
	copy(g.Salt[:], b[4:4+saltFirst])
	b = b[4+saltFirst+1:]
	g.Capabilities = Capabilities(binary.LittleEndian.Uint16(b)) | Capabilities(binary.LittleEndian.Uint16(b[5:]))<<16
	g.Charset = b[2]
	g.Status = binary.LittleEndian.Uint16(b[3:])
	saltLength := int(b[7])
	if g.Capabilities.IsMariaDB() {
		g.Capabilities |= Capabilities(binary.LittleEndian.Uint32(b[8+reservedBytes-4:])) << 32
	}
	b = b[8+reservedBytes:]
	rest := max(SaltSize-saltFirst+1, saltLength-saltFirst)
	if len(b) < rest {
		return g, fmt.Errorf("parse greeting's salt: %w", ErrMalformed)
	}
	copy(g.Salt[saltFirst:], b)
	g.Plugin = string(upToZero(b[rest:]))
	return g, nil
}

func upToZero(b []byte) []byte {
	before, _, _ := bytes.Cut(b, []byte{0})
	return before
}

// Response is what a client answers a greeting with (HandshakeResponse41).
type Response struct {
	Capabilities Capabilities
	MaxPacket    uint32
	Charset      byte
	User         string
	Auth         []byte
	Database     string
	Plugin       string
	Attributes   []Attribute
	ZstdLevel    byte
}

// Attribute is one connection attribute.
type Attribute struct{ Name, Value string }

const (
	responseHead = 32 // capabilities, packet size, character set, filler
	fillerLength = 23
)

// IsSSLRequest tells whether a client's first packet is the request for TLS
// rather than the response.
func IsSSLRequest(payload []byte) bool {
	return len(payload) == responseHead && binary.LittleEndian.Uint32(payload)&mysql.CLIENT_SSL != 0
}

// AppendSSLRequest appends the payload of a request for TLS.
func AppendSSLRequest(dst []byte, r Response) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(r.Capabilities))
	dst = binary.LittleEndian.AppendUint32(dst, r.MaxPacket)
	dst = append(dst, r.Charset)
	dst = append(dst, make([]byte, fillerLength-4)...)
	return binary.LittleEndian.AppendUint32(dst, extended(r.Capabilities, r.Capabilities))
}

// AppendResponse appends the payload of a response. Its capabilities decide
// which fields it has.
func AppendResponse(dst []byte, r Response) []byte {
	dst = AppendSSLRequest(dst, r)
	dst = append(append(dst, r.User...), 0)
	switch {
	case r.Capabilities.Has(mysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA):
		dst = AppendString(dst, r.Auth)
	default:
		dst = append(dst, byte(len(r.Auth)))
		dst = append(dst, r.Auth...)
	}
	if r.Capabilities.Has(mysql.CLIENT_CONNECT_WITH_DB) {
		dst = append(append(dst, r.Database...), 0)
	}
	if r.Capabilities.Has(mysql.CLIENT_PLUGIN_AUTH) {
		dst = append(append(dst, r.Plugin...), 0)
	}
	if r.Capabilities.Has(mysql.CLIENT_CONNECT_ATTRS) {
		dst = appendAttributes(dst, r.Attributes)
	}
	if r.Capabilities.Has(mysql.CLIENT_ZSTD_COMPRESSION_ALGORITHM) {
		dst = append(dst, r.ZstdLevel)
	}
	return dst
}

func appendAttributes(dst []byte, attributes []Attribute) []byte {
	var all []byte
	for _, a := range attributes {
		all = AppendString(AppendString(all, a.Name), a.Value)
	}
	return AppendString(dst, all)
}

// ParseResponse reads the payload of a client's response. Nothing of it stays
// part of the payload. offered are the greeting's capabilities: what the
// server did not offer, a client cannot have agreed on.
func ParseResponse(payload []byte, offered Capabilities) (Response, error) {
	var r Response
	if len(payload) >= 2 && !Capabilities(binary.LittleEndian.Uint16(payload)).Has(mysql.CLIENT_PROTOCOL_41) {
		return r, fmt.Errorf("parse handshake response: %w", ErrOldProtocol)
	}
	if len(payload) < responseHead {
		return r, fmt.Errorf("parse handshake response: %w", ErrMalformed)
	}
	said := Capabilities(binary.LittleEndian.Uint32(payload))
	if offered.IsMariaDB() && said.IsMariaDB() {
		said |= Capabilities(binary.LittleEndian.Uint32(payload[responseHead-4:])) << 32
	}
	r.Capabilities = said & (offered | Capabilities(mysql.CLIENT_SSL|mysql.CLIENT_LONG_PASSWORD))
	r.MaxPacket = binary.LittleEndian.Uint32(payload[4:])
	r.Charset = payload[8]
	return r, r.parseFields(payload[responseHead:], said)
}

// parseFields reads what follows the fixed part. A client lays it out by the
// capabilities that it said, whether they were offered or not.
func (r *Response) parseFields(b []byte, said Capabilities) error {
	user, b, ok := NullString(b)
	if !ok {
		return fmt.Errorf("parse handshake response's user: %w", ErrMalformed)
	}
	r.User = string(user)
	auth, b, ok := authData(b, said)
	if !ok {
		return fmt.Errorf("parse handshake response's authentication data: %w", ErrMalformed)
	}
	r.Auth = bytes.Clone(auth)
	if said.Has(mysql.CLIENT_CONNECT_WITH_DB) {
		r.Database, b = lastString(b)
	}
	if said.Has(mysql.CLIENT_PLUGIN_AUTH) {
		r.Plugin, b = lastString(b)
	}
	if said.Has(mysql.CLIENT_CONNECT_ATTRS) {
		if r.Attributes, b, ok = parseAttributes(b); !ok {
			return fmt.Errorf("parse connection attributes: %w", ErrMalformed)
		}
	}
	if said.Has(mysql.CLIENT_ZSTD_COMPRESSION_ALGORITHM) && len(b) > 0 {
		r.ZstdLevel = b[0]
	}
	return nil
}

// authData reads the proof in the form that the capabilities call for.
func authData(b []byte, said Capabilities) (auth, rest []byte, ok bool) {
	switch {
	case said.Has(mysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA):
		return String(b)
	case said.Has(mysql.CLIENT_SECURE_CONNECTION):
		return shortString(b)
	}
	return NullString(b)
}

// shortString reads a string after one byte of length.
func shortString(b []byte) (s, rest []byte, ok bool) {
	if len(b) == 0 || len(b)-1 < int(b[0]) {
		return nil, b, false
	}
	end := 1 + int(b[0])
	return b[1:end:end], b[end:], true
}

// lastString reads a string that ends with a zero byte or with the packet:
// clients leave out the last zero, or the whole field, where nothing follows.
func lastString(b []byte) (string, []byte) {
	if s, rest, ok := NullString(b); ok {
		return string(s), rest
	}
	return string(b), nil
}

// parseAttributes reads connection attributes; a missing field is none.
func parseAttributes(b []byte) (attributes []Attribute, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, nil, true
	}
	all, rest, ok := String(b)
	for ok && len(all) > 0 {
		var name, value []byte
		if name, all, ok = String(all); !ok {
			break
		}
		if value, all, ok = String(all); !ok {
			break
		}
		attributes = append(attributes, Attribute{Name: string(name), Value: string(value)})
	}
	return attributes, rest, ok
}

// ChangeUser is the command that authenticates a session anew.
type ChangeUser struct {
	User       string
	Auth       []byte
	Database   string
	Charset    uint16
	Plugin     string
	Attributes []Attribute
}

// AppendChangeUser appends the payload of COM_CHANGE_USER.
func AppendChangeUser(dst []byte, c ChangeUser, caps Capabilities) []byte {
	dst = append(dst, mysql.COM_CHANGE_USER)
	dst = append(append(dst, c.User...), 0)
	dst = append(dst, byte(len(c.Auth)))
	dst = append(dst, c.Auth...)
	dst = append(append(dst, c.Database...), 0)
	dst = binary.LittleEndian.AppendUint16(dst, c.Charset)
	if caps.Has(mysql.CLIENT_PLUGIN_AUTH) {
		dst = append(append(dst, c.Plugin...), 0)
	}
	if caps.Has(mysql.CLIENT_CONNECT_ATTRS) {
		dst = appendAttributes(dst, c.Attributes)
	}
	return dst
}

// ParseChangeUser reads the payload of COM_CHANGE_USER. Nothing of it stays
// part of the payload.
func ParseChangeUser(payload []byte, caps Capabilities) (ChangeUser, error) {
	var c ChangeUser
	if len(payload) == 0 || payload[0] != mysql.COM_CHANGE_USER {
		return c, fmt.Errorf("parse change of user: %w", ErrMalformed)
	}
	user, b, ok := NullString(payload[1:])
	if !ok {
		return c, fmt.Errorf("parse change of user's name: %w", ErrMalformed)
	}
	c.User = string(user)
	auth, b, ok := authData(b, caps&^Capabilities(mysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA))
	if !ok {
		return c, fmt.Errorf("parse change of user's authentication data: %w", ErrMalformed)
	}
	c.Auth = bytes.Clone(auth)
	c.Database, b = lastString(b)
	if len(b) >= 2 {
		c.Charset, b = binary.LittleEndian.Uint16(b), b[2:]
	}
	if caps.Has(mysql.CLIENT_PLUGIN_AUTH) {
		c.Plugin, b = lastString(b)
	}
	if caps.Has(mysql.CLIENT_CONNECT_ATTRS) {
		if c.Attributes, _, ok = parseAttributes(b); !ok {
			return c, fmt.Errorf("parse connection attributes: %w", ErrMalformed)
		}
	}
	return c, nil
}

// AppendOldErr appends the payload of an ERR packet as clients from before 4.1
// read it: without an SQLSTATE.
func AppendOldErr(dst []byte, code uint16, message string) []byte {
	dst = append(dst, ErrHeader)
	dst = binary.LittleEndian.AppendUint16(dst, code)
	return append(dst, message...)
}
