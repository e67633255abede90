//go:build !linux

package relay

import (
	"log/slog"
	"net"
)

// loops are a relay's event loops: none on this system.
type loops struct{}

func newLoops(*slog.Logger, int) (*loops, error)        { return &loops{}, nil }
func (*loops) lend(Ends, Scanner, func(Return)) Loan    { return nil }
func (*loops) watch(net.Conn, func(Return), *Pair) Loan { return nil }
func (*loops) Close() error                             { return nil }
