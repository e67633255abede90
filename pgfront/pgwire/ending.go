package pgwire

import "bytes"

// ending is how a statement may end the transaction that it runs in.
type ending uint8

const (
	stays   ending = iota
	rolls          // only by rolling it back
	commits        // by committing it, or that cannot be ruled out
)

// maxEnders is how many names of statements that end transactions are kept.
const maxEnders = 1024

// intent is what the requests under way may do to the open transaction: it
// decides whether a session whose engine died knows that it was rolled back.
// It errs towards "commits".
type intent struct {
	mayCommit bool // something under way may commit
	mayRoll   bool // something under way may roll back: what is sent behind it runs by itself

	statements map[string]ending // prepared statements that end transactions, by name
	crowded    bool              // there were more than are kept
	bound      ending            // the unnamed portal's statement
	portals    ending            // the worst of all named portals'
}

// sends takes note of a client's message, of whose body, size bytes long, the
// beginning is there.
func (i *intent) sends(kind byte, body []byte, size int) {
	whole := len(body) == size
	switch kind {
	case Query:
		if !whole {
			i.runs(commits)
			return
		}
		i.runs(endingOf(body))
	case FunctionCall:
		i.runs(stays)
	case Parse:
		i.parses(body, whole)
	case Bind:
		i.binds(body)
	case Execute:
		switch {
		case len(body) == 0:
			i.runs(commits)
		case body[0] == 0:
			i.runs(i.bound)
		default:
			i.runs(i.portals)
		}
	}
}

// runs a statement behind those that are under way.
func (i *intent) runs(e ending) {
	i.mayCommit = i.mayCommit || e == commits || i.mayRoll
	i.mayRoll = i.mayRoll || e == rolls
}

// settles is that nothing is under way any more.
func (i *intent) settles() { i.mayCommit, i.mayRoll = false, false }

func (i *intent) parses(body []byte, whole bool) {
	name, text, named := bytes.Cut(body, []byte{0})
	if !named { // it may be any statement's
		i.crowded = true
		i.notes("", commits)
		return
	}
	e := commits
	if text, _, ended := bytes.Cut(text, []byte{0}); ended || whole {
		e = endingOf(text)
	}
	switch {
	case e == stays && len(name) == 0:
		delete(i.statements, "")
	case e == stays: // a Parse of a name that is taken fails: what it was stands
	case len(name) > 0 && len(i.statements) >= maxEnders:
		i.crowded = true
	default:
		i.notes(string(name), e)
	}
}

func (i *intent) notes(name string, e ending) {
	if i.statements == nil {
		i.statements = map[string]ending{}
	}
	i.statements[name] = max(e, i.statements[name])
}

func (i *intent) binds(body []byte) {
	portal, rest, ok := bytes.Cut(body, []byte{0})
	name, _, named := bytes.Cut(rest, []byte{0})
	e := commits
	if ok && named {
		e = i.statements[string(name)]
		if i.crowded && len(name) > 0 {
			e = commits
		}
	}
	if len(portal) == 0 {
		i.bound = e
	}
	if !ok || len(portal) > 0 { // a name that is not there may be any
		i.portals = max(i.portals, e)
	}
}

// endingOf is the worst that the statements of a text may do. It takes every
// semicolon for the end of one, and what it cannot read for a COMMIT.
func endingOf(text []byte) ending {
	text, _, _ = bytes.Cut(text, []byte{0})
	worst := stays
	for len(text) > 0 {
		var statement []byte
		var more bool
		statement, text, more = bytes.Cut(text, []byte{';'})
		word, readable := firstWord(statement)
		switch {
		case !readable:
			return commits
		case more && len(word) == 0 && bytes.Contains(statement, []byte("--")):
			return commits // the semicolon is the comment's
		case len(word) == 0:
			continue
		case worst == rolls:
			return commits // it runs by itself, behind a ROLLBACK
		case isWord(word, "commit"), isWord(word, "end"), isWord(word, "prepare"):
			return commits
		case isWord(word, "rollback"), isWord(word, "abort"):
			worst = rolls
		}
	}
	return worst
}

// firstWord is a statement's first word, empty if there is none. It is not
// readable where a comment does not end.
func firstWord(statement []byte) (word []byte, readable bool) {
	rest, readable := skipBlank(statement)
	end := 0
	for end < len(rest) && inName(rest[end]) {
		end++
	}
	if end == 0 && len(rest) > 0 {
		return rest[:1], readable
	}
	return rest[:end], readable
}

// skipBlank passes over white space and comments, which may be nested.
func skipBlank(text []byte) (rest []byte, readable bool) {
	for {
		text = bytes.TrimLeft(text, " \t\r\n\f\v")
		switch {
		case bytes.HasPrefix(text, []byte("--")):
			end := bytes.IndexAny(text, "\r\n")
			if end < 0 {
				return nil, true
			}
			text = text[end:]
		case bytes.HasPrefix(text, []byte("/*")):
			if text, readable = skipComment(text); !readable {
				return nil, false
			}
		default:
			return text, true
		}
	}
}

func skipComment(text []byte) (rest []byte, ended bool) {
	depth := 0
	for at := 0; at+1 < len(text); at++ {
		switch {
		case text[at] == '/' && text[at+1] == '*':
			depth++
			at++
		case text[at] == '*' && text[at+1] == '/':
			depth--
			at++
			if depth == 0 {
				return text[at+1:], true
			}
		}
	}
	return nil, false
}

func isWord(word []byte, lower string) bool {
	return len(word) == len(lower) && foldedPrefix(word, lower)
}

// IsRollback tells whether a text is one ROLLBACK of the whole transaction,
// and nothing else.
func IsRollback(text []byte) bool {
	words := make([]string, 0, 5)
	for rest := text; ; {
		word, readable := firstWord(rest)
		if !readable || len(words) > 4 {
			return false
		}
		rest, _ = skipBlank(rest)
		rest = rest[len(word):]
		if len(word) == 0 || word[0] == ';' {
			if blank, ok := skipBlank(bytes.TrimLeft(rest, "; \t\r\n\f\v")); !ok || len(blank) > 0 {
				return false
			}
			break
		}
		words = append(words, string(bytes.ToLower(word)))
	}
	return isRollback(words)
}

func isRollback(words []string) bool {
	if len(words) == 0 || words[0] != "rollback" && words[0] != "abort" {
		return false
	}
	words = words[1:]
	if len(words) > 0 && (words[0] == "work" || words[0] == "transaction") {
		words = words[1:]
	}
	return len(words) == 0 || len(words) == 3 && words[0] == "and" && words[1] == "no" && words[2] == "chain"
}
