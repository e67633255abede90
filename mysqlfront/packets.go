package mysqlfront

import (
	"fmt"
	"net"

	"serverlessproxy/mysqlfront/mysqlwire"
)

// packets is one side of a conversation in blocking code: one packet at a
// time, numbered in turn.
type packets struct {
	conn  net.Conn
	seq   byte
	heard func() // called for each packet read; may be nil
}

// read reads one packet of at most limit bytes.
func (p *packets) read(limit int) ([]byte, error) {
	payload, seq, err := mysqlwire.ReadPacket(p.conn, limit)
	p.seq = seq + 1
	if err == nil && p.heard != nil {
		p.heard()
	}
	return payload, err
}

// write sends one packet as the next in turn.
func (p *packets) write(payload []byte) error {
	next, err := mysqlwire.WritePacket(p.conn, p.seq, payload)
	p.seq = next
	return err
}

// readAnswer reads one packet and turns an ERR into an error.
func (p *packets) readAnswer(limit int) ([]byte, error) {
	payload, err := p.read(limit)
	if err != nil {
		return nil, err
	}
	if len(payload) == 0 {
		return nil, fmt.Errorf("read answer: %w", mysqlwire.ErrMalformed)
	}
	if payload[0] != mysqlwire.ErrHeader {
		return payload, nil
	}
	refusal, err := mysqlwire.ParseErr(payload)
	if err != nil {
		return nil, err
	}
	return nil, refusal
}
