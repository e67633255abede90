package postgres

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
	"serverlessproxy/compute/process"
)

var (
	_ process.Adjuster = (*Engine)(nil)
	_ process.Flusher  = (*Engine)(nil)
)

// Plan says what another size does to the server that runs at p. What it was
// started with it keeps until its next start.
func (e *Engine) Plan(p process.Place, from, to acu.Size) cluster.Steps {
	running := startedWith(p)
	var steps cluster.Steps
	steps.Live = e.differences(memory(from, e.machine), memory(to, e.machine))
	wanted := capacity(to, e.machine)
	has := make([]setting, len(wanted))
	for i, s := range wanted {
		has[i] = setting{s.name, running[s.name]}
	}
	steps.AtStart = e.differences(has, wanted)
	steps.Restart = running["max_connections"] == "" // nor is it known what else it was started with
	return steps
}

// Sessions is for how many the max_connections has room with which the server
// was started; 0 where it is not known.
func (e *Engine) Sessions(p process.Place) int {
	admitted, err := strconv.Atoi(startedWith(p)["max_connections"])
	if err != nil {
		return 0
	}
	return max(admitted-OwnConnections, 1)
}

// differences leaves out what the operator has configured, which stays.
func (e *Engine) differences(from, to []setting) (changes []cluster.SettingChange) {
	parameters := e.Parameters()
	for i, s := range to {
		if _, configured := parameters[s.name]; !configured && from[i].value != s.value {
			changes = append(changes, cluster.SettingChange{Setting: s.name, From: from[i].value, To: s.value})
		}
	}
	return changes
}

// Adjust has the server read a configuration with the size's settings. Those
// that it was started with stay as they are in it: else the server would ask
// for a restart in its log.
func (e *Engine) Adjust(_ context.Context, p process.Place, size acu.Size) (process.Reload, error) {
	running := startedWith(p)
	var settings []setting
	for _, s := range capacity(size, e.machine) {
		if running[s.name] == "" {
			return process.Reload{}, fmt.Errorf("%s does not say with which %s the server was started; it takes another size at its next start", configName, s.name)
		}
	}
	for _, name := range atStart {
		if value, ok := running[name]; ok {
			settings = append(settings, setting{name, value})
		}
	}
	content := configFile(p, append(settings, memory(size, e.machine)...), e.Parameters())
	return process.Reload{Files: []process.File{{Name: configName, Content: content}}, Signal: syscall.SIGHUP}, nil
}

// Flush is a checkpoint: the one of a stop has little left to write then.
func (e *Engine) Flush(ctx context.Context, p process.Place) error {
	network, address := e.Address(p)
	conn, err := Dial{Network: network, Address: address}.control(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "CHECKPOINT"); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// startedWith are the settings in the run directory's configuration, by name;
// those of the size that only a start changes are the running server's.
func startedWith(p process.Place) map[string]string {
	run, err := os.OpenRoot(p.Run)
	if err != nil {
		return nil
	}
	defer run.Close()
	text, err := run.ReadFile(configName)
	if err != nil {
		return nil
	}
	return settingsIn(string(text))
}

// settingsIn reads lines as configFile writes them.
func settingsIn(text string) map[string]string {
	found := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " = ")
		if ok && len(value) >= 2 && value[0] == '\'' && value[len(value)-1] == '\'' {
			found[name] = value[1 : len(value)-1]
		}
	}
	return found
}
