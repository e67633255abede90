package command

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

const (
	outputName  = "command.log"
	outputOld   = "command.log.1"
	outputLimit = 1 << 20 // bytes; one older file of about this size is kept
	tailBytes   = 4 << 10
	tailLines   = 12
)

func (r *runner) path() string { return filepath.Join(r.dir, outputName) }

// begin opens the file for the output of a command, which appends.
func (r *runner) begin() (*os.File, error) {
	if err := os.MkdirAll(r.dir, 0o711); err != nil {
		return nil, fmt.Errorf("make cluster directory: %w", err)
	}
	r.keepShort()
	file, err := os.OpenFile(r.path(), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open output of commands: %w", err)
	}
	r.began = r.length()
	return file, nil
}

func (r *runner) length() int64 {
	info, err := os.Stat(r.path())
	if err != nil {
		return 0
	}
	return info.Size()
}

// keepShort copies output over its limit away and empties the file. Whoever
// appends to it goes on at the new beginning; what is written between copy
// and emptying is lost. It does nothing where it cannot: the next look tries
// again, and the next command says what is wrong.
func (r *runner) keepShort() {
	if r.length() <= outputLimit {
		return
	}
	from, err := os.OpenFile(r.path(), os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer from.Close()
	to, err := os.OpenFile(filepath.Join(r.dir, outputOld), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return
	}
	defer to.Close()
	_, _ = io.Copy(to, io.NewSectionReader(from, max(0, r.length()-outputLimit), outputLimit))
	_ = from.Truncate(0)
}

// ending is the last that the command has written, as part of an error.
func (r *runner) ending() string {
	file, err := os.Open(r.path())
	if err != nil {
		return ""
	}
	defer file.Close()
	end := r.length()
	from := max(r.began, end-tailBytes)
	if r.began > end { // it was shortened since
		from = max(0, end-tailBytes)
	}
	text, err := io.ReadAll(io.NewSectionReader(file, from, tailBytes))
	if err != nil {
		return ""
	}
	lines := strings.FieldsFunc(string(text), func(c rune) bool { return c == '\n' || c == '\r' })
	if len(lines) > tailLines {
		lines = lines[len(lines)-tailLines:]
	}
	if len(lines) == 0 {
		return "; it wrote nothing (" + r.path() + ")"
	}
	return "; its output (" + r.path() + ") ends:\n    " + strings.Join(lines, "\n    ")
}
