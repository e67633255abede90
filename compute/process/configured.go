package process

import (
	"maps"
	"sync"
)

// Configured keeps the parameters of a Tunable.
type Configured struct {
	check func(map[string]string) error

	mu         sync.Mutex        // protects following
	parameters map[string]string // replaced whole
}

// NewConfigured keeps parameters, which are not checked; later ones are.
func NewConfigured(parameters map[string]string, check func(map[string]string) error) *Configured {
	return &Configured{check: check, parameters: parameters}
}

// Parameters is a Tunable's.
func (c *Configured) Parameters() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.parameters
}

// Configure is a Tunable's.
func (c *Configured) Configure(parameters map[string]string) error {
	if err := c.check(parameters); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parameters = maps.Clone(parameters)
	return nil
}
