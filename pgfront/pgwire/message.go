package pgwire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrMessageLength is a header whose length cannot be.
var ErrMessageLength = errors.New("invalid message length")

// Reader reads whole messages, for a login; it holds no more of them than its
// limit.
type Reader struct {
	r     io.Reader
	buf   []byte // what has been read and not been taken
	taken int    // how much of buf the last message took
}

func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next returns the next message. Its body is valid until the following call.
func (r *Reader) Next(limit int) (kind byte, body []byte, err error) {
	if err := r.fill(headerSize); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(r.buf[r.taken+1:])
	if length < 4 || length > uint32(limit) {
		return 0, nil, fmt.Errorf("message of type %q: %w", r.buf[r.taken], ErrMessageLength)
	}
	size := 1 + int(length)
	if err := r.fill(size); err != nil {
		return 0, nil, err
	}
	message := r.buf[r.taken : r.taken+size]
	r.taken += size
	return message[0], message[headerSize:], nil
}

// Rest returns what has been read beyond the last message, and forgets it.
func (r *Reader) Rest() []byte {
	rest := r.buf[r.taken:]
	r.buf, r.taken = nil, 0
	if len(rest) == 0 {
		return nil
	}
	return rest
}

// fill makes n bytes stand in buf behind what is taken.
func (r *Reader) fill(n int) error {
	for len(r.buf)-r.taken < n {
		if r.taken > 0 {
			r.buf = append(r.buf[:0], r.buf[r.taken:]...)
			r.taken = 0
		}
		if cap(r.buf)-len(r.buf) < 512 {
			r.buf = append(make([]byte, 0, 2*cap(r.buf)+1024), r.buf...)
		}
		read, err := r.r.Read(r.buf[len(r.buf):cap(r.buf)])
		r.buf = r.buf[:len(r.buf)+read]
		if len(r.buf)-r.taken >= n {
			return nil
		}
		if err != nil {
			if err == io.EOF && len(r.buf) > r.taken {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read message: %w", err)
		}
	}
	return nil
}

// AppendMessage appends a message.
func AppendMessage(dst []byte, kind byte, body []byte) []byte {
	return appendMessage(dst, kind, func(dst []byte) []byte { return append(dst, body...) })
}

func appendMessage(dst []byte, kind byte, body func([]byte) []byte) []byte {
	at := len(dst)
	dst = body(append(dst, kind, 0, 0, 0, 0))
	binary.BigEndian.PutUint32(dst[at+1:], uint32(len(dst)-at-1))
	return dst
}

// AppendParameterStatus appends a ParameterStatus.
func AppendParameterStatus(dst []byte, name, value string) []byte {
	return appendMessage(dst, ParameterStatus, func(dst []byte) []byte {
		dst = append(append(dst, name...), 0)
		return append(append(dst, value...), 0)
	})
}

// AppendBackendKeyData appends a BackendKeyData.
func AppendBackendKeyData(dst []byte, key Key) []byte {
	return appendMessage(dst, BackendKeyData, func(dst []byte) []byte {
		return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(dst, key.PID), key.Secret)
	})
}

// AppendReady appends a ReadyForQuery.
func AppendReady(dst []byte, status byte) []byte {
	return append(dst, ReadyForQuery, 0, 0, 0, 5, status)
}

// AppendTerminate appends a Terminate.
func AppendTerminate(dst []byte) []byte { return append(dst, Terminate, 0, 0, 0, 4) }
