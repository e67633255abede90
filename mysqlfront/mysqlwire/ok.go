package mysqlwire

import (
	"encoding/binary"
	"fmt"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// First bytes of the answers that are neither rows nor definitions.
const (
	OKHeader        byte = mysql.OK_HEADER
	ErrHeader       byte = mysql.ERR_HEADER
	EOFHeader       byte = mysql.EOF_HEADER
	LocalFileHeader byte = mysql.LocalInFile_HEADER
)

// OK is what an OK packet says (also the one that ends rows with
// CLIENT_DEPRECATE_EOF, which differs in its first byte alone).
type OK struct {
	AffectedRows, LastInsertID uint64
	Status, Warnings           uint16
	Info                       []byte
	// State is the session state information, undecoded: what changed, as
	// EachStateChange reads it. Empty unless SERVER_SESSION_STATE_CHANGED.
	State []byte
}

// AppendOK appends the payload of an OK packet as a client with these
// capabilities expects it.
func AppendOK(dst []byte, ok OK, caps Capabilities) []byte {
	dst = append(dst, OKHeader)
	dst = AppendUint(dst, ok.AffectedRows)
	dst = AppendUint(dst, ok.LastInsertID)
	status := ok.Status &^ mysql.SERVER_SESSION_STATE_CHANGED
	tracked := caps.Has(mysql.CLIENT_SESSION_TRACK)
	if tracked && len(ok.State) > 0 {
		status |= mysql.SERVER_SESSION_STATE_CHANGED
	}
	dst = binary.LittleEndian.AppendUint16(dst, status)
	dst = binary.LittleEndian.AppendUint16(dst, ok.Warnings)
	if !tracked {
		return append(dst, ok.Info...)
	}
	if len(ok.Info) == 0 && len(ok.State) == 0 {
		return dst
	}
	dst = AppendString(dst, ok.Info)
	if len(ok.State) > 0 {
		dst = AppendString(dst, ok.State)
	}
	return dst
}

// ParseOK reads the payload of an OK packet, with 0x00 or 0xFE in front. Info
// and State stay part of it.
func ParseOK(payload []byte, caps Capabilities) (OK, error) {
	var ok OK
	if len(payload) == 0 || payload[0] != OKHeader && payload[0] != EOFHeader {
		return ok, fmt.Errorf("parse OK: %w", ErrMalformed)
	}
	b := payload[1:]
	var n int
	if ok.AffectedRows, n = Uint(b); n == 0 {
		return ok, fmt.Errorf("parse OK's affected rows: %w", ErrMalformed)
	}
	b = b[n:]
	if ok.LastInsertID, n = Uint(b); n == 0 {
		return ok, fmt.Errorf("parse OK's last insert id: %w", ErrMalformed)
	}
	b = b[n:]
	if len(b) < 4 {
		return ok, fmt.Errorf("parse OK's status: %w", ErrMalformed)
	}
	ok.Status, ok.Warnings = binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:])
	b = b[4:]
	if !caps.Has(mysql.CLIENT_SESSION_TRACK) {
		ok.Info = b
		return ok, nil
	}
	return ok, ok.parseTracked(b)
}

// parseTracked reads what follows the warnings with CLIENT_SESSION_TRACK: an
// information text, which may be missing, and the changes of the session.
func (ok *OK) parseTracked(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	var whole bool
	if ok.Info, b, whole = String(b); !whole {
		return fmt.Errorf("parse OK's information: %w", ErrMalformed)
	}
	if ok.Status&mysql.SERVER_SESSION_STATE_CHANGED == 0 {
		return nil
	}
	if ok.State, _, whole = String(b); !whole {
		return fmt.Errorf("parse OK's session state: %w", ErrMalformed)
	}
	return nil
}

// StateChange is one entry of an OK packet's session state information.
type StateChange struct {
	Kind byte // mysql.SESSION_TRACK_…
	Data []byte
}

// EachStateChange calls visit for each change in an OK packet's State.
func EachStateChange(state []byte, visit func(StateChange)) error {
	for len(state) > 0 {
		kind := state[0]
		data, rest, ok := String(state[1:])
		if !ok {
			return fmt.Errorf("parse session state of kind %d: %w", kind, ErrMalformed)
		}
		visit(StateChange{Kind: kind, Data: data})
		state = rest
	}
	return nil
}

// Schema is the new current schema, for a change of kind SESSION_TRACK_SCHEMA.
func (c StateChange) Schema() (name []byte, ok bool) {
	if c.Kind != mysql.SESSION_TRACK_SCHEMA {
		return nil, false
	}
	name, _, ok = String(c.Data)
	return name, ok
}

// Variables calls visit for each system variable of a change of kind
// SESSION_TRACK_SYSTEM_VARIABLES (MariaDB may report several at once).
func (c StateChange) Variables(visit func(name, value []byte)) {
	if c.Kind != mysql.SESSION_TRACK_SYSTEM_VARIABLES {
		return
	}
	for b := c.Data; len(b) > 0; {
		name, rest, ok := String(b)
		if !ok {
			return
		}
		value, rest, ok := String(rest)
		if !ok {
			return
		}
		visit(name, value)
		b = rest
	}
}

// AppendErr appends the payload of an ERR packet.
func AppendErr(dst []byte, code uint16, sqlstate, message string) []byte {
	dst = append(dst, ErrHeader)
	dst = binary.LittleEndian.AppendUint16(dst, code)
	dst = append(dst, '#')
	dst = append(dst, (sqlstate + "HY000")[:5]...)
	return append(dst, message...)
}

// ServerError is what an ERR packet says.
type ServerError struct {
	Code     uint16
	SQLState string // HY000 where the server sent none, as before the handshake is over
	Message  string
}

func (e *ServerError) Error() string {
	return fmt.Sprintf("error %d (%s): %s", e.Code, e.SQLState, e.Message)
}

// ParseErr reads the payload of an ERR packet.
func ParseErr(payload []byte) (*ServerError, error) {
	if len(payload) < 3 || payload[0] != ErrHeader {
		return nil, fmt.Errorf("parse ERR: %w", ErrMalformed)
	}
	e := &ServerError{Code: binary.LittleEndian.Uint16(payload[1:]), SQLState: mysql.DEFAULT_MYSQL_STATE}
	b := payload[3:]
	if len(b) >= 6 && b[0] == '#' {
		e.SQLState, b = string(b[1:6]), b[6:]
	}
	e.Message = string(b)
	return e, nil
}

// AppendEOF appends the payload of an EOF packet (none is ever sent with
// CLIENT_DEPRECATE_EOF).
func AppendEOF(dst []byte, status, warnings uint16) []byte {
	dst = append(dst, EOFHeader)
	dst = binary.LittleEndian.AppendUint16(dst, warnings)
	return binary.LittleEndian.AppendUint16(dst, status)
}
