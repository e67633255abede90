package mysqlwire

import (
	"encoding/binary"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// readStatus reads the status flags of an OK or EOF packet and what it says
// of the session's state; false where more of it must be there.
func (t *Tracker) readStatus(p []byte, length int) (status uint16, ok bool) {
	if length < shortestOK {
		return t.readEOF(p, length)
	}
	want := min(length, okBeginning)
	tracked := t.caps.Has(mysql.CLIENT_SESSION_TRACK)
	if tracked && length <= maxState {
		want = length
	}
	if len(p) < want {
		return 0, false
	}
	caps := t.caps
	if want < length {
		caps &^= Capabilities(mysql.CLIENT_SESSION_TRACK)
		t.untracked = t.untracked || tracked
	}
	answer, err := ParseOK(p[:want], caps)
	if err != nil {
		t.doubt = true
		return t.status, true
	}
	t.facts.Affected = answer.AffectedRows
	t.leaves(answer.Warnings > 0)
	t.stateChanged(answer.State)
	return answer.Status, true
}

func (t *Tracker) readEOF(p []byte, length int) (status uint16, ok bool) {
	const statusAt, whole = 3, 5
	if len(p) < length {
		return 0, false
	}
	if length < whole {
		t.doubt = true
		return t.status, true
	}
	t.facts.Affected = 0
	t.leaves(binary.LittleEndian.Uint16(p[1:]) > 0)
	return binary.LittleEndian.Uint16(p[statusAt:]), true
}

// stateChanged takes note of an OK's session state information.
func (t *Tracker) stateChanged(state []byte) {
	for len(state) > 0 {
		data, rest, ok := String(state[1:])
		if !ok {
			t.untracked = true
			return
		}
		change := StateChange{Kind: state[0], Data: data}
		if name, ok := change.Schema(); ok {
			t.schema, t.schemaKnown = append(t.schema[:0], name...), true
		}
		if t.config.Changed != nil {
			t.config.Changed(change)
		}
		state = rest
	}
}
