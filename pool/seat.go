package pool

import (
	"context"
	"time"

	"serverlessproxy/cluster"
)

// Pool is one cluster's occupants.
type Pool struct{}

// Seat is one session's place in a pool.
type Seat struct{}

func (p *Pool) Join(ctx context.Context, c Claim) (*Seat, error) { panic("not yet") }
func (s *Seat) ID() string                                       { panic("not yet") }
func (s *Seat) Backend(ctx context.Context, t cluster.Trigger) (cluster.Backend, error) {
	panic("not yet")
}
func (s *Seat) Phase() Phase          { panic("not yet") }
func (s *Seat) Set(p Phase)           { panic("not yet") }
func (s *Seat) Touch(now time.Time)   { panic("not yet") }
func (s *Seat) Describe(func(*Info))  { panic("not yet") }
func (s *Seat) Pin(reasons ...string) { panic("not yet") }
func (s *Seat) Leave()                { panic("not yet") }
