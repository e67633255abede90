package mysqlwire

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
)

func TestIDsOnAnotherBackend(t *testing.T) {
	r := newReplay(plain())
	r.fromClient(join(prepare("SELECT 1"), prepare("SELECT 2"), prepare("SELECT 3")))
	r.fromBackend(join(preparedAnswer(1, 1, 0), preparedAnswer(2, 1, 0), preparedAnswer(3, 1, 0)))
	r.t.Detach()
	r.t.Bind(1, 2)
	r.t.Bind(2, 77)
	r.sent, r.received = nil, nil

	// The known ones are called by the backend's ids, an unknown one by none,
	// one that is not prepared only where it doesn't matter.
	id := func(code byte, n uint32) []byte { return aboutStatement(code, n) }
	use := join(id(mysql.COM_STMT_RESET, 1), id(mysql.COM_STMT_RESET, 2), id(mysql.COM_STMT_RESET, 77), id(mysql.COM_STMT_CLOSE, 3))
	want := join(id(mysql.COM_STMT_RESET, 2), id(mysql.COM_STMT_RESET, 77), id(mysql.COM_STMT_RESET, 0), id(mysql.COM_STMT_CLOSE, 0))
	if r.fromClient(use); !bytes.Equal(r.sent, want) {
		t.Errorf("sent % x\nwant % x", r.sent, want)
	}
	r.fromBackend(join(okPacket, okPacket, errPacket))

	// A new statement never gets an id that the client knows another by.
	r.received = nil
	r.fromClient(prepare("SELECT 4"))
	r.fromBackend(preparedAnswer(1, 1, 0))
	if got := binary.LittleEndian.Uint32(r.received[5:]); got != 4 {
		t.Errorf("the new statement got id %d, want 4", got)
	}
	r.sent = nil
	r.fromClient(id(mysql.COM_STMT_RESET, 4))
	if !bytes.Equal(r.sent, id(mysql.COM_STMT_RESET, 1)) {
		t.Errorf("sent % x", r.sent)
	}
	r.fromBackend(okPacket)
	r.sent = nil
	r.fromClient(execute(lastStatement, 0))
	if !bytes.Equal(r.sent, execute(1, 0)) {
		t.Errorf("what was prepared last: sent % x", r.sent)
	}
	var texts []string
	for s := range r.t.Statements() {
		texts = append(texts, string(s.Text()))
	}
	if slices.Sort(texts); !slices.Equal(texts, []string{"SELECT 1", "SELECT 2", "SELECT 4"}) {
		t.Errorf("statements %q", texts)
	}
}

func TestAStatementThatIsNotPreparedHereStops(t *testing.T) {
	r := newReplay(plain())
	r.fromClient(prepare("SELECT ?"))
	r.fromBackend(preparedAnswer(5, 1, 1))
	r.t.Detach()
	for name, use := range map[string][]byte{
		"execute":   execute(5, 0, 0, 1, 3, 0, 1, 0, 0, 0),
		"last":      execute(lastStatement, 0),
		"long data": longData(5, []byte("x")),
		"fetch":     fetch(5, 1),
		"reset":     aboutStatement(mysql.COM_STMT_RESET, 5),
		"bulk":      aboutStatement(ComBulkExecute, 5, 0, 0),
	} {
		r.client, r.sent = nil, nil
		if !r.fromClient(use) || r.t.Stopped() != StopStatement || r.t.Wanted() != 5 || len(r.sent) > 0 {
			t.Errorf("%s: stopped by %v for %d, % x passed", name, r.t.Stopped(), r.t.Wanted(), r.sent)
		}
	}
	r.client, r.sent = nil, nil
	if r.fromClient(join(query("SELECT 1"), execute(5, 0))) || !r.fromBackend(aResult) || r.t.Stopped() != StopStatement {
		t.Errorf("behind a query: stopped by %v", r.t.Stopped())
	}
	r.t.Bind(5, 5)
	if r.fromClient(nil) || r.t.Pending() != 1 {
		t.Errorf("after Bind: stopped by %v", r.t.Stopped())
	}
}

func TestTypesBesideQueryAttributes(t *testing.T) {
	config := plain()
	config.Capabilities |= Capabilities(mysql.CLIENT_QUERY_ATTRIBUTES)
	r := newReplay(config)
	r.fromClient(prepare("SELECT ?, ?"))
	r.fromBackend(preparedAnswer(1, 2, 2))
	named := []byte("\x03\x00\x01\x03\x00\x02ab\xfd\x00\x00\x08\x80\x01c........")
	pieces(execute(1, 8, named...), 1, func(b []byte) { r.fromClient(b) })
	if s, _ := r.t.Statement(1); !bytes.Equal(s.Types, []byte{3, 0, 0xfd, 0}) || s.TypesUnknown {
		t.Errorf("types % x, unknown %v", s.Types, s.TypesUnknown)
	}
	r.fromClient(execute(1, 8, 3, 0)) // cut: the server's matter, but no longer known
	if s, _ := r.t.Statement(1); !s.TypesUnknown {
		t.Error("types are known after an execution that could not be read")
	}
}

func TestTypesOfAStatementThatIsStillBeingPrepared(t *testing.T) {
	r := newReplay(plain())
	r.fromClient(join(prepare("SELECT ?"), execute(lastStatement, 0, 0, 1, 3, 0, 1, 0, 0, 0)))
	r.fromBackend(join(preparedAnswer(1, 1, 1), aResult))
	s, _ := r.t.Statement(1)
	if !s.TypesUnknown {
		t.Error("known")
	}
	r.fromClient(execute(1, 0, 0, 1, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0))
	if s.TypesUnknown || !bytes.Equal(s.Types, []byte{8, 0}) {
		t.Errorf("types % x, unknown %v", s.Types, s.TypesUnknown)
	}
}
