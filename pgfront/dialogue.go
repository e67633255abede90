package pgfront

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/jackc/pgproto3/v2"

	"serverlessproxy/pgfront/pgwire"
)

// dialogue is a conversation of the session's own with a backend, while nobody
// else talks to it: batches of extended messages, each with its Sync. (A simple
// query would destroy the client's unnamed statement.)
type dialogue struct {
	conn     net.Conn
	reader   *pgwire.Reader
	reported map[string]string
	mark     *mark  // where another backend takes over, or this one does; nil: nobody does
	aside    []byte // what the client is to hear of it: notifications, ParameterStatus
}

func newDialogue(conn net.Conn) *dialogue {
	return &dialogue{conn: conn, reader: pgwire.NewReader(conn), reported: map[string]string{}}
}

// reply is what a backend answered to one batch.
type reply struct {
	rows   [][]string // NULL reads ""
	raw    []byte     // rows and CommandComplete, as they came
	shape  []byte     // ParameterDescription and RowDescription, where they were asked for
	failed *engineError
	status byte
}

const (
	maxReply     = 64 << 20
	groupSize    = 16 << 10 // is written before answers are read: neither side waits for the other
	groupBatches = 64
)

// run sends batches and returns what was answered to each. An error is one of
// the connection: what stands in the backend is not known then.
func (d *dialogue) run(batches ...[]byte) ([]reply, error) {
	replies := make([]reply, 0, len(batches))
	for len(batches) > 0 {
		var group []byte
		n := 0
		for n < len(batches) && n < groupBatches && (n == 0 || len(group)+len(batches[n]) <= groupSize) {
			group = append(group, batches[n]...)
			n++
		}
		if _, err := d.conn.Write(group); err != nil {
			return replies, fmt.Errorf("write to backend: %w", err)
		}
		for range n {
			r, err := d.read()
			if err != nil {
				return replies, err
			}
			replies = append(replies, r)
		}
		batches = batches[n:]
	}
	return replies, nil
}

// count is run, for one who must know how many answers are still owed when it
// fails.
func (d *dialogue) count(left *int, batches ...[]byte) ([]reply, error) {
	*left += len(batches)
	replies, err := d.run(batches...)
	*left -= len(replies)
	return replies, err
}

// read reads up to a ReadyForQuery.
func (d *dialogue) read() (r reply, err error) {
	for {
		kind, body, err := d.reader.Next(maxReply)
		if err != nil && r.failed != nil {
			return r, fmt.Errorf("%w: %w", r.failed, err) // its last words
		}
		if err != nil {
			return r, err
		}
		switch kind {
		case pgwire.ReadyForQuery:
			if len(body) == 1 {
				r.status = body[0]
			}
			return r, nil
		case pgwire.ErrorResponse:
			r.failed = newEngineError(body)
		case pgwire.CommandComplete, pgwire.EmptyQueryResponse:
			r.raw = pgwire.AppendMessage(r.raw, kind, body)
		case pgwire.DataRow:
			r.raw = pgwire.AppendMessage(r.raw, kind, body)
			if err := r.row(body); err != nil {
				return r, err
			}
		case pgwire.ParameterDescription, pgwire.RowDescription, pgwire.NoData:
			r.shape = pgwire.AppendMessage(r.shape, kind, body)
		default:
			if err := d.note(kind, body); err != nil {
				return r, err
			}
		}
	}
}

// note notes what a backend says unasked.
func (d *dialogue) note(kind byte, body []byte) error {
	switch kind {
	case pgwire.NotificationResponse:
		if d.keepsNotification(body) {
			d.aside = pgwire.AppendMessage(d.aside, kind, body)
		}
	case pgwire.ParameterStatus:
		d.aside = pgwire.AppendMessage(d.aside, kind, body)
		var status pgproto3.ParameterStatus
		if err := status.Decode(body); err != nil {
			return fmt.Errorf("%w: %w", errBadUpstream, err)
		}
		d.reported[status.Name] = status.Value
	}
	return nil
}

func (r *reply) row(body []byte) error {
	var row pgproto3.DataRow
	if err := row.Decode(body); err != nil {
		return fmt.Errorf("%w: %w", errBadUpstream, err)
	}
	values := make([]string, len(row.Values))
	for i, v := range row.Values {
		values[i] = string(v)
	}
	r.rows = append(r.rows, values)
	return nil
}

// within limits a conversation. One that takes longer is cancelled at the
// engine and read to its end, so that the backend stays of use.
func (s *session) within(limit time.Duration, conn net.Conn, talk func() error) error {
	ctx, cancel := context.WithTimeout(s.front.ctx, limit)
	defer cancel()
	defer interruptIO(ctx, conn)()
	return talk()
}

// finishLate reads the rest of a conversation that took too long, after
// cancelling it.
func (s *session) finishLate(d *dialogue, left int) error {
	s.cancelBackend()
	d.conn.SetDeadline(time.Now().Add(lateLimit))
	defer d.conn.SetDeadline(time.Time{})
	for range left {
		if _, err := d.read(); err != nil {
			return err
		}
	}
	return nil
}

func timedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// What is said in a dialogue.

func parseMessage(dst []byte, name, text string, types []uint32) []byte {
	body := append(append([]byte(name), 0), text...)
	body = binary.BigEndian.AppendUint16(append(body, 0), uint16(len(types)))
	for _, oid := range types {
		body = binary.BigEndian.AppendUint32(body, oid)
	}
	return pgwire.AppendMessage(dst, pgwire.Parse, body)
}

// execute binds values, as text, and executes.
func execute(dst []byte, name string, values ...string) []byte {
	body := append(append([]byte{0}, name...), 0, 0, 0)
	body = binary.BigEndian.AppendUint16(body, uint16(len(values)))
	for _, v := range values {
		body = append(binary.BigEndian.AppendUint32(body, uint32(len(v))), v...)
	}
	dst = pgwire.AppendMessage(dst, pgwire.Bind, append(body, 0, 0))
	return pgwire.AppendMessage(dst, pgwire.Execute, []byte{0, 0, 0, 0, 0})
}

func describe(dst []byte, name string) []byte {
	return pgwire.AppendMessage(dst, pgwire.Describe, append(append([]byte{'S'}, name...), 0))
}

func closeStatement(dst []byte, name string) []byte {
	return pgwire.AppendMessage(dst, pgwire.Close, append(append([]byte{'S'}, name...), 0))
}

func withSync(dst []byte) []byte { return pgwire.AppendMessage(dst, pgwire.Sync, nil) }
