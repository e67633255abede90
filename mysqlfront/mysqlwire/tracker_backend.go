package mysqlwire

import (
	"encoding/binary"

	"github.com/go-mysql-org/go-mysql/mysql"
)

const (
	// okBeginning has an OK packet's status, whatever the two numbers before
	// it: header, two length-encoded integers, status.
	okBeginning = 1 + 9 + 9 + 2
	// shortestOK is the shortest payload of an OK packet; an EOF packet's is
	// shorter.
	shortestOK = 7
	// longestCount is the longest packet that tells a number of columns.
	longestCount = 9 + 1
	// maxState is the longest OK packet whose session state is read.
	maxState = 16 << 10
	// progress is the error number of MariaDB's progress reports, which come
	// as ERR packets before the answer.
	progress = 0xffff
)

// FromBackend looks through what the backend sent: see Tracker.
func (t *Tracker) FromBackend(b []byte) (n int, stopped bool) {
	t.stop = Running
	for n < len(b) {
		if t.backend.skip > 0 {
			n += t.backend.pass(b[n:])
			if t.releases() {
				return n, true
			}
			continue
		}
		if t.stage == stageRows && !t.backend.continued {
			n = t.passRows(b, n)
		}
		size := t.answer(b[n:])
		n += size
		if t.releases() {
			return n, true
		}
		if size == 0 {
			return n, t.stop != Running
		}
	}
	return n, false
}

// releases tells whether a client's packet that was held need not be held any
// longer, and says stop if so.
func (t *Tracker) releases() bool {
	if t.held == Running || t.backend.inside() {
		return false
	}
	if t.streaming() && t.held != StopQuit {
		t.held = StopAgain // it is no command any more
	}
	again := t.held == StopAgain && (t.file || t.pending.n <= maxRequests/2)
	if t.pending.n > 0 && !again && !t.streaming() {
		return false
	}
	t.stop, t.held = t.held, Running
	return true
}

// passRows passes whole rows. Their numbers follow each other, so the last one
// tells the next.
func (t *Tracker) passRows(b []byte, from int) (to int) {
	size, last := skipRows(b[from:])
	if size > 0 {
		t.turn = last + 1
	}
	return from + size
}

// skipRows is the length of the whole rows that b begins with. It decides
// nothing: what may be anything but a plain row is left to answer.
func skipRows(b []byte) (n int, last byte) {
	for len(b)-n > HeaderSize {
		length := int(b[n]) | int(b[n+1])<<8 | int(b[n+2])<<16
		end := n + HeaderSize + length
		if b[n+HeaderSize] >= EOFHeader || length == 0 || length == MaxPacket || end > len(b) {
			return n, last
		}
		last, n = b[n+HeaderSize-1], end
	}
	return n, last
}

// answer looks at one packet and tells how much of it may pass: 0 where more
// of it must be there.
func (t *Tracker) answer(rest []byte) int {
	if len(rest) < HeaderSize {
		return 0
	}
	length, seq := Header(rest)
	waiting := t.pending.n
	if !t.backend.continued {
		payload := rest[HeaderSize:min(len(rest), HeaderSize+length)]
		before := t.file
		if !t.judge(payload, length) {
			return 0
		}
		if t.file && !before {
			t.fileNext = rest[HeaderSize-1] + 1
		}
	}
	if t.turn = seq + 1; t.pending.n < waiting {
		t.turn = 1 // of the answer to the next command
	}
	return t.backend.take(rest, length)
}

// judge says what a packet of this length means for the answer under way;
// false where p, which is what has arrived of it, is too little.
func (t *Tracker) judge(p []byte, length int) bool {
	if t.pending.n == 0 {
		return t.stray()
	}
	if length == 0 {
		t.emptyAnswer()
		return true
	}
	if len(p) == 0 {
		return false
	}
	if p[0] == ErrHeader {
		return t.failed(p, length)
	}
	switch t.stage {
	case stageSingle:
		return t.single(p, length)
	case stageFirst:
		return t.firstPacket(p, length)
	case stagePrepared:
		return t.preparedOK(p, length)
	case stageDefinitions:
		t.left--
		t.moreDefinitions()
	case stageDefinitionsEnd:
		return t.definitionsEnd(p, length)
	case stageRows:
		if p[0] == EOFHeader && t.endsRows(length) {
			return t.rowsEnd(p, length)
		}
	}
	return true
}

// stray is a packet that nobody asked for: an engine's farewell.
func (t *Tracker) stray() bool {
	if t.config.StopStray && !t.passStray {
		t.stop = StopStray
		return false
	}
	return true
}

// emptyAnswer is a packet without payload. No server sends one but for a row
// without columns, or as the text of COM_STATISTICS.
func (t *Tracker) emptyAnswer() {
	if t.stage != stageRows {
		t.done()
	}
}

// endsRows tells an end from a row that begins with 0xFE, as one does whose
// first column has 16 MiB or more.
func (t *Tracker) endsRows(length int) bool {
	return length < 9 || t.caps.Has(mysql.CLIENT_DEPRECATE_EOF) && length < MaxPacket
}

// failed is an ERR, which ends every answer, or a progress report.
func (t *Tracker) failed(p []byte, length int) bool {
	if len(p) < min(length, 3) {
		return false
	}
	if length >= 3 {
		switch code := binary.LittleEndian.Uint16(p[1:]); {
		case code == progress:
			return true
		case t.config.StopStray && !t.passStray && takesLeave(code):
			t.stop = StopStray
			return false
		}
	}
	if r := t.pending.first(); r.command == mysql.COM_STMT_PREPARE {
		t.statements.drop(r.statement)
	}
	t.doubt = true
	t.leaves(true)
	t.standing.fails()
	t.done()
	return true
}

// takesLeave tells whether an error says that the connection ends: by a KILL,
// or since the server does.
func takesLeave(code uint16) bool {
	const killed = 1927 // ER_CONNECTION_KILLED, which go-mysql does not name
	return code == mysql.ER_SERVER_SHUTDOWN || code == mysql.ER_FORCING_CLOSE || code == killed
}

// single is an answer of one packet, OK, EOF or a text.
func (t *Tracker) single(p []byte, length int) bool {
	r := t.pending.first()
	if r.command == mysql.COM_STATISTICS {
		t.done()
		return true
	}
	status, ok := t.readStatus(p, length)
	if !ok {
		return false
	}
	switch r.command {
	case mysql.COM_RESET_CONNECTION:
		t.Reset(status)
	case mysql.COM_SET_OPTION:
		t.multi = r.option == 0 || t.multi && r.option != 1
	case mysql.COM_STMT_RESET:
		t.statements.setCursor(r.statement, false)
	}
	t.settle(status)
	t.done()
	return true
}

// firstPacket begins an answer or one of its further results.
func (t *Tracker) firstPacket(p []byte, length int) bool {
	switch {
	case p[0] == LocalFileHeader:
		t.beginFile()
		return true
	case p[0] == OKHeader && length >= shortestOK, p[0] == EOFHeader:
		return t.rowsEnd(p, length)
	}
	if length > longestCount {
		return t.nonsense()
	}
	if len(p) < length {
		return false
	}
	count, follow, ok := t.columnCount(p)
	if !ok {
		return t.nonsense()
	}
	t.left, t.columns = uint32(count), 0
	if !follow {
		t.left = 0
	}
	t.moreDefinitions()
	return true
}

// nonsense is an answer that no server gives. It counts as one.
func (t *Tracker) nonsense() bool {
	t.doubt = true
	t.done()
	return true
}

// columnCount reads the number of a result's columns, and whether their
// definitions follow. MariaDB says that in a byte after the count; MySQL's
// documentation has it before it, others after: neither can be mistaken for
// the other, since a count is at least 1 and the byte at most 1.
func (t *Tracker) columnCount(p []byte) (count uint64, follow, ok bool) {
	if !t.caps.HasExtended(MariaDBCacheMetadata) && !t.caps.Has(mysql.CLIENT_OPTIONAL_RESULTSET_METADATA) {
		count, n := Uint(p)
		return count, true, n == len(p) && count > 0
	}
	if count, n := Uint(p); n+1 == len(p) && count > 0 && p[n] <= 1 {
		return count, p[n] == 1, true
	}
	count, n := Uint(p[1:])
	return count, p[0] == 1, n+1 == len(p) && count > 0 && p[0] <= 1
}

// beginFile answers a LOAD DATA LOCAL: the client's next packets are a file.
// Commands that it had sent already are taken for the file's beginning by the
// server, and so never answered.
func (t *Tracker) beginFile() {
	t.file = true
	t.pending.keepFirst()
	if t.held != Running {
		t.held = StopAgain
	}
}

// definitionsEnd is the EOF after definitions. With a cursor it ends the
// result too: rows come by COM_STMT_FETCH. (MySQL 9.7 sends an OK in its place
// and no rows for a statement that it had executed with a cursor before.)
func (t *Tracker) definitionsEnd(p []byte, length int) bool {
	status, ok := t.readStatus(p, length)
	if !ok {
		return false
	}
	if t.pending.first().command == mysql.COM_STMT_EXECUTE {
		if p[0] == OKHeader || status&mysql.SERVER_STATUS_CURSOR_EXISTS != 0 {
			t.resultEnd(status)
			return true
		}
		t.outParams = status&mysql.SERVER_PS_OUT_PARAMS != 0
	}
	t.afterBlock()
	return true
}

// rowsEnd is the OK or EOF that ends a result.
func (t *Tracker) rowsEnd(p []byte, length int) bool {
	status, ok := t.readStatus(p, length)
	if !ok {
		return false
	}
	t.resultEnd(status)
	return true
}

// resultEnd ends one result. That of a procedure's OUT parameters is followed
// by the call's own OK, although MySQL leaves SERVER_MORE_RESULTS_EXISTS out of
// the EOF that it sends to clients without CLIENT_DEPRECATE_EOF.
func (t *Tracker) resultEnd(status uint16) {
	switch r := t.pending.first(); r.command {
	case mysql.COM_STMT_EXECUTE, ComBulkExecute:
		t.statements.setCursor(r.statement, status&mysql.SERVER_STATUS_CURSOR_EXISTS != 0)
	case mysql.COM_STMT_FETCH:
		if status&mysql.SERVER_STATUS_LAST_ROW_SEND != 0 {
			t.statements.setCursor(r.statement, false)
		}
	}
	t.settle(status)
	more := status&mysql.SERVER_MORE_RESULTS_EXISTS != 0 || t.outParams
	t.outParams = false
	if more {
		t.stage = stageFirst
		return
	}
	t.done()
}

// settle takes over the server's status and counts the transaction that ended
// by it: one that was open, or a statement that was one by itself.
func (t *Tracker) settle(status uint16) {
	was := t.InTransaction()
	t.status, t.doubt = status, false
	t.standing.settles(was, t.InTransaction())
	alone := executes(t.pending.first().command) && status&mysql.SERVER_STATUS_AUTOCOMMIT != 0
	if !t.InTransaction() && (was || alone) {
		t.counts.Transactions++
	}
}

// done ends the answer to the first request.
func (t *Tracker) done() {
	t.outParams = false
	t.pending.pop()
	if t.pending.n > 0 {
		t.stage = opening(t.pending.first().command)
	} else {
		t.stage = stageSingle
	}
}
