package process

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
)

// Tunable is an optional ability of an Engine: an operator configures its
// settings, and may change them.
type Tunable interface {
	// Parameters are those with which Serve runs the server. Nobody changes the
	// map.
	Parameters() map[string]string
	// Configure has it be others from now on. It refuses those that capacity or
	// the proxy rules; then nothing has changed.
	Configure(parameters map[string]string) error
	// Examine is a command that fails, or has a Complaint, where no server would
	// start at p with these parameters, as far as that can be told without a
	// start. It finds its files in scratch, an empty directory of the engine's
	// user, and leaves data and server alone.
	Examine(ctx context.Context, p Place, scratch string) Command
	// Complaint is what of a server's or that command's output says why it did
	// not start, on one line; "" where nothing does.
	Complaint(output string) string
	// Tune gives the server that runs at p, at a size, those of the changes that
	// it takes while it runs. On an error it has none of them.
	Tune(ctx context.Context, p Place, size acu.Size, changes []ParameterChange) (Tuned, error)
}

// ParameterChange is what becomes of one parameter.
type ParameterChange struct {
	Name  string
	Value *string // nil: it is not configured any more, and the engine's own
}

// engineDefault is how a value reads that is the engine's own.
const engineDefault = "the engine's default"

// To is the value that it becomes, for people.
func (c ParameterChange) To() string {
	if c.Value == nil {
		return engineDefault
	}
	return *c.Value
}

// Tuned is what a running server has taken of changed parameters.
type Tuned struct {
	Waiting []cluster.SettingChange // what of them it takes at its next start alone
	Reload  Reload                  // still to be done
}

// tuning is what became of an engine's parameters.
type tuning struct {
	has      map[string]string       // the running engine's, or the last one's; nil: not known
	waiting  []cluster.SettingChange // in which it differs from those configured
	refused  error                   // why it did not take the latest; nil: it did
	declined map[string]string       // with which it did not start: not to be tried again
}

var _ cluster.Tuner = (*Compute)(nil)

// Tuning is what became of the parameters that the engine was given last.
func (c *Compute) Tuning() cluster.Tuning {
	t := cluster.Tuning{Refused: c.tuning.refused}
	if c.current != nil && c.current.alive() {
		t.Waiting = slices.Clone(c.tuning.waiting)
	}
	return t
}

// Tune gives the engine other parameters, and names those that have changed.
// What it refuses leaves it with those that it has.
func (c *Compute) Tune(ctx context.Context, parameters map[string]string) (changed []string, err error) {
	engine, ok := c.engine.(Tunable)
	if !ok {
		return nil, errors.New("set parameters: this engine takes none")
	}
	if c.tuning.declined != nil && maps.Equal(parameters, c.tuning.declined) {
		return nil, c.tuning.refused
	}
	before := engine.Parameters()
	if !maps.Equal(before, parameters) {
		err = c.take(ctx, engine, parameters)
	}
	c.tuning.refused, c.tuning.declined = err, nil
	if err != nil {
		return nil, err
	}
	for _, change := range changesBetween(before, parameters) {
		changed = append(changed, change.Name)
	}
	return changed, nil
}

// take leaves everything as it is where the engine does not take them.
func (c *Compute) take(ctx context.Context, engine Tunable, parameters map[string]string) error {
	before := engine.Parameters()
	if err := engine.Configure(parameters); err != nil {
		return err
	}
	err := c.examine(ctx, engine)
	if err == nil && c.current != nil && c.current.alive() {
		err = c.tune(ctx, engine)
	}
	if err != nil {
		return errors.Join(err, engine.Configure(before))
	}
	return nil
}

// tune brings the running engine as near to the configured parameters as it
// goes without a start.
func (c *Compute) tune(ctx context.Context, engine Tunable) error {
	changes := changesBetween(c.tuning.has, engine.Parameters())
	tuned, err := engine.Tune(ctx, c.place, c.size, changes)
	if err == nil {
		err = c.reload(ctx, tuned.Reload)
	}
	if err != nil {
		return err
	}
	c.tuning.waiting = tuned.Waiting
	c.tuning.has = withOnly(c.tuning.has, changes, tuned.Waiting)
	return c.keepParameters()
}

// reload has the engine read files again. Where nobody gets in afterwards it
// reads the old ones again.
func (c *Compute) reload(ctx context.Context, r Reload) error {
	old, err := c.present(r.Files)
	if err == nil {
		err = c.hand(r)
	}
	if err == nil && r.Confirm != nil {
		err = r.Confirm(ctx)
	}
	if err != nil {
		return errors.Join(err, c.hand(Reload{Files: old, Signal: r.Signal}))
	}
	return nil
}

// hand writes the files and gives the signal.
func (c *Compute) hand(r Reload) error {
	for _, file := range r.Files {
		if err := writeRun(c.place, file); err != nil {
			return err
		}
	}
	if r.Signal == 0 {
		return nil
	}
	return c.current.signal(r.Signal)
}

// present are the files of these names as they are.
func (c *Compute) present(files []File) ([]File, error) {
	run, err := os.OpenRoot(c.place.Run)
	if err != nil {
		return nil, fmt.Errorf("open run directory: %w", err)
	}
	defer run.Close()
	old := make([]File, len(files))
	for i, file := range files {
		text, err := run.ReadFile(file.Name)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file.Name, err)
		}
		old[i] = File{Name: file.Name, Content: string(text)}
	}
	return old, nil
}
