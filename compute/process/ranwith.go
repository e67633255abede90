package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// ranWith is the file in Place.Run with the parameters that the engine runs
// with, or has run with last: they may hold secrets, so it is as closed as the
// engine's own configuration.
const ranWith = "parameters.json"

// recallParameters reads what the last engine ran with, once. Where that cannot
// be read nothing is known of it.
func (c *Compute) recallParameters() {
	if c.tuning.has != nil {
		return
	}
	has, err := readParameters(c.place)
	if err != nil {
		c.log.Warn("it is not known with which parameters the engine ran last", "error", err)
	}
	c.tuning.has = has
}

// readParameters returns nil where there is no such file.
func readParameters(at Place) (has map[string]string, err error) {
	run, err := os.OpenRoot(at.Run)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open run directory: %w", err)
	}
	defer run.Close()
	text, err := run.ReadFile(ranWith)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read parameters: %w", err)
	}
	if err := json.Unmarshal(text, &has); err != nil {
		return nil, fmt.Errorf("read parameters: %s: %w", ranWith, err)
	}
	return has, nil
}

func (c *Compute) keepParameters() error {
	text, err := json.Marshal(c.tuning.has)
	if err != nil {
		return fmt.Errorf("keep parameters: %w", err)
	}
	return writeRun(c.place, File{Name: ranWith, Content: string(text) + "\n"})
}
