package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// reader walks one parsed file and collects what is wrong with it.
type reader struct {
	file     string
	anchors  anchors
	problems []Problem
	warnings []Problem
	lines    map[string]int
	files    []fileUse
	pairs    []filePair
	asked    func(key string) // is told every key that is looked for
}

type anchors map[string]ast.Node

// section is one mapping of the file. Each typed getter leaves its target
// alone, and so at its default, when the key is absent or wrong.
type section struct {
	r      *reader
	path   string
	line   int
	keys   []string // in the order of the file
	values map[string]ast.Node
	lines  map[string]int
	known  map[string]bool
}

// read parses data into its top section.
func (r *reader) read(data []byte) *section {
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		r.syntax(err)
		return r.empty("", 0)
	}
	var body ast.Node
	for _, doc := range tree.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			r.add(Problem{Line: line(doc.Body), Wrong: "a second document", Right: "put everything into the first one"})
			break
		}
		body = doc.Body
	}
	if body == nil {
		r.add(Problem{Wrong: "the file is empty", Right: "`serverlessproxy config example` prints a complete one"})
		return r.empty("", 0)
	}
	r.findAnchors(body)
	return r.mapping("", body)
}

func (r *reader) syntax(err error) {
	p := Problem{Wrong: "not YAML: " + err.Error()}
	if known := yaml.Error(nil); errors.As(err, &known) {
		p.Wrong = "not YAML: " + known.GetMessage()
		if t := known.GetToken(); t != nil && t.Position != nil {
			p.Line = t.Position.Line
		}
	}
	r.add(p)
}

func (r *reader) add(p Problem) {
	p.File = r.file
	r.problems = append(r.problems, p)
}

// findAnchors notes where each anchor stands, so that an alias can be read in
// its place. It looks no deeper than the parser did.
func (r *reader) findAnchors(n ast.Node) {
	ast.Walk(visitor(func(n ast.Node) {
		if anchor, ok := n.(*ast.AnchorNode); ok && anchor.Name != nil {
			r.anchors[anchor.Name.String()] = anchor.Value
		}
	}), n)
}

type visitor func(ast.Node)

func (v visitor) Visit(n ast.Node) ast.Visitor {
	v(n)
	return v
}

// plain is the node behind anchors, aliases and tags; nil for nothing.
func (r *reader) plain(n ast.Node) ast.Node {
	for range 10 { // an alias of an alias is already odd; a circle ends here
		switch wrapped := n.(type) {
		case *ast.AnchorNode:
			n = wrapped.Value
		case *ast.AliasNode:
			n = r.anchors[wrapped.Value.String()]
		case *ast.TagNode:
			n = wrapped.Value
		case *ast.NullNode:
			return nil
		default:
			return n
		}
	}
	return nil
}

func (r *reader) empty(path string, line int) *section {
	return &section{r: r, path: path, line: line, values: map[string]ast.Node{}, lines: map[string]int{}, known: map[string]bool{}}
}

// mapping reads n as a section; nothing at all is an empty one.
func (r *reader) mapping(path string, n ast.Node) *section {
	s := r.empty(path, line(n))
	var pairs []*ast.MappingValueNode
	switch m := r.plain(n).(type) {
	case nil:
		return s
	case *ast.MappingNode:
		pairs = m.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{m}
	default:
		r.add(Problem{Line: line(n), Key: path, Wrong: "this is " + kind(m), Right: "keys and values are wanted here"})
		return s
	}
	for _, pair := range pairs {
		s.take(pair)
	}
	return s
}

func (s *section) take(pair *ast.MappingValueNode) {
	if _, merge := pair.Key.(*ast.MergeKeyNode); merge {
		s.r.add(Problem{Line: line(pair.Key), Key: s.path, Wrong: "merge keys (<<) are not read", Right: "write the keys out"})
		return
	}
	key := keyText(pair.Key)
	if _, twice := s.values[key]; twice {
		s.r.add(Problem{Line: line(pair.Key), Key: s.join(key), Wrong: "given twice", Right: "keep one"})
		return
	}
	s.keys = append(s.keys, key)
	s.values[key] = pair.Value
	s.lines[key] = line(pair.Key)
	s.r.lines[s.join(key)] = line(pair.Key)
}

func keyText(k ast.MapKeyNode) string {
	if text, ok := k.(*ast.StringNode); ok {
		return text.Value
	}
	return k.String()
}

func (s *section) join(key string) string {
	if s.path == "" {
		return key
	}
	return s.path + "." + key
}

// value is the node of a key, nil when it is absent or null.
func (s *section) value(key string) ast.Node {
	s.known[key] = true
	s.r.asked(key)
	n, there := s.values[key]
	if !there {
		return nil
	}
	return s.r.plain(n)
}

func (s *section) has(key string) bool { return s.value(key) != nil }

// isNull tells whether a key is there and has no value.
func (s *section) isNull(key string) bool {
	_, there := s.values[key]
	return there && !s.has(key)
}

// wrong notes a mistake at a key, which may be absent.
func (s *section) wrong(key, wrong, right string) {
	s.r.add(Problem{Line: s.lineOf(key), Key: s.join(key), Wrong: wrong, Right: right})
}

func (s *section) warn(key, wrong, right string) {
	s.r.warnings = append(s.r.warnings,
		Problem{File: s.r.file, Line: s.lineOf(key), Key: s.join(key), Wrong: wrong, Right: right})
}

// lineOf is where a key stands, or one of its list ("hosts[2]"); for an absent
// one, where its section does.
func (s *section) lineOf(key string) int {
	key, _, _ = strings.Cut(key, "[")
	if at, there := s.lines[key]; there {
		return at
	}
	return s.line
}

// section is the mapping under a key, an empty one when it is absent.
func (s *section) section(key string) *section {
	n := s.value(key)
	if n == nil {
		return s.r.empty(s.join(key), s.lineOf(key))
	}
	sub := s.r.mapping(s.join(key), n)
	sub.line = s.lineOf(key)
	return sub
}

// sections are the mappings of a list under a key.
func (s *section) sections(key string) []*section {
	n := s.value(key)
	if n == nil {
		return nil
	}
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		s.wrong(key, "this is "+kind(n), "a list is wanted: one entry after each \"-\"")
		return nil
	}
	all := make([]*section, 0, len(list.Values))
	for i, item := range list.Values {
		all = append(all, s.r.mapping(s.join(key)+"["+strconv.Itoa(i)+"]", item))
	}
	return all
}

// rename gives a section of a list the name that its entry bears.
func (s *section) rename(path string) {
	s.path = path
	for key, at := range s.lines {
		s.r.lines[s.join(key)] = at
	}
}

// done reports the keys that nobody asked for.
func (s *section) done() {
	for _, key := range s.keys {
		if s.known[key] {
			continue
		}
		right := "remove it"
		if near := nearest(key, s.known); near != "" {
			right = fmt.Sprintf("did you mean %q?", near)
		}
		s.wrong(key, "unknown key", right)
	}
}

// resolve makes a path of the file relative to the file's own directory, and
// one from the root, whatever the file was called by.
func (r *reader) resolve(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	joined := filepath.Join(filepath.Dir(r.file), path)
	if whole, err := filepath.Abs(joined); err == nil { // otherwise nobody knows where the process is
		return whole
	}
	return joined
}

func line(n ast.Node) int {
	if n == nil {
		return 0
	}
	t := n.GetToken()
	if t == nil || t.Position == nil {
		return 0
	}
	return t.Position.Line
}

func kind(n ast.Node) string {
	switch n.(type) {
	case nil:
		return "nothing"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a set of keys"
	case *ast.SequenceNode:
		return "a list"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.BoolNode:
		return "true or false"
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	}
	return "something else"
}
