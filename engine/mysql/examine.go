package mysql

import (
	"context"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"serverlessproxy/compute/process"
)

// Examine has the server's program explain its options, those that are
// configured among them: it reads their values first. A variable of a plugin
// that only the data name cannot be known to it; so what a running server
// knows, and everything where none runs, may be unknown to it.
func (e *Engine) Examine(ctx context.Context, p process.Place, scratch string) process.Command {
	programs, err := e.found()
	if err != nil {
		return e.unfound(err)
	}
	args := []string{"--no-defaults", "--datadir=" + scratch, "--log-bin-index=" + filepath.Join(scratch, "bin.index")}
	args = append(args, programs.layout()...)
	args = append(args, loosened(options(e.Parameters()), e.knownVariables(ctx, p))...)
	return process.Command{Path: programs.Server, Args: append(args, "--verbose", "--help")}
}

// knownVariables are those of the server that runs at p, nil where none does.
func (e *Engine) knownVariables(ctx context.Context, p process.Place) map[string]bool {
	c, err := e.dialControl(ctx, p)
	if err != nil {
		return nil
	}
	defer c.quit()
	tables, err := c.ask(ctx, []string{"SHOW GLOBAL VARIABLES"})
	if err != nil {
		return nil
	}
	known := map[string]bool{}
	for _, row := range tables[0] {
		known[strings.ToLower(row["variable_name"])] = true
	}
	return known
}

// loosened has the program pass over those options that are known to a server,
// all where that is nil, should it not know them itself.
func loosened(options []string, known map[string]bool) []string {
	loose := slices.Clone(options)
	for i, option := range loose {
		name, _, _ := strings.Cut(strings.TrimPrefix(option, "--"), "=")
		if known == nil || known[variable(name)] {
			loose[i] = "--loose-" + strings.TrimPrefix(strings.TrimPrefix(option, "--"), "loose-")
		}
	}
	return loose
}

// errorLine is an error in the server's log: MariaDB's, and MySQL's with a code
// and a component before the text.
var errorLine = regexp.MustCompile(`\[ERROR\] (?:\[[^\]]*\] )*(?:[\w/.-]*(?:mysqld|mariadbd): )?(.*)`)

// Complaint is why a server did not start, of what it wrote; that an empty
// directory has no table of plugins is none. An option that it does not know it
// quotes with its value, which may be a secret.
func (e *Engine) Complaint(output string) string {
	var found []string
	for line := range strings.Lines(output) {
		match := errorLine.FindStringSubmatch(strings.TrimSpace(line))
		if match == nil || strings.HasPrefix(match[1], "Aborting") || strings.Contains(match[1], "mysql.plugin") {
			continue
		}
		found = append(found, match[1])
	}
	text := strings.Join(found, "; ")
	parameters := e.Parameters()
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		text = strings.ReplaceAll(text, name+"="+parameters[name], name)
	}
	return text
}
