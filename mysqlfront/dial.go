package mysqlfront

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"serverlessproxy/cluster"
)

const (
	dialLasts  = time.Minute // for all tries
	firstRetry = 2 * time.Millisecond
	lastRetry  = 50 * time.Millisecond
)

// dialEngine connects to an engine. When many come at once, a Unix socket
// whose queue is full says so at once (EAGAIN) where a TCP one would wait: so
// this waits.
func dialEngine(ctx context.Context, at cluster.Backend) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLasts)
	defer cancel()
	var dialer net.Dialer
	for delay := firstRetry; ; delay = min(2*delay, lastRetry) {
		conn, err := dialer.DialContext(ctx, at.Network, at.Address)
		if err == nil {
			return conn, nil
		}
		if !errors.Is(err, syscall.EAGAIN) {
			return nil, fmt.Errorf("dial engine: %w", err)
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return nil, fmt.Errorf("dial engine: %w", errors.Join(err, context.Cause(ctx)))
		}
	}
}
