package pgwire

import "bytes"

// vacates tells whether a Query or a Parse holds a statement for which the
// server waits until nobody else is connected to a database: CREATE, ALTER or
// DROP DATABASE. It errs towards "it does", among statements that begin so.
func vacates(kind byte, body []byte) bool {
	switch kind {
	case Query:
	case Parse:
		_, body, _ = bytes.Cut(body, []byte{0})
	default:
		return false
	}
	word, _ := firstWord(body)
	begins := isWord(word, "drop") || isWord(word, "create") || isWord(word, "alter") ||
		isWord(word, "begin") || isWord(word, "start") // ALTER DATABASE may stand behind one, in the same text
	return begins && containsFold(body, "database")
}

// Vacates tells whether the client has asked, since the last call, for
// something that needs a database without other connections.
func (t *Tracker) Vacates() bool {
	asked := t.vacates
	t.vacates = false
	return asked
}
