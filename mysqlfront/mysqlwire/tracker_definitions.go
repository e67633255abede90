package mysqlwire

import (
	"encoding/binary"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// preparedOK is the answer to COM_STMT_PREPARE: 0x00, id (4), columns (2),
// parameters (2), filler, warnings (2), with MySQL's optional metadata whether
// definitions follow.
func (t *Tracker) preparedOK(p []byte, length int) bool {
	const fixed, metadata = 9, 12
	if len(p) < min(length, metadata+1) {
		return false
	}
	if length < fixed || p[0] != OKHeader {
		t.statements.drop(t.pending.first().statement)
		return t.nonsense()
	}
	s := t.pending.first().statement
	s.Columns, s.Params = binary.LittleEndian.Uint16(p[5:]), binary.LittleEndian.Uint16(p[7:])
	t.statements.add(s, binary.LittleEndian.Uint32(p[1:]))
	binary.LittleEndian.PutUint32(p[1:], s.ID)
	t.left, t.columns = uint32(s.Params), uint32(s.Columns)
	t.bare = length > metadata && p[metadata] == 0
	t.nextBlock()
	return true
}

// nextBlock goes on to a prepared statement's definitions, of its parameters
// and then of its columns. A block of none is not sent; of one that is left
// out, the EOF is sent all the same.
func (t *Tracker) nextBlock() {
	if t.left == 0 {
		t.left, t.columns = t.columns, 0
	}
	if t.left == 0 {
		t.done()
		return
	}
	if t.bare {
		t.left = 0
	}
	t.moreDefinitions()
}

// moreDefinitions goes on inside a block of definitions, or to what ends it.
func (t *Tracker) moreDefinitions() {
	switch {
	case t.left > 0:
		t.stage = stageDefinitions
	case !t.caps.Has(mysql.CLIENT_DEPRECATE_EOF):
		t.stage = stageDefinitionsEnd
	default:
		t.afterBlock()
	}
}

func (t *Tracker) afterBlock() {
	if t.pending.first().command == mysql.COM_STMT_PREPARE {
		t.nextBlock()
		return
	}
	t.stage = stageRows
}
