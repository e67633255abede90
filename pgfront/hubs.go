package pgfront

import (
	"context"
	"sync"

	"serverlessproxy/cluster"
	"serverlessproxy/pool"
)

// hubs are a Front's: one for each cluster, database and encoding (an engine
// writes a notification in the encoding of who hears it).
type hubs struct {
	mu  sync.Mutex // protects following fields
	all map[*pool.Pool]map[place]*hub
}

type place struct{ database, encoding string }

// hubFor is the hub of a session's place. A pool's first one is told of its
// engine's coming and going.
func (f *Front) hubFor(s *session) *hub {
	f.hubs.mu.Lock()
	defer f.hubs.mu.Unlock()
	if f.hubs.all == nil {
		f.hubs.all = map[*pool.Pool]map[place]*hub{}
	}
	p := s.target.Pool
	if f.hubs.all[p] == nil {
		f.hubs.all[p] = map[place]*hub{}
		p.BeforeOpening(func(ctx context.Context, at cluster.Backend) error { return f.wakeHubs(ctx, p, at) })
		p.AfterParking(func(ctx context.Context) { f.hushHubs(ctx, p) })
	}
	where := place{s.database, s.reported["client_encoding"]}
	h := f.hubs.all[p][where]
	if h == nil {
		h = newHub(f.Log.With("cluster", s.target.Name, "database", s.database), where.encoding, &f.background)
		f.hubs.all[p][where] = h
	}
	return h
}

func (f *Front) hubsOf(p *pool.Pool) (of []*hub) {
	f.hubs.mu.Lock()
	defer f.hubs.mu.Unlock()
	for _, h := range f.hubs.all[p] {
		of = append(of, h)
	}
	return of
}

func (f *Front) wakeHubs(ctx context.Context, p *pool.Pool, at cluster.Backend) error {
	for _, h := range f.hubsOf(p) {
		if err := h.wake(ctx, at); err != nil {
			return err
		}
	}
	return nil
}

// hushHubs takes its own time: the engine is about to be stopped, however soon
// everybody was to be parked.
func (f *Front) hushHubs(ctx context.Context, p *pool.Pool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
	defer cancel()
	for _, h := range f.hubsOf(p) {
		h.hush(ctx)
	}
}

// closeHubs is called when no session is left.
func (f *Front) closeHubs() {
	f.hubs.mu.Lock()
	defer f.hubs.mu.Unlock()
	for _, of := range f.hubs.all {
		for _, h := range of {
			h.close()
		}
	}
}
