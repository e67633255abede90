package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	scratchName  = "examine" // in Place.Run, for as long as it takes
	examineLimit = 30 * time.Second
)

// examine asks the engine's own program about the configured parameters.
func (c *Compute) examine(ctx context.Context, engine Tunable) error {
	ctx, cancel := context.WithTimeout(ctx, examineLimit)
	defer cancel()
	at := c.place
	at.Run = filepath.Join(c.place.Run, scratchName)
	if err := errors.Join(os.RemoveAll(at.Run), c.place.own(at.Run)); err != nil {
		return fmt.Errorf("examine parameters: %w", err)
	}
	defer os.RemoveAll(at.Run)
	command := engine.Examine(ctx, c.place, at.Run)
	for _, file := range command.Files {
		if err := writeRun(at, file); err != nil {
			return fmt.Errorf("examine parameters: %w", err)
		}
	}
	output, err := c.outputOf(ctx, command)
	if why := engine.Complaint(output); why != "" {
		return errors.New(why)
	}
	if err != nil {
		return fmt.Errorf("examine parameters: %w", err)
	}
	return nil
}
