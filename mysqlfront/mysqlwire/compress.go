package mysqlwire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

const (
	// compressedHeader is the length of a compressed packet's header: length
	// as sent (3 bytes), sequence number, length before compression (3 bytes,
	// 0 for what is sent as it is).
	compressedHeader = 7
	// worthCompressing is the shortest payload that servers compress.
	worthCompressing = 50
	// maxChunk bounds what one compressed packet of ours holds, and with it
	// what has to be kept in memory to make it.
	maxChunk = 256 << 10
	// keptBuffer is the largest buffer that an idle connection keeps.
	keptBuffer = 4 << 10
)

// ErrCompressed says that a connection's compressed stream is broken.
var ErrCompressed = errors.New("malformed compressed packet")

// Compressed is the server's end of a connection on which compression was
// agreed on. It has the compressed protocol's own sequence numbers: what is
// written continues the numbers of what was read last. A read or write that
// timed out may be tried again if nothing of it was written.
//
// The packets inside may be numbered by the client as it likes (MySQL's and
// MariaDB's own clients do): Config.Renumber is for that.
type Compressed struct {
	net.Conn
	algorithm Algorithm

	in inflow // of the one who reads

	writing  sync.Mutex // held for a whole Write; protects writeErr
	writeErr error      // what broke the outgoing stream

	mu   sync.Mutex // protects next
	next byte       // the number of the next packet that is written
}

// inflow is how far the incoming stream has come.
type inflow struct {
	header [compressedHeader]byte
	have   int           // bytes of header
	raw    int           // bytes to come that are not compressed
	packet []byte        // a compressed payload, as far as it has come
	need   int           // its length, 0 between packets
	plain  io.ReadCloser // what it inflates to, while not all is read
	left   int           // bytes of plain to come
	err    error         // what broke the stream
}

// NewCompressed wraps a connection from where the login's OK has been written.
// Bytes of c that were read before are lost to it.
func NewCompressed(c net.Conn, a Algorithm) *Compressed {
	return &Compressed{Conn: c, algorithm: a}
}

// NetConn is the connection below.
func (c *Compressed) NetConn() net.Conn { return c.Conn }

// Read reads what was compressed.
func (c *Compressed) Read(p []byte) (int, error) {
	in := &c.in
	for len(p) > 0 && in.err == nil {
		switch {
		case in.plain != nil:
			n, err := in.inflate(p)
			if err != nil {
				in.fail(err)
			}
			if n > 0 {
				return n, nil
			}
		case in.raw > 0:
			n, err := c.Conn.Read(p[:min(len(p), in.raw)])
			in.raw -= n
			if n > 0 || err != nil {
				return n, within(err, in.raw > 0)
			}
		case in.need > 0:
			if err := c.readPacket(); err != nil {
				return 0, err
			}
		default:
			if err := c.readHeader(); err != nil {
				return 0, err
			}
		}
	}
	return 0, in.err
}

// readHeader reads a header, as far as it has come; what is missing is read by
// the next Read.
func (c *Compressed) readHeader() error {
	in := &c.in
	n, err := c.Conn.Read(in.header[in.have:])
	in.have += n
	if in.have < compressedHeader {
		return within(err, in.have > 0)
	}
	in.have = 0
	length, seq := Header(in.header[:])
	before := int(in.header[4]) | int(in.header[5])<<8 | int(in.header[6])<<16
	c.follow(seq)
	switch {
	case before == 0:
		in.raw = length
	case length == 0:
		in.fail(fmt.Errorf("nothing that inflates to %d bytes", before))
	default:
		in.need, in.left = length, before
	}
	return nil
}

// readPacket reads of a compressed payload what has come; memory grows with
// what arrives, not with what the header promises.
func (c *Compressed) readPacket() error {
	in := &c.in
	const step = 64 << 10
	start := len(in.packet)
	in.packet = append(in.packet, make([]byte, min(in.need-start, step))...)
	n, err := c.Conn.Read(in.packet[start:])
	in.packet = in.packet[:start+n]
	if len(in.packet) < in.need {
		return within(err, true)
	}
	in.need = 0
	plain, err := c.algorithm.inflate(bytes.NewReader(in.packet))
	if err != nil {
		in.fail(err)
		return nil
	}
	in.plain = plain
	return nil
}

// within tells an end in the middle of a packet from one between two.
func within(err error, packet bool) error {
	if packet && errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// inflate reads from the present payload and gives back what held it at its
// end. No more than the header promised is ever inflated.
func (in *inflow) inflate(p []byte) (n int, err error) {
	n, err = in.plain.Read(p[:min(len(p), in.left)])
	in.left -= n
	if in.left > 0 && err == nil {
		return n, nil
	}
	if in.left == 0 {
		err = in.atEnd()
	}
	in.plain.Close()
	in.plain = nil
	in.packet = in.packet[:0]
	if cap(in.packet) > keptBuffer {
		in.packet = nil
	}
	return n, err
}

// atEnd reads the end of the compressed payload, and with it its checksum.
func (in *inflow) atEnd() error {
	var more [1]byte
	n, err := in.plain.Read(more[:])
	if n > 0 {
		return errors.New("it inflates to more than it says")
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// fail breaks the stream. What went wrong is not wrapped: an end that comes too
// early is not the connection's end.
func (in *inflow) fail(why error) { in.err = fmt.Errorf("%w: %v", ErrCompressed, why) }

// follow makes the next packet that is written the one after seq.
func (c *Compressed) follow(seq byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next = seq + 1
}

func (c *Compressed) number() byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	return c.next - 1
}

// Write compresses p and writes it, in one write for each maxChunk of it. A
// write that failed in the middle of a packet breaks the stream for good.
func (c *Compressed) Write(p []byte) (written int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.writeErr != nil {
		return 0, c.writeErr
	}
	out := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(out)
	for len(p) > 0 {
		chunk := p[:min(len(p), maxChunk)]
		seq := c.number()
		if err := c.pack(out, chunk, seq); err != nil {
			c.writeErr = err
			return written, err
		}
		if n, err := c.Conn.Write(out.Bytes()); err != nil {
			if n > 0 {
				c.writeErr = err
			} else {
				c.follow(seq - 1)
			}
			return written, err
		}
		written += len(chunk)
		p = p[len(chunk):]
	}
	return written, nil
}

// pack puts a compressed packet into out: chunk as it is where compression
// does not make it shorter.
func (c *Compressed) pack(out *bytes.Buffer, chunk []byte, seq byte) error {
	var header [compressedHeader]byte
	out.Reset()
	out.Write(header[:])
	before := 0
	if len(chunk) >= worthCompressing {
		if err := c.algorithm.deflate(out, chunk); err != nil {
			return fmt.Errorf("compress: %w", err)
		}
		before = len(chunk)
	}
	if before == 0 || out.Len()-compressedHeader >= len(chunk) {
		before = 0
		out.Truncate(compressedHeader)
		out.Write(chunk)
	}
	length := out.Len() - compressedHeader
	AppendHeader(out.Bytes()[:0], length, seq)
	copy(out.Bytes()[4:compressedHeader], []byte{byte(before), byte(before >> 8), byte(before >> 16)})
	return nil
}

// buffers hold packets that are being written.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}
