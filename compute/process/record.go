package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// recordName is the file in Place.Run that says which process is ours.
const recordName = "engine.json"

// record is what is written of an engine when it is started, so that a later
// run of the proxy can find it again, and so that nobody else is ever taken
// for it: a process id is used again, a process id with its start time is not.
type record struct {
	PID     int    `json:"pid"`
	Started uint64 `json:"started"`
	Boot    string `json:"boot"`
	Program string `json:"program"`
}

func recordOf(p procfs) record {
	return record{PID: p.pid, Started: p.started, Boot: bootID(), Program: p.program()}
}

// process returns the recorded process if it lives. What the file says is not
// trusted further than that: it must be the engine's user's own.
func (r record) process(at Place) (procfs, bool) {
	if r.PID <= 1 || r.Boot != bootID() {
		return procfs{}, false
	}
	p, err := readProc(r.PID)
	ok := err == nil && !p.dead() && p.started == r.Started && int(p.uid) == at.UID
	return p, ok
}

// readRecord returns the zero record when there is none.
func readRecord(at Place) (record, error) {
	run, err := os.OpenRoot(at.Run)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, nil
	}
	if err != nil {
		return record{}, fmt.Errorf("open run directory: %w", err)
	}
	defer run.Close()
	text, err := run.ReadFile(recordName)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, nil
	}
	if err != nil {
		return record{}, fmt.Errorf("read engine record: %w", err)
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		// Half written when the machine stopped: then no engine outlived it.
		return record{}, nil
	}
	return r, nil
}

func writeRecord(at Place, r record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return writeRun(at, File{Name: recordName, Content: string(text) + "\n"})
}

func removeRecord(at Place) {
	if run, err := os.OpenRoot(at.Run); err == nil {
		_ = run.Remove(recordName)
		_ = run.Close()
	}
}

// writeRun writes a file of the run directory whole, for the engine's user.
// The directory is that user's: through os.Root, no link in it leads out.
func writeRun(at Place, f File) error {
	run, err := os.OpenRoot(at.Run)
	if err != nil {
		return fmt.Errorf("open run directory: %w", err)
	}
	defer run.Close()
	next := f.Name + ".new"
	if err := run.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write %s: %w", f.Name, err)
	}
	if err := run.WriteFile(next, []byte(f.Content), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", f.Name, err)
	}
	if err := giveRoot(run, next, at); err != nil {
		return fmt.Errorf("write %s: %w", f.Name, err)
	}
	if err := run.Rename(next, f.Name); err != nil {
		return fmt.Errorf("write %s: %w", f.Name, err)
	}
	return nil
}
