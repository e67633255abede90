package cluster

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"sync"
)

// How much a journal keeps: two files on disk, and the latest in memory.
const (
	rotateAt   = 1 << 20
	keptEvents = 1000
)

// journal is a cluster's events: a line each in a file, which makes room for
// a new one when it is full, and the latest in memory for those who read.
type journal struct {
	path string
	file *os.File // the writer's alone, as is size
	size int64

	mu      sync.Mutex // protects following; never held while the file is written
	kept    []Event
	dropped int           // how many went before kept[0]
	changed chan struct{} // closed at the next event
}

func openJournal(path string) (*journal, error) {
	j := &journal{path: path, changed: make(chan struct{})}
	for _, name := range []string{path + ".1", path} {
		text, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read events: %w", err)
		}
		j.keep(parseEvents(text)...)
	}
	if err := j.open(); err != nil {
		return nil, err
	}
	return j, nil
}

// parseEvents leaves out what is no event: a line that a crash cut short.
func parseEvents(text []byte) (events []Event) {
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var e Event
		if json.Unmarshal(lines.Bytes(), &e) == nil && !e.Time.IsZero() {
			events = append(events, e)
		}
	}
	return events
}

// open begins a line of its own, whatever the last one ends with.
func (j *journal) open() error {
	file, err := os.OpenFile(j.path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open events: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("open events: %w", err), file.Close())
	}
	j.file, j.size = file, info.Size()
	last := make([]byte, 1)
	if _, err := file.ReadAt(last, j.size-1); err == nil && last[0] != '\n' {
		if _, err := file.Write([]byte("\n")); err != nil {
			return errors.Join(fmt.Errorf("open events: %w", err), file.Close())
		}
		j.size++
	}
	return nil
}

// add keeps an event and writes it down. One goroutine at a time.
func (j *journal) add(e Event) error {
	j.keep(e)
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	if j.size > 0 && j.size+int64(len(line)) >= rotateAt {
		if err := j.rotate(); err != nil {
			return err
		}
	}
	n, err := j.file.Write(append(line, '\n'))
	j.size += int64(n)
	if err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	return nil
}

func (j *journal) rotate() error {
	if err := errors.Join(j.file.Sync(), j.file.Close(), os.Rename(j.path, j.path+".1")); err != nil {
		return errors.Join(fmt.Errorf("rotate events: %w", err), j.open())
	}
	return j.open()
}

func (j *journal) close() error { return errors.Join(j.file.Sync(), j.file.Close()) }

// sync has what was written survive a power failure too.
func (j *journal) sync() error { return j.file.Sync() }

func (j *journal) keep(events ...Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.kept = append(j.kept, events...)
	if surplus := len(j.kept) - keptEvents; surplus > 0 {
		j.kept = append([]Event(nil), j.kept[surplus:]...)
		j.dropped += surplus
	}
	close(j.changed)
	j.changed = make(chan struct{})
}

// from is what is kept of the n-th event and later, the number that comes
// next, and a channel closed when there is more.
func (j *journal) from(n int) (events []Event, next int, changed <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	skip := max(n-j.dropped, 0)
	return append([]Event(nil), j.kept[min(skip, len(j.kept)):]...), j.dropped + len(j.kept), j.changed
}

// Events are the latest events, oldest first.
func (c *Cluster) Events() []Event {
	events, _, _ := c.journal.from(0)
	return events
}

// Follow yields the latest events, oldest first, and then each new one, until
// ctx ends.
func (c *Cluster) Follow(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		for next := 0; ; {
			var events []Event
			var changed <-chan struct{}
			events, next, changed = c.journal.from(next)
			for _, e := range events {
				if !yield(e) {
					return
				}
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}
