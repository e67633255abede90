package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// outputFormat is how a command prints: for people, or as JSON for programs.
type outputFormat struct{ name string }

func (f *outputFormat) flag(cmd *cobra.Command) {
	cmd.Flags().VarP(f, "output", "o", "text or json")
	f.name = "text"
}

func (f *outputFormat) String() string { return f.name }
func (f *outputFormat) Type() string   { return "format" }

func (f *outputFormat) Set(name string) error {
	if name != "text" && name != "json" {
		return fmt.Errorf("%q is not a format; text or json", name)
	}
	f.name = name
	return nil
}

func (f *outputFormat) json() bool { return f.name == "json" }

// print writes the value as JSON, or the table that draw fills.
func (f *outputFormat) print(out io.Writer, value any, draw func(*table)) error {
	if f.json() {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(value)
	}
	t := &table{tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	draw(t)
	return t.w.Flush()
}

// printLine writes one value of a stream: a JSON object on a line, or the line.
func (f *outputFormat) printLine(out io.Writer, value any, line string) error {
	if f.json() {
		return json.NewEncoder(out).Encode(value)
	}
	_, err := fmt.Fprintln(out, line)
	return err
}

// table is columns for people.
type table struct{ w *tabwriter.Writer }

func (t *table) row(cells ...string) { fmt.Fprintln(t.w, strings.Join(cells, "\t")) }
