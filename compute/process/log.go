package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

const (
	logName    = "log/engine.log"
	logOld     = "log/engine.log.1"
	logOldest  = "log/engine.log.2"
	logCheck   = 30 * time.Second
	tailBytes  = 4 << 10
	tailLines  = 12
	defaultLog = 16 << 20
)

// engineLog is the file that a server's standard error goes to. It may hold
// rows, and so it lies in the volume. Nothing is held open between two looks
// at it: an open file would keep the volume from being locked.
type engineLog struct {
	at    Place
	limit int64
	start int64 // where this run of the server began to write
}

// begin opens the log for a server to write to. One that has grown old is put
// aside first.
func (l *engineLog) begin() (*os.File, error) {
	volume, err := os.OpenRoot(l.at.Data)
	if err != nil {
		return nil, fmt.Errorf("open engine log: %w", err)
	}
	defer volume.Close()
	if size(volume) > l.limit {
		_ = volume.Rename(logOld, logOldest)
		if err := volume.Rename(logName, logOld); err != nil {
			return nil, fmt.Errorf("put engine log aside: %w", err)
		}
	}
	file, err := volume.OpenFile(logName, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open engine log: %w", err)
	}
	if err := giveRoot(volume, logName, l.at); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("give engine log to the engine's user: %w", err)
	}
	l.start = size(volume)
	return file, nil
}

// size is 0 for a log that is not there.
func size(volume *os.Root) int64 {
	info, err := volume.Stat(logName)
	if err != nil {
		return 0
	}
	return info.Size()
}

// keepShort shortens the log whenever it has grown over its limit, until the
// server ends.
func (l *engineLog) keepShort(ended <-chan struct{}) error {
	tick := time.NewTicker(logCheck)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return nil
		case <-tick.C:
			if err := l.shorten(); err != nil {
				return fmt.Errorf("shorten engine log: %w", err)
			}
		}
	}
}

// shorten copies a log over its limit away and empties it. The server appends,
// so that it goes on at the new beginning; what it writes between copy and
// emptying is lost.
func (l *engineLog) shorten() error {
	volume, err := os.OpenRoot(l.at.Data)
	if err != nil {
		return err
	}
	defer volume.Close()
	if size(volume) <= l.limit {
		return nil
	}
	_ = volume.Rename(logOld, logOldest)
	from, err := volume.OpenFile(logName, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := volume.OpenFile(logOld, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close(), from.Truncate(0))
}

// tail is the last that this run of the server has written.
func (l *engineLog) tail() string {
	volume, err := os.OpenRoot(l.at.Data)
	if err != nil {
		return ""
	}
	defer volume.Close()
	file, err := volume.Open(logName)
	if err != nil {
		return ""
	}
	defer file.Close()
	end := size(volume)
	from := max(l.start, end-tailBytes)
	if l.start > end { // it was shortened since
		from = max(0, end-tailBytes)
	}
	text, err := io.ReadAll(io.NewSectionReader(file, from, tailBytes))
	if err != nil {
		return ""
	}
	return lastLines(string(text))
}

// lastLines are the last few whole lines of a text, each indented.
func lastLines(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > tailLines {
		lines = lines[len(lines)-tailLines:]
	}
	var b strings.Builder
	for _, line := range lines {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString("\n    ")
			b.WriteString(line)
		}
	}
	return b.String()
}
