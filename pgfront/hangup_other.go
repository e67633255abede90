//go:build !linux

package pgfront

import (
	"errors"
	"syscall"
)

// hungUp is not known here: a vanished client leaves when it is written to.
func hungUp(uintptr) bool { return false }

// readable is not known here: what a client has sent it is served a little
// later.
func readable(uintptr) bool { return false }

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
