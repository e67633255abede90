package mysqlwire

import "github.com/go-mysql-org/go-mysql/mysql"

// learnTypes keeps the parameters' types that an execution carries; false
// where more of the packet must be there to see them. The parameters of a
// statement that is still being prepared are not known, nor then its types.
func (t *Tracker) learnTypes(s *Statement, p []byte, length int) bool {
	if p[0] != mysql.COM_STMT_EXECUTE && p[0] != ComBulkExecute {
		return true
	}
	if s.prepares {
		s.TypesUnknown = true
		return true
	}
	types, found := t.findTypes(s, p)
	if found == undecided && len(p) < min(length, maxTypes) {
		return false
	}
	if found == yes {
		s.Types = types
	}
	if found != no {
		s.TypesUnknown = found == undecided
	}
	return true
}

func (t *Tracker) findTypes(s *Statement, p []byte) (types []byte, found verdict) {
	if p[0] == ComBulkExecute {
		return bulkTypes(s, p)
	}
	return t.executeTypes(s, p)
}

// executeTypes finds the types in a COM_STMT_EXECUTE: command, id (4), flags,
// iterations (4), with query attributes the number of all values, a bitmap of
// NULLs, whether types follow, types.
func (t *Tracker) executeTypes(s *Statement, p []byte) (types []byte, found verdict) {
	const flags, fixed = 5, 10
	if len(p) < fixed {
		return nil, undecided
	}
	count, rest := int(s.Params), p[fixed:]
	named := t.caps.Has(mysql.CLIENT_QUERY_ATTRIBUTES)
	if named && (count > 0 || p[flags]&mysql.PARAMETER_COUNT_AVAILABLE != 0) {
		all, n := Uint(rest)
		if n == 0 || all < uint64(s.Params) || all > 2*65535 {
			return nil, undecided
		}
		count, rest = int(all), rest[n:]
	}
	bitmap := (count + 7) / 8
	switch {
	case s.Params == 0:
		return nil, no
	case len(rest) <= bitmap:
		return nil, undecided
	case rest[bitmap] != 1:
		return nil, no
	case named:
		return takeNamedTypes(s, rest[bitmap+1:])
	}
	return takeTypes(s, rest[bitmap+1:])
}

// bulkTypes finds the types in a COM_STMT_BULK_EXECUTE: command, id (4), flags
// (2), types where a flag says so.
func bulkTypes(s *Statement, p []byte) (types []byte, found verdict) {
	const fixed, typesFollow = 7, 128
	if len(p) < fixed {
		return nil, undecided
	}
	if p[5]&typesFollow == 0 {
		return nil, no
	}
	return takeTypes(s, p[fixed:])
}

func takeTypes(s *Statement, b []byte) (types []byte, found verdict) {
	size := 2 * int(s.Params)
	if len(b) < size {
		return nil, undecided
	}
	return append(s.Types[:0], b[:size]...), yes
}

// takeNamedTypes takes the parameters' own types from those which, with query
// attributes, have a name each; the attributes' come after them.
func takeNamedTypes(s *Statement, b []byte) (types []byte, found verdict) {
	if _, whole := skipTypes(b, int(s.Params)); !whole {
		return nil, undecided
	}
	types = s.Types[:0]
	for range s.Params {
		types = append(types, b[:2]...)
		_, b, _ = String(b[2:])
	}
	return types, yes
}
