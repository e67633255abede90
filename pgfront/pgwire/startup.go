package pgwire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Version30 is the protocol that is spoken on both sides.
const Version30 = 3 << 16

// The codes that stand where a start-up message has its version.
const (
	cancelCode = 80877102
	sslCode    = 80877103
	gssCode    = 80877104
)

// maxStartup is the server's own limit for what follows the length.
const maxStartup = 10000

// tlsHandshake is the first byte of a TLS ClientHello.
const tlsHandshake = 0x16

// Kind is what a client may open with.
type Kind int

const (
	StartupMessage Kind = iota
	SSLRequest
	GSSEncRequest
	CancelRequest
	DirectTLS
)

var (
	ErrStartupLength = errors.New("invalid length of startup packet")
	ErrStartupLayout = errors.New("invalid startup packet layout: expected terminator as last byte")
)

// Parameter is one name and value of a start-up message.
type Parameter struct{ Name, Value string }

// Key is what a CancelRequest must show.
type Key struct{ PID, Secret uint32 }

// Startup is a client's first packet.
type Startup struct {
	Kind       Kind
	Version    uint32
	Parameters []Parameter
	// Unsupported are the protocol options (_pq_.*) that the client asked for.
	Unsupported []string
	Cancel      Key
	// LongKey tells that the key of a CancelRequest was no four bytes long:
	// then it is none of ours.
	LongKey bool
	// Prefix is what has been read of a ClientHello.
	Prefix []byte
}

// ReadStartup reads one start-up packet and not a byte more, so that what a
// stranger smuggled in behind an SSLRequest is never taken for plain text.
func ReadStartup(r io.Reader) (*Startup, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("read startup packet: %w", err)
	}
	if head[0] == tlsHandshake {
		return &Startup{Kind: DirectTLS, Prefix: head[:]}, nil
	}
	size := binary.BigEndian.Uint32(head[:])
	if size < 8 || size > maxStartup+4 {
		return nil, ErrStartupLength
	}
	body := make([]byte, size-4)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, fmt.Errorf("read startup packet: %w", err)
	}
	return parseStartup(body)
}

func parseStartup(body []byte) (*Startup, error) {
	code, rest := binary.BigEndian.Uint32(body), body[4:]
	switch code {
	case sslCode:
		return emptyRequest(SSLRequest, rest)
	case gssCode:
		return emptyRequest(GSSEncRequest, rest)
	case cancelCode:
		return parseCancel(rest)
	}
	s := &Startup{Kind: StartupMessage, Version: code}
	if s.Major() != 3 {
		return s, nil // another protocol has another layout
	}
	return s, s.parseParameters(rest)
}

func emptyRequest(kind Kind, rest []byte) (*Startup, error) {
	if len(rest) != 0 {
		return nil, ErrStartupLength
	}
	return &Startup{Kind: kind}, nil
}

func parseCancel(rest []byte) (*Startup, error) {
	if len(rest) < 8 {
		return nil, ErrStartupLength
	}
	return &Startup{
		Kind:    CancelRequest,
		Cancel:  Key{PID: binary.BigEndian.Uint32(rest), Secret: binary.BigEndian.Uint32(rest[4:])},
		LongKey: len(rest) != 8,
	}, nil
}

func (s *Startup) parseParameters(rest []byte) error {
	for {
		name, after, ok := bytes.Cut(rest, []byte{0})
		if !ok {
			return ErrStartupLayout
		}
		if len(name) == 0 {
			if len(after) != 0 {
				return ErrStartupLayout
			}
			return nil
		}
		value, next, ok := bytes.Cut(after, []byte{0})
		if !ok {
			return ErrStartupLayout
		}
		if strings.HasPrefix(string(name), "_pq_.") {
			s.Unsupported = append(s.Unsupported, string(name))
		} else {
			s.Parameters = append(s.Parameters, Parameter{string(name), string(value)})
		}
		rest = next
	}
}

func (s *Startup) Major() uint32 { return s.Version >> 16 }
func (s *Startup) Minor() uint32 { return s.Version & 0xffff }

// Get returns a parameter's value; the last one counts, as in the server.
func (s *Startup) Get(name string) string {
	for i := len(s.Parameters) - 1; i >= 0; i-- {
		if s.Parameters[i].Name == name {
			return s.Parameters[i].Value
		}
	}
	return ""
}

// AppendStartup appends a start-up message of protocol 3.0.
func AppendStartup(dst []byte, parameters []Parameter) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, Version30)
	for _, p := range parameters {
		dst = append(append(dst, p.Name...), 0)
		dst = append(append(dst, p.Value...), 0)
	}
	dst = append(dst, 0)
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at))
	return dst
}

// AppendSSLRequest appends an SSLRequest.
func AppendSSLRequest(dst []byte) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(dst, 8), sslCode)
}

// AppendCancel appends a CancelRequest.
func AppendCancel(dst []byte, key Key) []byte {
	dst = binary.BigEndian.AppendUint32(dst, 16)
	dst = binary.BigEndian.AppendUint32(dst, cancelCode)
	dst = binary.BigEndian.AppendUint32(dst, key.PID)
	return binary.BigEndian.AppendUint32(dst, key.Secret)
}

// AppendNegotiateVersion appends the answer to a client that asked for more
// than protocol 3.0.
func AppendNegotiateVersion(dst []byte, unsupported []string) []byte {
	return appendMessage(dst, NegotiateVersion, func(dst []byte) []byte {
		dst = binary.BigEndian.AppendUint32(dst, Version30)
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(unsupported)))
		for _, name := range unsupported {
			dst = append(append(dst, name...), 0)
		}
		return dst
	})
}
