// Package mysqlwire turns bytes of the MySQL/MariaDB client/server protocol
// (4.1 and later) into fields and back.
//
// It owns the packet layer (packet.go, ok.go), the connection phase's codec
// (handshake*.go, auth*.go), the Tracker that follows the command phase of one
// session from both directions (tracker*.go, command*.go), and the compressed
// protocol as a net.Conn (compress*.go). It knows nothing of sockets that it
// was not given, of clusters, accounts or the relay's loop, and starts no
// goroutine. It has no locks: a Tracker belongs to one goroutine at a time, a
// compressed connection may be read and written by two at once, as any
// net.Conn.
package mysqlwire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/go-mysql-org/go-mysql/mysql"
)

const (
	// HeaderSize is the length of a packet's header: payload length (3 bytes,
	// little-endian) and sequence number.
	HeaderSize = 4
	// MaxPacket is the longest payload of one packet. A payload of just this
	// length is continued by the next packet, which may be empty.
	MaxPacket = mysql.MaxPayloadLen
)

// Sentinels of the package.
var (
	// ErrTooLarge says that a payload would be longer than its reader takes.
	ErrTooLarge = errors.New("packet larger than allowed")
	// ErrSequence says that a packet did not continue the one before it.
	ErrSequence = errors.New("packets out of order")
	// ErrMalformed says that a packet does not hold what its kind must hold.
	ErrMalformed = errors.New("malformed packet")
)

// Capabilities are what client and server agreed on: MySQL's flags (go-mysql's
// mysql.CLIENT_…) in the low 32 bits, MariaDB's extended ones above them.
type Capabilities uint64

// MariaDB's extended capabilities.
const (
	MariaDBProgress         Capabilities = 1 << 32 // progress reports before an answer
	MariaDBComMulti         Capabilities = 1 << 33 // never implemented by a released server
	MariaDBBulkOperations   Capabilities = 1 << 34 // COM_STMT_BULK_EXECUTE
	MariaDBExtendedMetadata Capabilities = 1 << 35 // type names in column definitions
	MariaDBCacheMetadata    Capabilities = 1 << 36 // prepared results may leave out definitions
	MariaDBBulkUnitResults  Capabilities = 1 << 37 // one result row per bulk row
)

// Has tells whether all of MySQL's flags in f were agreed on.
func (c Capabilities) Has(f uint32) bool { return uint32(c)&f == f }

// HasExtended tells whether all of MariaDB's flags in f were agreed on.
func (c Capabilities) HasExtended(f Capabilities) bool { return c&f == f }

// Header takes a packet's header apart; b has at least HeaderSize bytes.
func Header(b []byte) (length int, seq byte) {
	return int(b[0]) | int(b[1])<<8 | int(b[2])<<16, b[3]
}

// ReadPacket reads one payload, put together from as many packets as it takes,
// and the sequence number of the last of them. It reads no byte beyond it, and
// sets memory aside only as payload arrives. A payload longer than limit is
// ErrTooLarge, known from its header alone.
func ReadPacket(r io.Reader, limit int) (payload []byte, seq byte, err error) {
	var header [HeaderSize]byte
	for first := true; ; first = false {
		if _, err := io.ReadFull(r, header[:]); err != nil {
			return nil, 0, readError("header", err, first)
		}
		length, next := Header(header[:])
		if !first && next != seq+1 {
			return nil, 0, fmt.Errorf("read packet %d after %d: %w", next, seq, ErrSequence)
		}
		seq = next
		if len(payload)+length > limit {
			return nil, seq, fmt.Errorf("read packet of %d bytes, %d allowed: %w", len(payload)+length, limit, ErrTooLarge)
		}
		if payload, err = appendFrom(payload, r, length); err != nil {
			return nil, seq, readError("payload", err, false)
		}
		if length < MaxPacket {
			return payload, seq, nil
		}
	}
}

// readError keeps a plain io.EOF where the stream ended between two packets.
func readError(what string, err error, between bool) error {
	if errors.Is(err, io.EOF) && between {
		return io.EOF
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read packet %s: %w", what, err)
}

// appendFrom reads n bytes in steps, so that a header that promises much costs
// nothing until the bytes are there.
func appendFrom(dst []byte, r io.Reader, n int) ([]byte, error) {
	const step = 64 << 10
	for n > 0 {
		part := min(n, step)
		start := len(dst)
		dst = append(dst, make([]byte, part)...)
		if _, err := io.ReadFull(r, dst[start:]); err != nil {
			return nil, err
		}
		n -= part
	}
	return dst, nil
}

// AppendHeader appends a packet's header.
func AppendHeader(dst []byte, length int, seq byte) []byte {
	return append(dst, byte(length), byte(length>>8), byte(length>>16), seq)
}

// AppendPacket appends payload as one packet, or as several where it is longer
// than MaxPacket, numbered from seq on.
func AppendPacket(dst []byte, seq byte, payload []byte) []byte {
	for len(payload) >= MaxPacket {
		dst = AppendHeader(dst, MaxPacket, seq)
		dst = append(dst, payload[:MaxPacket]...)
		payload = payload[MaxPacket:]
		seq++
	}
	dst = AppendHeader(dst, len(payload), seq)
	return append(dst, payload...)
}

// WritePacket writes payload as AppendPacket does and returns the sequence
// number that comes next.
func WritePacket(w io.Writer, seq byte, payload []byte) (next byte, err error) {
	b := make([]byte, 0, len(payload)+HeaderSize*(1+len(payload)/MaxPacket))
	if _, err := w.Write(AppendPacket(b, seq, payload)); err != nil {
		return seq, fmt.Errorf("write packet: %w", err)
	}
	return seq + 1 + byte(len(payload)/MaxPacket), nil
}

// Uint reads a length-encoded integer and says how many bytes it took: 0 where
// b is too short for it, or holds NULL (0xFB) or an error's 0xFF.
func Uint(b []byte) (v uint64, n int) {
	if len(b) == 0 {
		return 0, 0
	}
	n = uintSize(b[0])
	if n == 0 || len(b) < n {
		return 0, 0
	}
	switch n {
	case 1:
		return uint64(b[0]), 1
	case 9:
		return binary.LittleEndian.Uint64(b[1:]), 9
	}
	return mysql.FixedLengthInt(b[1:n]), n
}

// uintSize is the length of a length-encoded integer that begins with first.
func uintSize(first byte) int {
	switch first {
	case 0xfb, 0xff:
		return 0
	case 0xfc:
		return 3
	case 0xfd:
		return 4
	case 0xfe:
		return 9
	}
	return 1
}

// AppendUint appends a length-encoded integer.
func AppendUint(dst []byte, v uint64) []byte { return mysql.AppendLengthEncodedInteger(dst, v) }

// String reads a length-encoded string, which stays part of b, and returns
// what follows it.
func String(b []byte) (s, rest []byte, ok bool) {
	length, n := Uint(b)
	if n == 0 || length > uint64(len(b)-n) {
		return nil, b, false
	}
	end := n + int(length)
	return b[n:end:end], b[end:], true
}

// AppendString appends a length-encoded string.
func AppendString[S ~string | ~[]byte](dst []byte, s S) []byte {
	return append(AppendUint(dst, uint64(len(s))), s...)
}

// NullString reads a string that ends with a zero byte, without that byte.
func NullString(b []byte) (s, rest []byte, ok bool) {
	for i, c := range b {
		if c == 0 {
			return b[:i:i], b[i+1:], true
		}
	}
	return nil, b, false
}
