package mysql

import (
	"context"
	"strconv"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
	"serverlessproxy/compute/process"
)

var _ process.Adjuster = (*Engine)(nil)

// Plan says what another size does to a running server: all of it can be
// changed there.
func (e *Engine) Plan(_ process.Place, from, to acu.Size) (steps cluster.Steps) {
	before, after := sized(from), sized(to)
	for i, s := range after {
		if before[i].value != s.value {
			steps.Live = append(steps.Live, cluster.SettingChange{Setting: s.name, From: before[i].value, To: s.value})
		}
	}
	return steps
}

// Adjust is Settle.
func (e *Engine) Adjust(ctx context.Context, p process.Place, size acu.Size) (process.Reload, error) {
	_, socket := e.Address(p)
	return process.Reload{}, e.Settle(ctx, socket, size)
}

// Sessions follow the size: max_connections can be changed.
func (e *Engine) Sessions(process.Place) int { return 0 }

// setting is one that a size asks for.
type setting struct{ name, value string }

// sized are the settings of a size. max_connections comes last, and is always
// there; 0 leaves the server's as it is.
func sized(size acu.Size) []setting {
	return []setting{
		{"innodb_buffer_pool_size", strconv.FormatInt(bufferPool(size.Memory, machineMemory()), 10)},
		{"max_connections", strconv.Itoa(size.MaxConnections)},
	}
}
