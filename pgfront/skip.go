package pgfront

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"serverlessproxy/pgfront/pgwire"
)

// peek reads the header of what a parked session's client has sent. Saying
// goodbye wakes nobody.
func (s *session) peek(parent context.Context) (goodbye bool, err error) {
	ctx, release := s.interruptible(parent)
	defer release()
	ctx, cancel := context.WithTimeoutCause(ctx, skipLimit, violation("incomplete message", ""))
	defer cancel()
	defer interruptIO(ctx, s.client)()
	const header = 5
	for len(s.pending) < header {
		buffer := make([]byte, 4<<10)
		n, err := s.client.Read(buffer[len(s.pending):])
		s.pending = append(buffer[:copy(buffer, s.pending)], buffer[len(s.pending):len(s.pending)+n]...)
		if err != nil && n == 0 {
			if ctx.Err() != nil {
				return false, context.Cause(ctx)
			}
			return false, fmt.Errorf("%w: %w", errClientGone, err)
		}
	}
	var probe pgwire.Tracker
	probe.FromClient(bytes.Clone(s.pending[:header]))
	return probe.Ended(), probe.Violation()
}

// skipRequest answers a request, without having run it, with an error, and
// reads past it: a Query or FunctionCall, or a batch up to its Sync.
func (s *session) skipRequest(parent context.Context, answer *told) error {
	if err := s.write(answer.failure()); err != nil {
		return err
	}
	if err := s.readPast(parent); err != nil {
		return err
	}
	return s.write(pgwire.AppendReady(nil, pgwire.IdleStatus))
}

func (s *session) readPast(parent context.Context) error {
	ctx, release := s.interruptible(parent)
	defer release()
	ctx, cancel := context.WithTimeoutCause(ctx, skipLimit, violation("incomplete message", ""))
	defer cancel()
	defer interruptIO(ctx, s.client)()
	waiting := bytes.NewReader(s.pending)
	kind, err := pastRequest(io.MultiReader(waiting, s.client))
	s.pending = s.pending[len(s.pending)-waiting.Len():]
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil && ended(err):
		return fmt.Errorf("%w: %w", errClientGone, err)
	case kind == pgwire.Terminate:
		return errClientGone
	}
	return err
}

// pastRequest reads messages up to one that ends a request, which it returns.
func pastRequest(r io.Reader) (kind byte, err error) {
	for {
		var header [5]byte
		if _, err := io.ReadFull(r, header[:]); err != nil {
			return 0, err
		}
		var probe pgwire.Tracker
		probe.FromClient(header[:])
		if err := probe.Violation(); err != nil {
			return 0, err
		}
		body := int64(binary.BigEndian.Uint32(header[1:])) - 4
		if _, err := io.CopyN(io.Discard, r, body); err != nil {
			return 0, err
		}
		switch header[0] {
		case pgwire.Query, pgwire.FunctionCall, pgwire.Sync, pgwire.Terminate:
			return header[0], nil
		}
	}
}
