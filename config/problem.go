package config

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is one mistake.
type Problem struct {
	File  string `json:"file"`
	Line  int    `json:"line,omitempty"` // 0: the file as a whole
	Key   string `json:"key,omitempty"`
	Wrong string `json:"wrong"`
	Right string `json:"right,omitempty"`
}

// Error is file:line: key: what is wrong; what would be right.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Key != "" {
		b.WriteString(": " + p.Key)
	}
	b.WriteString(": " + p.Wrong)
	if p.Right != "" {
		b.WriteString("; " + p.Right)
	}
	return b.String()
}

// Errors is every mistake of a configuration, in the order of the file.
type Errors struct{ Problems []Problem }

func (e *Errors) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// NewErrors returns the problems as an error, nil if there are none.
func NewErrors(problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	return &Errors{Problems: inOrder(problems)}
}

func inOrder(problems []Problem) []Problem {
	sorted := slices.Clone(problems)
	slices.SortStableFunc(sorted, func(a, b Problem) int { return a.Line - b.Line })
	return sorted
}
