package mysql

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"

	"github.com/go-mysql-org/go-mysql/mysql"

	"serverlessproxy/credential"
)

// eavesdropper keeps the first packet that is read through it: the client
// library does not show the greeting.
type eavesdropper struct {
	net.Conn
	heard []byte
}

const (
	packetHeader    = 4
	greatestHearing = 1024 // a greeting is some hundred bytes
)

func (e *eavesdropper) Read(b []byte) (int, error) {
	n, err := e.Conn.Read(b)
	if e.packet() == nil && len(e.heard) < greatestHearing {
		e.heard = append(e.heard, b[:n]...)
	}
	return n, err
}

// packet is the first packet's payload, once all of it has been read.
func (e *eavesdropper) packet() []byte {
	if len(e.heard) < packetHeader {
		return nil
	}
	end := packetHeader + (int(e.heard[0]) | int(e.heard[1])<<8 | int(e.heard[2])<<16)
	if len(e.heard) < end {
		return nil
	}
	return e.heard[packetHeader:end]
}

// parseGreeting reads a protocol 10 handshake.
func parseGreeting(b []byte) (credential.Greeting, error) {
	var g credential.Greeting
	if len(b) == 0 || b[0] != mysql.ClassicProtocolVersion {
		return g, fmt.Errorf("%w: not of protocol 10", errGreeting)
	}
	version, rest, found := bytes.Cut(b[1:], []byte{0})
	// connection id, 8 bytes of salt, 0, capabilities, charset, status,
	// capabilities, length of the salt, 6 reserved, MariaDB's capabilities
	const fixed = 4 + 8 + 1 + 2 + 1 + 2 + 2 + 1 + 6 + 4
	if !found || len(rest) < fixed {
		return g, fmt.Errorf("%w: cut short", errGreeting)
	}
	g.ServerVersion = string(version)
	g.Capabilities = uint32(binary.LittleEndian.Uint16(rest[13:])) | uint32(binary.LittleEndian.Uint16(rest[18:]))<<16
	g.Charset = rest[15]
	g.Status = binary.LittleEndian.Uint16(rest[16:])
	// MariaDB leaves the first capability away to say that it is not MySQL,
	// and that the last reserved bytes are more capabilities.
	if g.Capabilities&mysql.CLIENT_LONG_PASSWORD == 0 {
		g.Extended = binary.LittleEndian.Uint32(rest[27:])
	}
	if g.Capabilities&mysql.CLIENT_PLUGIN_AUTH != 0 {
		salt := max(13, int(rest[20])-8)
		if len(rest) < fixed+salt {
			return g, fmt.Errorf("%w: cut short", errGreeting)
		}
		plugin, _, _ := bytes.Cut(rest[fixed+salt:], []byte{0})
		g.DefaultPlugin = string(plugin)
	}
	return g, nil
}
