package serverlessproxy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mayImport is the import law: for each room, the rooms that it may know.
// cmd/serverlessproxy and e2e are not listed: they may know everybody.
var mayImport = map[string][]string{
	"acu":                    {},
	"config":                 {"acu"},
	"credential":             {},
	"relay":                  {},
	"throttle":               {},
	"cluster":                {"acu"},
	"pool":                   {"acu", "cluster"},
	"pool/pooltest":          {"acu", "cluster", "pool"},
	"router":                 {"pool", "credential"},
	"pgfront/pgwire":         {},
	"pgfront":                {"pgfront/pgwire", "relay", "router", "pool", "cluster", "credential", "throttle"},
	"mysqlfront/mysqlwire":   {},
	"mysqlfront":             {"mysqlfront/mysqlwire", "relay", "router", "pool", "cluster", "credential", "throttle"},
	"compute/process":        {"acu", "cluster", "credential", "compute/process/limits"},
	"compute/process/limits": {},
	"compute/fixed":          {"acu", "cluster", "credential"},
	"compute/command":        {"acu", "cluster", "compute/fixed"},
	"engine/postgres":        {"acu", "cluster", "credential", "compute/process"},
	"engine/mysql":           {"acu", "cluster", "credential", "compute/process"},
	"metrics":                {"acu", "cluster", "pool"},
	"admin":                  {"acu", "cluster", "pool"},
}

// banned are imports that only the named rooms may have, and why.
var banned = []struct {
	path, why string
	except    []string
}{
	{"github.com/prometheus/client_golang", "only metrics knows Prometheus", []string{"metrics"}},
	{"flag", "flags are cmd's", nil},
	{"github.com/spf13/cobra", "flags are cmd's", nil},
	{"log", "a logger is given, never found", nil},
	{"github.com/goccy/go-yaml", "only config reads the file", []string{"config"}},
}

// bannedCalls are functions that only cmd may call, and why.
var bannedCalls = map[string]string{
	"os.Getenv":       "the environment is cmd's",
	"os.LookupEnv":    "the environment is cmd's",
	"slog.Default":    "a logger is given, never found",
	"slog.SetDefault": "a logger is given, never found",
	"os.Exit":         "exit codes are cmd's",
}

func free(room string) bool {
	return room == "." || strings.HasPrefix(room, "cmd/") || strings.HasPrefix(room, "e2e")
}

func TestHouseRules(t *testing.T) {
	files := token.NewFileSet()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin" || name == "serverlessproxy-data" || name == "node_modules") {
				return fs.SkipDir
			}
			return nil
		}
		room := filepath.ToSlash(filepath.Dir(path))
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || free(room) {
			return nil
		}
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		checkImports(t, path, room, file)
		checkCalls(t, files, room, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkImports(t *testing.T, path, room string, file *ast.File) {
	t.Helper()
	known, listed := mayImport[room]
	if !listed {
		t.Errorf("%s: room %q is not in the house: add it to mayImport with what it may know, and to doc.go", path, room)
		return
	}
	for _, spec := range file.Imports {
		name, _ := strconv.Unquote(spec.Path.Value)
		if other, ours := strings.CutPrefix(name, "serverlessproxy/"); ours && !slices.Contains(known, other) {
			t.Errorf("%s: %s must not know %s", path, room, other)
		}
		for _, ban := range banned {
			if (name == ban.path || strings.HasPrefix(name, ban.path+"/")) && ban.path != "log" && !slices.Contains(ban.except, room) || name == "log" && ban.path == "log" {
				t.Errorf("%s: imports %s: %s", path, name, ban.why)
			}
		}
	}
}

func checkCalls(t *testing.T, files *token.FileSet, room string, file *ast.File) {
	t.Helper()
	ast.Inspect(file, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if pkg, ok := selector.X.(*ast.Ident); ok {
			if why, bad := bannedCalls[pkg.Name+"."+selector.Sel.Name]; bad {
				t.Errorf("%s: %s in %s: %s", files.Position(n.Pos()), pkg.Name+"."+selector.Sel.Name, room, why)
			}
		}
		return true
	})
}
