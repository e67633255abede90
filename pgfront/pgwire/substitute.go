package pgwire

import (
	"bytes"
	"strings"
)

// A substitute stands in a backend for a prepared statement that cannot be
// what it was: whoever executes it gets an error which carries another, and a
// Tracker turns it into that one on its way to the client.

const (
	substituteMark = "serverlessproxy:"
	substituteEnd  = ":serverlessproxy"
	// room is for the fields of the error that the client gets, apart from its
	// message: both errors must be of one length.
	room = "                                        "
)

// Substitute is the text of a statement that fails with this error when it is
// executed, on a session that is Substituted.
func Substitute(code, message string) string {
	message = strings.ReplaceAll(message, "$", "S")
	return "select ($serverlessproxy$" + substituteMark + code + message + substituteEnd + room +
		"$serverlessproxy$::pg_catalog.text operator(pg_catalog.||) ''::pg_catalog.text)::pg_catalog.int4"
}

// Substituted tells the Tracker that the backend has substitutes.
func (t *Tracker) Substituted() { t.substituted = true }

// unmask turns a substitute's error into the one that it carries. Other errors
// stay as they are.
func unmask(body []byte) {
	_, carried, ok := bytes.Cut(body, []byte(substituteMark))
	if !ok || len(carried) < 5 {
		return
	}
	carried, _, ok = bytes.Cut(carried, []byte(substituteEnd))
	if !ok {
		return
	}
	var b []byte
	for rest := body; len(rest) > 1; { // what says how severe it is stays
		end := bytes.IndexByte(rest, 0)
		if end < 0 {
			return
		}
		if rest[0] == 'S' || rest[0] == 'V' {
			b = append(b, rest[:end+1]...)
		}
		rest = rest[end+1:]
	}
	b = append(append(append(b, 'C'), carried[:5]...), 0)
	b = append(append(append(b, 'M'), carried[5:]...), 0)
	padding := len(body) - len(b) - 3
	if padding < 0 {
		return
	}
	b = append(b, 'R')
	b = append(b, bytes.Repeat([]byte{' '}, padding)...)
	copy(body, append(b, 0, 0))
}
