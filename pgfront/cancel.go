package pgfront

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"io"

	"serverlessproxy/pgfront/pgwire"
)

// register gives a session the key that its client will know it by: the
// engine's own process id, and a secret of ours.
func (f *Front) register(s *session, pid uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		var secret [4]byte
		rand.Read(secret[:])
		key := pgwire.Key{PID: pid, Secret: binary.BigEndian.Uint32(secret[:])}
		if _, taken := f.keys[key]; !taken {
			s.shown = key
			f.keys[key] = s
			return
		}
	}
}

// cancelFor serves a CancelRequest. Nobody is told whether it did anything,
// and it wakes nobody.
func (f *Front) cancelFor(ctx context.Context, request *pgwire.Startup) {
	f.mu.Lock()
	s := f.keys[request.Cancel]
	f.mu.Unlock()
	if s != nil && !request.LongKey {
		s.cancelRequest(ctx)
	}
}

// cancelRequest cancels what the client asked for last: a request that waits
// for the cluster, or one that the engine runs.
func (s *session) cancelRequest(ctx context.Context) {
	s.mu.Lock()
	waits := s.canCancel && s.interrupt != nil
	if waits {
		s.interrupt(errCanceled)
	}
	s.mu.Unlock()
	if !waits {
		s.passCancel(ctx)
	}
}

// cancelBackend stops what the backend runs for a session that ends.
func (s *session) cancelBackend() { s.passCancel(context.WithoutCancel(s.front.ctx)) }

// passCancel cancels at the session's present backend, which is not given up
// while that is under way.
func (s *session) passCancel(ctx context.Context) {
	s.cancelling.Lock()
	defer s.cancelling.Unlock()
	s.mu.Lock()
	at, key := s.at, s.real
	s.mu.Unlock()
	if key == (pgwire.Key{}) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, cancelLimit)
	defer cancel()
	conn, err := s.dial(ctx, at)
	if err != nil {
		s.log.Warn("cannot pass a cancel on", "error", err)
		return
	}
	defer conn.Close()
	defer interruptIO(ctx, conn)()
	if _, err := conn.Write(pgwire.AppendCancel(nil, key)); err == nil {
		io.Copy(io.Discard, conn) // the engine closes once it has sent the signal
	}
}
