package mysqlwire

import "github.com/go-mysql-org/go-mysql/mysql"

// ComBulkExecute is MariaDB's COM_STMT_BULK_EXECUTE; the other commands are
// go-mysql's mysql.COM_….
const ComBulkExecute byte = 0xfa

// lastStatement is the id by which MariaDB's clients mean the statement that
// was prepared last, also one whose answer is still on its way.
const lastStatement = 0xffffffff

// stage is what the next packet of an answer is.
type stage byte

const (
	stageSingle         stage = iota // the whole answer, whatever it says
	stageFirst                       // OK, ERR, a wish for a local file, or a column count
	stagePrepared                    // COM_STMT_PREPARE's OK or ERR
	stageDefinitions                 // a definition of a parameter or column
	stageDefinitionsEnd              // the EOF after definitions, without CLIENT_DEPRECATE_EOF
	stageRows                        // a row (a field, a binlog event), or their end
)

// answered tells whether a command has an answer at all.
func answered(command byte) bool {
	switch command {
	case mysql.COM_QUIT, mysql.COM_STMT_CLOSE, mysql.COM_STMT_SEND_LONG_DATA:
		return false
	}
	return true
}

// opening is the first stage of a command's answer. Commands that no server
// knows are answered with one ERR.
func opening(command byte) stage {
	switch command {
	case mysql.COM_QUERY, mysql.COM_STMT_EXECUTE, ComBulkExecute, mysql.COM_PROCESS_INFO:
		return stageFirst
	case mysql.COM_STMT_PREPARE:
		return stagePrepared
	case mysql.COM_FIELD_LIST, mysql.COM_STMT_FETCH:
		return stageRows
	}
	if streams(command) {
		return stageRows
	}
	return stageSingle
}

// streams tells whether a command is answered by a stream of packets that may
// never end, during which the client sends packets that are no commands.
func streams(command byte) bool {
	switch command {
	case mysql.COM_BINLOG_DUMP, mysql.COM_BINLOG_DUMP_GTID, mysql.COM_TABLE_DUMP,
		mysql.COM_CLONE, mysql.COM_SUBSCRIBE_GROUP_REPLICATION_STREAM:
		return true
	}
	return false
}

// executes tells whether a command runs a statement.
func executes(command byte) bool {
	switch command {
	case mysql.COM_QUERY, mysql.COM_STMT_EXECUTE, ComBulkExecute:
		return true
	}
	return false
}

// request is a command whose answer has not come in full.
type request struct {
	statement *Statement // the one it is about, or nil
	command   byte
	option    byte // COM_SET_OPTION's
	keeps     bool // leaves the conditions of the statement before
	effect    effect
}

// requests is a queue in a ring that grows as clients pipeline.
type requests struct {
	ring []request // its length is a power of two
	head int
	n    int
}

const (
	smallRing   = 4
	maxRequests = 16384
)

func (q *requests) full() bool { return q.n == maxRequests }

func (q *requests) push(r request) {
	if q.n == len(q.ring) {
		q.grow()
	}
	q.ring[(q.head+q.n)&(len(q.ring)-1)] = r
	q.n++
}

func (q *requests) grow() {
	bigger := make([]request, max(smallRing, 2*len(q.ring)))
	for i := range q.n {
		bigger[i] = q.ring[(q.head+i)&(len(q.ring)-1)]
	}
	q.ring, q.head = bigger, 0
}

// first is the request that is being answered; there is one.
func (q *requests) first() *request { return &q.ring[q.head] }

// at is one of them, by its place in the queue.
func (q *requests) at(i int) *request { return &q.ring[(q.head+i)&(len(q.ring)-1)] }

// pop ends the first request. A ring that a burst of pipelining made large is
// let go with its last one.
func (q *requests) pop() {
	q.ring[q.head] = request{}
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.n--
	if q.n == 0 && len(q.ring) > 16*smallRing {
		q.ring, q.head = nil, 0
	}
}

// keepFirst drops all requests but the first.
func (q *requests) keepFirst() {
	for i := 1; i < q.n; i++ {
		q.ring[(q.head+i)&(len(q.ring)-1)] = request{}
	}
	q.n = min(q.n, 1)
}
