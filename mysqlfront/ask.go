package mysqlfront

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"serverlessproxy/mysqlfront/mysqlwire"
)

// table is what an engine answered to one of our own statements: rows of text
// values, nil for NULL; or its refusal.
type table struct {
	rows    [][][]byte
	refusal *mysqlwire.ServerError
}

// refused is why there are no rows.
func (t *table) refused() error {
	if t.refusal == nil {
		return mysqlwire.ErrMalformed
	}
	return t.refusal
}

const (
	// askLasts is generous: who loses patience loses the session with it.
	askLasts = 30 * time.Second
	// maxAnswer bounds a row of an answer to ourselves.
	maxAnswer    = 64 << 20
	answerBuffer = 16 << 10
	nullValue    = 0xfb
)

// buffered is a connection of which more is read at once than is asked for.
type buffered struct {
	net.Conn
	from *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.from.Read(p) }

// ask has a backend, on which nothing is under way, run statements of our own
// in one round trip. After an error the connection is of no use any more, and
// closed: what the engine still owes would be taken for an answer to the client.
func (s *session) ask(ctx context.Context, b *backend, texts ...string) ([]table, error) {
	answers, err := s.exchange(ctx, b, texts)
	if err != nil {
		b.conn.Close()
	}
	return answers, err
}

func (s *session) exchange(ctx context.Context, b *backend, texts []string) ([]table, error) {
	ctx, cancel := context.WithTimeout(ctx, askLasts)
	defer cancel()
	defer guard(ctx, b.conn)()
	var question []byte
	for _, text := range texts {
		question = mysqlwire.AppendPacket(question, 0, queryPayload(text, s.hello.Capabilities))
	}
	if b == s.backend {
		s.scanner.AddSent(len(question))
	}
	if _, err := b.conn.Write(question); err != nil {
		return nil, fmt.Errorf("ask engine: %w", err)
	}
	answers := make([]table, len(texts))
	// Rows by the hundred, of a few bytes each. Nothing comes after the answers,
	// so nothing is left in the buffer that another would read.
	from := buffered{b.conn, bufio.NewReaderSize(b.conn, answerBuffer)}
	for i := range answers {
		if err := answers[i].read(&packets{conn: from}, s.hello.Capabilities); err != nil {
			return nil, fmt.Errorf("read engine's answer: %w", err)
		}
	}
	return answers, nil
}

// instruct has a backend run statements of our own that give no rows; the first
// refusal is an error.
func (s *session) instruct(ctx context.Context, b *backend, texts ...string) error {
	answers, err := s.ask(ctx, b, texts...)
	if err != nil {
		return err
	}
	for _, a := range answers {
		if a.refusal != nil {
			return a.refusal
		}
	}
	return nil
}

// read reads one answer, which a refusal may end at any place.
func (t *table) read(p *packets, caps mysqlwire.Capabilities) error {
	err := t.readResult(p, caps)
	if errors.As(err, &t.refusal) {
		return nil
	}
	return err
}

func (t *table) readResult(p *packets, caps mysqlwire.Capabilities) error {
	first, err := readResultPacket(p)
	if err != nil || first[0] == mysqlwire.OKHeader {
		return err
	}
	count, n := mysqlwire.Uint(first)
	if n == 0 || count == 0 || count > 1<<12 {
		return mysqlwire.ErrMalformed
	}
	before := int(count)
	if n < len(first) && first[n] == 0 {
		before = 0 // the definitions are left out
	}
	if !caps.Has(mysql.CLIENT_DEPRECATE_EOF) {
		before++
	}
	for range before {
		if _, err := readResultPacket(p); err != nil {
			return err
		}
	}
	return t.readRows(p, int(count))
}

func (t *table) readRows(p *packets, columns int) error {
	for {
		row, err := readResultPacket(p)
		if err != nil {
			return err
		}
		if row[0] == mysqlwire.EOFHeader && len(row) < mysqlwire.MaxPacket {
			return nil
		}
		values := make([][]byte, columns)
		for i := range values {
			if len(row) > 0 && row[0] == nullValue {
				row = row[1:]
				continue
			}
			value, rest, ok := mysqlwire.String(row)
			if !ok {
				return mysqlwire.ErrMalformed
			}
			values[i], row = value, rest
		}
		t.rows = append(t.rows, values)
	}
}

// readResultPacket reads a packet that is no progress report.
func readResultPacket(p *packets) ([]byte, error) {
	const progressReport = 0xffff
	for {
		payload, err := p.readAnswer(maxAnswer)
		var refusal *mysqlwire.ServerError
		if errors.As(err, &refusal) && refusal.Code == progressReport {
			continue
		}
		return payload, err
	}
}
