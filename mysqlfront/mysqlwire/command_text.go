package mysqlwire

import (
	"bytes"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// QueryText is the statement in the payload of a COM_QUERY: what follows the
// command byte and, with CLIENT_QUERY_ATTRIBUTES, the attributes. It is part
// of payload; ok is false where the attributes are cut or malformed.
func QueryText(payload []byte, caps Capabilities) (text []byte, ok bool) {
	if len(payload) == 0 {
		return nil, false
	}
	if !caps.Has(mysql.CLIENT_QUERY_ATTRIBUTES) {
		return payload[1:], true
	}
	return skipAttributes(payload[1:])
}

// skipAttributes returns what follows a COM_QUERY's attributes: their count,
// the count of sets (always 1), a bitmap of NULLs, a flag, and type, name and
// then value of each.
func skipAttributes(b []byte) (rest []byte, ok bool) {
	count, n := Uint(b)
	if n == 0 {
		return nil, false
	}
	b = b[n:]
	if _, n = Uint(b); n == 0 {
		return nil, false
	}
	b = b[n:]
	if count == 0 {
		return b, true
	}
	bitmap := (count + 7) / 8
	if count > 65535 || uint64(len(b)) < bitmap+1 {
		return nil, false
	}
	nulls, types := b[:bitmap], b[bitmap+1:]
	values, ok := skipTypes(types, int(count))
	for i := 0; ok && i < int(count); i++ {
		kind := types[0]
		_, types, _ = String(types[2:])
		if nulls[i/8]&(1<<(i%8)) == 0 {
			values, ok = skipValue(kind, values)
		}
	}
	return values, ok
}

// skipTypes returns what follows count pairs of type (2 bytes) and name.
func skipTypes(b []byte, count int) (rest []byte, ok bool) {
	for range count {
		if len(b) < 2 {
			return nil, false
		}
		if _, b, ok = String(b[2:]); !ok {
			return nil, false
		}
	}
	return b, true
}

// skipValue returns what follows one value of the binary protocol.
func skipValue(kind byte, b []byte) (rest []byte, ok bool) {
	size := 0
	switch kind {
	case mysql.MYSQL_TYPE_NULL:
	case mysql.MYSQL_TYPE_TINY:
		size = 1
	case mysql.MYSQL_TYPE_SHORT, mysql.MYSQL_TYPE_YEAR:
		size = 2
	case mysql.MYSQL_TYPE_LONG, mysql.MYSQL_TYPE_INT24, mysql.MYSQL_TYPE_FLOAT:
		size = 4
	case mysql.MYSQL_TYPE_LONGLONG, mysql.MYSQL_TYPE_DOUBLE:
		size = 8
	default: // strings, decimals, dates and times say their length themselves
		_, rest, ok = String(b)
		return rest, ok
	}
	if len(b) < size {
		return nil, false
	}
	return b[size:], true
}

// verdict is an answer that may have to wait for more bytes.
type verdict byte

const (
	no verdict = iota
	yes
	undecided
)

// killBegins tells whether text, which may be only a statement's beginning,
// is a KILL.
func killBegins(text []byte) verdict {
	rest, whole := LeadingSQL(text)
	if !whole {
		return undecided
	}
	const word = "kill"
	for i := range len(word) {
		if i == len(rest) {
			return undecided
		}
		if rest[i]|0x20 != word[i] {
			return no
		}
	}
	if len(rest) == len(word) {
		return undecided
	}
	if partOfWord(rest[len(word)]) {
		return no
	}
	return yes
}

func partOfWord(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0x80
}

// LeadingSQL is the text from its first word on: after white space, comments,
// and the opening of a comment that servers execute ("/*!50000 ", "/*M! ").
// whole is false where the text ends before a word can begin.
func LeadingSQL(text []byte) (rest []byte, whole bool) {
	for {
		text = bytes.TrimLeft(text, " \t\r\n\v\f;")
		if len(text) == 0 {
			return nil, false
		}
		after, comment, whole := skipComment(text)
		if !whole {
			return nil, false
		}
		if !comment {
			return text, true
		}
		text = after
	}
}

// skipComment returns what follows the comment that text begins with, if it
// begins with one. whole is false where text is too short to say.
func skipComment(text []byte) (after []byte, comment, whole bool) {
	switch text[0] {
	case '#':
		return afterLine(text)
	case '-':
		if len(text) < 3 {
			return nil, false, len(text) == 2 && text[1] != '-'
		}
		if text[1] != '-' || text[2] > ' ' {
			return nil, false, true
		}
		return afterLine(text)
	case '/':
		return skipBlockComment(text)
	}
	return nil, false, true
}

func afterLine(text []byte) (after []byte, comment, whole bool) {
	end := bytes.IndexByte(text, '\n')
	if end < 0 {
		return nil, true, false
	}
	return text[end+1:], true, true
}

func skipBlockComment(text []byte) (after []byte, comment, whole bool) {
	if len(text) < 4 {
		return nil, false, len(text) > 1 && text[1] != '*'
	}
	if text[1] != '*' {
		return nil, false, true
	}
	if text[2] == '!' {
		return bytes.TrimLeft(text[3:], "0123456789"), true, true
	}
	if text[2] == 'M' && text[3] == '!' {
		return bytes.TrimLeft(text[4:], "0123456789"), true, true
	}
	end := bytes.Index(text[2:], []byte("*/"))
	if end < 0 {
		return nil, true, false
	}
	return text[2+end+2:], true, true
}
