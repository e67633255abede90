package mysqlwire

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// dialects are the capabilities that the scripts are spoken with, as far as
// the server has them.
var dialects = map[string]Capabilities{
	"old":    common,
	"modern": common | Capabilities(mysql.CLIENT_DEPRECATE_EOF|mysql.CLIENT_SESSION_TRACK) | MariaDBProgress | MariaDBBulkOperations | MariaDBExtendedMetadata | MariaDBCacheMetadata,
	"mysql": common | Capabilities(mysql.CLIENT_LONG_PASSWORD|mysql.CLIENT_DEPRECATE_EOF|mysql.CLIENT_SESSION_TRACK|
		mysql.CLIENT_OPTIONAL_RESULTSET_METADATA),
	"cached": common | MariaDBCacheMetadata | MariaDBProgress,
}

const common = Capabilities(mysql.CLIENT_PROTOCOL_41 | mysql.CLIENT_SECURE_CONNECTION | mysql.CLIENT_TRANSACTIONS |
	mysql.CLIENT_MULTI_STATEMENTS | mysql.CLIENT_MULTI_RESULTS | mysql.CLIENT_PS_MULTI_RESULTS | mysql.CLIENT_LOCAL_FILES |
	mysql.CLIENT_PLUGIN_AUTH)

// script is a session: what to send, and what a Tracker must know after each
// answer. It is the same for all dialects.
type script struct {
	name    string
	only    string // the only server that has this
	also    Capabilities
	dialect string // the only one in which it has the answers below
	large   bool
	setup   []string
	steps   []step
}

func (s script) spoken(server, dialect string) bool {
	if s.large { // once with each kind of end is enough
		return server == "mariadb" && dialect == "old" || server == "mysql" && dialect == "modern"
	}
	return (s.only == "" || s.only == server) && (s.dialect == "" || s.dialect == dialect)
}

// A script's statements are numbered from 1; a server's ids are put in their
// place.
type step struct {
	send   []byte
	silent bool          // no answer is to come
	file   bool          // these packets continue the server's numbers
	quiet  time.Duration // how long the server may be quiet in the middle, when recording
	want   facts
	check  func(*testing.T, observed)
}

// query is a COM_QUERY where query attributes are not agreed on.
func query(text string) []byte { return command(mysql.COM_QUERY, []byte(text)...) }

func prepare(text string) []byte { return command(mysql.COM_STMT_PREPARE, []byte(text)...) }

func aboutStatement(code byte, id uint32, rest ...byte) []byte {
	return command(code, append(binary.LittleEndian.AppendUint32(nil, id), rest...)...)
}

// execute has flags, one iteration, and what follows it.
func execute(id uint32, flags byte, parameters ...byte) []byte {
	return aboutStatement(mysql.COM_STMT_EXECUTE, id, append([]byte{flags, 1, 0, 0, 0}, parameters...)...)
}

func fetch(id, rows uint32) []byte {
	return aboutStatement(mysql.COM_STMT_FETCH, id, binary.LittleEndian.AppendUint32(nil, rows)...)
}

// anA are the parameters of an execution: one VARCHAR.
var anA = []byte{0, 1, 253, 0, 1, 'a'}

var numbers = []string{"CREATE TABLE n (i INT PRIMARY KEY, s VARCHAR(20))", "INSERT INTO n VALUES (1,'a'),(2,'b'),(3,'c'),(4,NULL),(5,'e')"}

var cursorAndNone = []step{
	{send: prepare("SELECT i, s FROM n ORDER BY i"), want: facts{Statements: 1}},
	{send: execute(1, 1), want: facts{Statements: 1, Cursors: 1, Queries: 1, Transactions: 1}},
	{send: execute(1, 0), want: facts{Statements: 1, Queries: 2, Transactions: 2}},
	{send: execute(1, 1), want: facts{Statements: 1, Cursors: 1, Queries: 3, Transactions: 3}},
}

var noMetadata = []step{
	{send: query("SET resultset_metadata = NONE"), want: facts{Queries: 1, Transactions: 1}},
	{send: query("SELECT * FROM n"), want: facts{Queries: 2, Transactions: 2}},
	{send: query("SELECT 1; SELECT 1 FROM n WHERE i = 77"), want: facts{Queries: 3, Transactions: 4}},
	{send: prepare("SELECT i, s FROM n WHERE i > ?"), want: facts{Statements: 1, Queries: 3, Transactions: 4}},
	{send: execute(1, 0, 0, 1, 3, 0, 2, 0, 0, 0), want: facts{Statements: 1, Queries: 4, Transactions: 5}},
	{send: execute(1, 1, 0, 1, 3, 0, 2, 0, 0, 0), want: facts{Statements: 1, Cursors: 1, Queries: 5, Transactions: 6}},
	{send: fetch(1, 1), want: facts{Statements: 1, Cursors: 1, Queries: 5, Transactions: 6}},
}

var scripts = []script{
	{name: "select", steps: []step{
		{send: query("SELECT 1, 'a', NULL"), want: facts{Queries: 1, Transactions: 1}},
		{send: query("SELECT NULL"), want: facts{Queries: 2, Transactions: 2}},
	}},
	{name: "empty result", setup: numbers, steps: []step{
		{send: query("SELECT * FROM n WHERE i = 77"), want: facts{Queries: 1, Transactions: 1}},
	}},
	{name: "several statements", setup: numbers, steps: []step{
		{send: query("SELECT 1; SET @a = 1; SELECT 2, 3; UPDATE n SET s = 'x'"), want: facts{Queries: 1, Transactions: 4}},
		{send: query("SELECT 1; SELECT bad; SELECT 2"), want: facts{Queries: 2, Transactions: 5}},
	}},
	{name: "error", steps: []step{
		{send: query("SELECT bad"), want: facts{Queries: 1}, check: func(t *testing.T, k observed) {
			if !k.Doubtful() {
				t.Error("no doubt about the status after an error")
			}
		}},
		{send: command(mysql.COM_PING), want: facts{Queries: 1}, check: func(t *testing.T, k observed) {
			if k.Doubtful() {
				t.Error("still in doubt after an OK")
			}
		}},
	}},
	{name: "warnings", steps: []step{
		{send: query("DROP TABLE IF EXISTS nosuch"), want: facts{Queries: 1, Transactions: 1}},
		{send: query("SHOW WARNINGS"), want: facts{Queries: 2, Transactions: 2}},
	}},
	{name: "transactions", setup: numbers, steps: []step{
		{send: query("BEGIN"), want: facts{InTransaction: true, Queries: 1}},
		{send: query("INSERT INTO n VALUES (6, 'f')"), want: facts{InTransaction: true, Queries: 2}},
		{send: query("SELECT * FROM n"), want: facts{InTransaction: true, Queries: 3}},
		{send: query("COMMIT"), want: facts{Queries: 4, Transactions: 1}},
		{send: query("SET autocommit = 0"), want: facts{Queries: 5, Transactions: 1}},
		{send: query("SELECT * FROM n"), want: facts{InTransaction: true, Queries: 6, Transactions: 1}},
		{send: query("ROLLBACK"), want: facts{Queries: 7, Transactions: 2}},
		{send: query("START TRANSACTION READ ONLY"), want: facts{InTransaction: true, Queries: 8, Transactions: 2}},
		{send: query("ROLLBACK; SET autocommit = 1"), want: facts{Queries: 9, Transactions: 4}},
	}},
	{name: "prepared", setup: numbers, steps: []step{
		{send: prepare("SELECT i, s FROM n WHERE i > ? AND s <> ?"), want: facts{Statements: 1}, check: func(t *testing.T, k observed) {
			s, ok := k.statement(1)
			if !ok || s.Params != 2 || s.Columns != 2 || string(s.Text()) != "SELECT i, s FROM n WHERE i > ? AND s <> ?" {
				t.Errorf("statement %+v", s)
			}
		}},
		{send: execute(1, 0, 0, 1, 3, 0, 253, 0, 1, 0, 0, 0, 1, 'b'), want: facts{Statements: 1, Queries: 1, Transactions: 1}, check: wantTypes(1, 3, 0, 253, 0)},
		{send: execute(1, 0, 0, 0, 2, 0, 0, 0, 1, 'x'), want: facts{Statements: 1, Queries: 2, Transactions: 2}, check: wantTypes(1, 3, 0, 253, 0)},
		{send: execute(1, 0, 0, 1, 8, 0, 253, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 'b'), want: facts{Statements: 1, Queries: 3, Transactions: 3}, check: wantTypes(1, 8, 0, 253, 0)},
		{send: aboutStatement(mysql.COM_STMT_RESET, 1), want: facts{Statements: 1, Queries: 3, Transactions: 3}},
		{send: prepare("UPDATE n SET s = 'z'"), want: facts{Statements: 2, Queries: 3, Transactions: 3}},
		{send: execute(2, 0), want: facts{Statements: 2, Queries: 4, Transactions: 4}},
		{send: prepare("SELECT i FROM n"), want: facts{Statements: 3, Queries: 4, Transactions: 4}},
		{send: execute(3, 0), want: facts{Statements: 3, Queries: 5, Transactions: 5}},
		{send: execute(3, 0), want: facts{Statements: 3, Queries: 6, Transactions: 6}},
		{send: prepare("DO ?"), want: facts{Statements: 4, Queries: 6, Transactions: 6}},
		{send: prepare("SELECT bad"), want: facts{Statements: 4, Queries: 6, Transactions: 6}},
		{send: execute(0x777777, 0), want: facts{Statements: 4, Queries: 7, Transactions: 6}},
		{send: aboutStatement(mysql.COM_STMT_CLOSE, 1), silent: true, want: facts{Statements: 3, Queries: 7, Transactions: 6}},
		{send: execute(1, 0), want: facts{Statements: 3, Queries: 8, Transactions: 6}},
		{send: command(mysql.COM_RESET_CONNECTION), want: facts{Queries: 8, Transactions: 6}},
	}},
	{name: "cursor", setup: numbers, steps: []step{
		{send: prepare("SELECT i, s FROM n ORDER BY i"), want: facts{Statements: 1}},
		{send: execute(1, 1), want: facts{Statements: 1, Cursors: 1, Queries: 1, Transactions: 1}},
		{send: fetch(1, 2), want: facts{Statements: 1, Cursors: 1, Queries: 1, Transactions: 1}},
		{send: fetch(1, 2), want: facts{Statements: 1, Cursors: 1, Queries: 1, Transactions: 1}},
		{send: fetch(1, 2), want: facts{Statements: 1, Queries: 1, Transactions: 1}},
		{send: execute(1, 1), want: facts{Statements: 1, Cursors: 1, Queries: 2, Transactions: 2}},
		{send: query("SELECT 1"), want: facts{Statements: 1, Cursors: 1, Queries: 3, Transactions: 3}},
		{send: aboutStatement(mysql.COM_STMT_RESET, 1), want: facts{Statements: 1, Queries: 3, Transactions: 3}},
		{send: fetch(1, 2), want: facts{Statements: 1, Queries: 3, Transactions: 3}},
		{send: execute(1, 1), want: facts{Statements: 1, Cursors: 1, Queries: 4, Transactions: 4}},
		{send: aboutStatement(mysql.COM_STMT_CLOSE, 1), silent: true, want: facts{Queries: 4, Transactions: 4}},
		{send: prepare("UPDATE n SET s = 'q'"), want: facts{Statements: 1, Queries: 4, Transactions: 4}},
		{send: execute(2, 1), want: facts{Statements: 1, Queries: 5, Transactions: 5}},
	}},
	{name: "cursor and none", only: "mariadb", setup: numbers, steps: cursorAndNone},
	{name: "cursor and none in MySQL", only: "mysql", dialect: "old", setup: numbers, steps: cursorAndNone}, // with CLIENT_DEPRECATE_EOF it cannot be told from a row
	{name: "long data", setup: []string{"CREATE TABLE b (v LONGBLOB)"}, steps: []step{
		{send: prepare("INSERT INTO b VALUES (?)"), want: facts{Statements: 1}},
		{send: longData(1, bytes.Repeat([]byte("ab"), 500)), silent: true, want: facts{Statements: 1, LongData: true}},
		{send: longData(1, []byte("c")), silent: true, want: facts{Statements: 1, LongData: true}},
		{send: execute(1, 0, 0, 1, 252, 0), want: facts{Statements: 1, Queries: 1, Transactions: 1}},
		{send: longData(1, []byte("d")), silent: true, want: facts{Statements: 1, LongData: true, Queries: 1, Transactions: 1}},
		{send: aboutStatement(mysql.COM_STMT_RESET, 1), want: facts{Statements: 1, Queries: 1, Transactions: 1}},
	}},
	{name: "load data", setup: []string{"CREATE TABLE l (v INT)"}, steps: []step{
		{send: query("LOAD DATA LOCAL INFILE 'x' INTO TABLE l"), want: facts{Busy: true, Queries: 1}},
		{send: join(packet(2, []byte("1\n2\n")...), packet(3, []byte("3\n")...)), file: true, silent: true, want: facts{Busy: true, Queries: 1}},
		{send: packet(4), file: true, want: facts{Queries: 1, Transactions: 1}},
		{send: query("LOAD DATA LOCAL INFILE 'x' INTO TABLE l"), want: facts{Busy: true, Queries: 2, Transactions: 1}},
		{send: packet(2), file: true, want: facts{Queries: 2, Transactions: 2}},
		{send: query("LOAD DATA LOCAL INFILE 'x' INTO TABLE l; SELECT COUNT(*) FROM l; LOAD DATA LOCAL INFILE 'y' INTO TABLE l"), want: facts{Busy: true, Queries: 3, Transactions: 2}},
		{send: join(packet(2, []byte("4\n")...), packet(3)), file: true, want: facts{Busy: true, Queries: 3, Transactions: 4}},
		{send: join(packet(2, []byte("5\n")...), packet(3)), file: true, want: facts{Queries: 3, Transactions: 5}},
		{send: query("SELECT COUNT(*) FROM l"), want: facts{Queries: 4, Transactions: 6}},
		{send: query("LOAD DATA LOCAL INFILE 'x' INTO TABLE nosuch"), want: facts{Queries: 5, Transactions: 6}},
	}},
	{name: "procedure", setup: append(numbers[:2:2],
		"CREATE PROCEDURE several() BEGIN SELECT 1; SELECT i, s FROM n; UPDATE n SET s = 'p'; SELECT 3; END",
		"CREATE PROCEDURE failing() BEGIN START TRANSACTION; SELECT 1; INSERT INTO n VALUES (9, 'i'); SIGNAL SQLSTATE '45000'; END",
		"CREATE PROCEDURE outward(IN a INT, OUT b INT) BEGIN SELECT a; SET b = a + 1; END",
	), steps: []step{
		{send: query("CALL several()"), want: facts{Queries: 1, Transactions: 4}},
		{send: prepare("CALL outward(?, ?)"), want: facts{Statements: 1, Queries: 1, Transactions: 4}},
		{send: execute(1, 0, 0, 1, 3, 0, 3, 0, 7, 0, 0, 0, 0, 0, 0, 0), want: facts{Statements: 1, Queries: 2, Transactions: 7}},
		{send: query("CALL failing()"), want: facts{Statements: 1, Queries: 3, Transactions: 7, InTransaction: true}},
	}},
	{name: "long rows", large: true, steps: []step{
		{send: query("SELECT REPEAT('x', 20971520), 1"), want: facts{Queries: 1, Transactions: 1}},
		{send: query("SELECT 1, REPEAT('y', 16777207)"), want: facts{Queries: 2, Transactions: 2}}, // 16 MiB - 1 exactly
		{send: query("SELECT REPEAT('z', 16777216)"), want: facts{Queries: 3, Transactions: 3}},
	}},
	{name: "long query", large: true, steps: []step{
		{send: query("SELECT LENGTH('" + string(bytes.Repeat([]byte{'x'}, 17<<20)) + "')"), want: facts{Queries: 1, Transactions: 1}},
		{send: query("SELECT 1 /*" + string(bytes.Repeat([]byte{' '}, MaxPacket-14)) + "*/"), want: facts{Queries: 2, Transactions: 2}}, // and an empty packet
	}},
	{name: "session state", setup: []string{"SET SESSION session_track_schema = 1", "SET SESSION session_track_system_variables = '*'"}, steps: []step{
		{send: command(mysql.COM_INIT_DB, []byte("mysql")...), want: facts{}, check: wantSchema("mysql")},
		{send: query("USE wire"), want: facts{Queries: 1, Transactions: 1}, check: wantSchema("wire")},
		{send: query("SET NAMES latin1"), want: facts{Queries: 2, Transactions: 2}, check: wantSchema("wire")},
		{send: query("SET SESSION session_track_transaction_info = 'CHARACTERISTICS'"), want: facts{Queries: 3, Transactions: 3}},
		{send: query("BEGIN"), want: facts{InTransaction: true, Queries: 4, Transactions: 3}},
		{send: query("SELECT 1"), want: facts{InTransaction: true, Queries: 5, Transactions: 3}},
		{send: query("ROLLBACK"), want: facts{Queries: 6, Transactions: 4}},
	}},
	{name: "small commands", setup: numbers, steps: []step{
		{send: command(mysql.COM_PING)},
		{send: command(mysql.COM_STATISTICS)},
		{send: command(mysql.COM_DEBUG)},
		{send: command(mysql.COM_FIELD_LIST, []byte("n\x00")...)},
		{send: command(mysql.COM_FIELD_LIST, []byte("nosuch\x00")...)},
		{send: command(mysql.COM_PROCESS_INFO)},
		{send: command(mysql.COM_SET_OPTION, 1, 0), check: wantMulti(false)},
		{send: query("SELECT 1; SELECT 2"), want: facts{Queries: 1}},
		{send: command(mysql.COM_SET_OPTION, 0, 0), want: facts{Queries: 1}, check: wantMulti(true)},
		{send: command(mysql.COM_SET_OPTION, 7, 0), want: facts{Queries: 1}, check: wantMulti(true)},
		{send: query("SELECT 1; SELECT 2"), want: facts{Queries: 2, Transactions: 2}},
		{send: command(mysql.COM_SLEEP), want: facts{Queries: 2, Transactions: 2}},
		{send: command(mysql.COM_TIME), want: facts{Queries: 2, Transactions: 2}},
		{send: command(0x77), want: facts{Queries: 2, Transactions: 2}},
		{send: command(mysql.COM_RESET_CONNECTION), want: facts{Queries: 2, Transactions: 2}},
	}},
	{name: "pipelined", setup: numbers, steps: []step{
		{send: join(query("SELECT 1"), query("SELECT bad"), command(mysql.COM_PING), query("SELECT 2; SELECT 3"), command(mysql.COM_PING), query("SELECT 4")),
			want: facts{Queries: 4, Transactions: 4}},
		{send: prepare("SELECT i FROM n WHERE s > ?"), want: facts{Statements: 1, Queries: 4, Transactions: 4}},
		{send: join(prepare("SELECT s FROM n"), execute(1, 1, anA...), execute(1, 1, anA...), longData(1, []byte("a")), execute(1, 1, 0, 1, 252, 0), query("SELECT 1"), longData(1, []byte("b"))),
			want: facts{Statements: 2, Cursors: 1, LongData: true, Queries: 8, Transactions: 8}},
		{send: join(execute(1, 1, 0, 1, 252, 0), prepare("SELECT bad"), aboutStatement(mysql.COM_STMT_CLOSE, 1), execute(2, 0), execute(1, 0)),
			want: facts{Statements: 1, Queries: 11, Transactions: 10}},
	}},
	{name: "last statement", only: "mariadb", setup: numbers, steps: []step{
		{send: join(prepare("SELECT i FROM n WHERE i > ?"), execute(lastStatement, 1, 0, 1, 3, 0, 2, 0, 0, 0)),
			want: facts{Statements: 1, Cursors: 1, Queries: 1, Transactions: 1}},
		{send: join(prepare("SELECT bad"), execute(lastStatement, 0)), want: facts{Statements: 1, Cursors: 1, Queries: 2, Transactions: 1}},
	}},
	{name: "attributes", only: "mysql", also: Capabilities(mysql.CLIENT_QUERY_ATTRIBUTES), steps: []step{
		{send: query("\x00\x01SELECT 1"), want: facts{Queries: 1, Transactions: 1}},
		{send: query("\x02\x01\x00\x01\x03\x00\x01a\xfd\x00\x01b\x07\x00\x00\x00\x02xySELECT 2"), want: facts{Queries: 2, Transactions: 2}},
		{send: prepare("SELECT ?"), want: facts{Statements: 1, Queries: 2, Transactions: 2}},
		{send: execute(1, 8, []byte("\x02\x00\x01\x03\x00\x00\xfd\x00\x01b\x07\x00\x00\x00\x02xy")...), want: facts{Statements: 1, Queries: 3, Transactions: 3}, check: wantTypes(1, 3, 0)},
		{send: execute(1, 8, []byte("\x01\x00\x00\x07\x00\x00\x00")...), want: facts{Statements: 1, Queries: 4, Transactions: 4}, check: wantTypes(1, 3, 0)},
		{send: prepare("SELECT 1"), want: facts{Statements: 2, Queries: 4, Transactions: 4}},
		{send: execute(2, 8, []byte("\x01\x00\x01\xfd\x00\x01b\x02xy")...), want: facts{Statements: 2, Queries: 5, Transactions: 5}, check: wantTypes(2)},
	}},
	{name: "no metadata", only: "mysql", dialect: "mysql", setup: numbers, steps: noMetadata},
	{name: "no metadata in old", only: "mysql", dialect: "old", also: Capabilities(mysql.CLIENT_LONG_PASSWORD | mysql.CLIENT_OPTIONAL_RESULTSET_METADATA), setup: numbers, steps: noMetadata},
	{name: "bulk", only: "mariadb", dialect: "modern", setup: []string{"CREATE TABLE k (v INT)"}, steps: []step{
		{send: prepare("INSERT INTO k VALUES (?)"), want: facts{Statements: 1}},
		{send: aboutStatement(ComBulkExecute, 1, 128, 0, 3, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0, 1), want: facts{Statements: 1, Queries: 1, Transactions: 1}, check: wantTypes(1, 3, 0)},
		{send: prepare("INSERT INTO k VALUES (?) RETURNING v"), want: facts{Statements: 2, Queries: 1, Transactions: 1}},
		{send: aboutStatement(ComBulkExecute, 2, 128, 0, 3, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0, 1), want: facts{Statements: 2, Queries: 2, Transactions: 2}},
	}},
	{name: "progress", only: "mariadb", setup: []string{
		"CREATE TABLE p (i INT, s CHAR(200)) ENGINE=InnoDB", "INSERT INTO p SELECT seq, seq FROM seq_1_to_400000", "SET progress_report_time = 1",
	}, steps: []step{
		{send: query("ALTER TABLE p ADD COLUMN t INT, ALGORITHM=COPY"), quiet: 4 * time.Second, want: facts{Queries: 1, Transactions: 1}},
		{send: query("CHECK TABLE p"), quiet: 3 * time.Second, want: facts{Queries: 2, Transactions: 2}},
	}},
	{name: "binary log", only: "mariadb", setup: append(numbers[:2:2], "SET @master_binlog_checksum = 'NONE'"), steps: []step{
		{send: query("SELECT 1"), want: facts{Queries: 1, Transactions: 1}},
		{send: command(mysql.COM_REGISTER_SLAVE, 77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), want: facts{Replica: true, Queries: 1, Transactions: 1}},
		{send: command(mysql.COM_BINLOG_DUMP, join([]byte{4, 0, 0, 0, 1, 0, 77, 0, 0, 0}, []byte("binlog.000001"))...), want: facts{Replica: true, Queries: 1, Transactions: 1}},
	}},
}

// observed is a Tracker and the ids of the script's statements.
type observed struct {
	*Tracker
	ids []uint32
}

func (o observed) statement(number uint32) (*Statement, bool) {
	return o.Statement(o.ids[number-1])
}

// putIDs puts a server's ids in the place of a script's numbers.
func putIDs(packets []byte, ids []uint32) []byte {
	packets = bytes.Clone(packets)
	for rest := packets; len(rest) >= HeaderSize; {
		length, seq := Header(rest)
		payload := rest[HeaderSize : HeaderSize+length]
		if seq == 0 && length >= 5 && bytes.IndexByte(statementCommands, payload[0]) >= 0 {
			if n := binary.LittleEndian.Uint32(payload[1:]); n > 0 && n <= uint32(len(ids)) {
				binary.LittleEndian.PutUint32(payload[1:], ids[n-1])
			}
		}
		rest = rest[HeaderSize+length:]
	}
	return packets
}

var statementCommands = []byte{
	mysql.COM_STMT_EXECUTE, mysql.COM_STMT_SEND_LONG_DATA, mysql.COM_STMT_CLOSE, mysql.COM_STMT_RESET, mysql.COM_STMT_FETCH, ComBulkExecute,
}

// learnID notes the id that the answer to a step which begins by preparing a
// statement gives it.
func learnID(ids []uint32, sent, answer []byte) []uint32 {
	if len(sent) > HeaderSize && sent[HeaderSize] == mysql.COM_STMT_PREPARE && len(answer) > HeaderSize+5 && answer[HeaderSize] == OKHeader {
		ids = append(ids, binary.LittleEndian.Uint32(answer[HeaderSize+1:]))
	}
	return ids
}

func longData(id uint32, data []byte) []byte {
	return aboutStatement(mysql.COM_STMT_SEND_LONG_DATA, id, join([]byte{0, 0}, data)...)
}

func wantTypes(id uint32, types ...byte) func(*testing.T, observed) {
	return func(t *testing.T, k observed) {
		if s, ok := k.statement(id); !ok || !bytes.Equal(s.Types, types) || s.TypesUnknown {
			t.Errorf("types of the parameters: %+v, want % x", s, types)
		}
	}
}

func wantSchema(name string) func(*testing.T, observed) {
	return func(t *testing.T, k observed) {
		got, known := k.Schema()
		if tracked := k.caps.Has(mysql.CLIENT_SESSION_TRACK); known != tracked || tracked && got != name {
			t.Errorf("schema %q, known %v; want %q", got, known, name)
		}
	}
}

func wantMulti(want bool) func(*testing.T, observed) {
	return func(t *testing.T, k observed) {
		if k.MultiStatements() != want {
			t.Errorf("several statements: %v, want %v", !want, want)
		}
	}
}
