package relay

import (
	"errors"
	"fmt"
	"runtime/debug"
)

const (
	// burst is how much is read at once.
	burst = 64 << 10
	// maxLeftOver is how much a Scanner may leave over.
	maxLeftOver = 1 << 20
)

var (
	errTooMuchLeftOver = fmt.Errorf("the scanner left over more than %d bytes", maxLeftOver)
	errNotPlain        = errors.New("not a plain socket")
)

// side is one of the two ends of a session.
type side uint8

const (
	client side = iota
	backend
)

func (s side) String() string { return [...]string{"client", "backend"}[s] }

// gone is how a session ends when this side closed.
func (s side) gone() Why { return [...]Why{ClientGone, BackendGone}[s] }

// panicked is a Scanner's panic.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("the scanner panicked: %v", p.value) }

// show shows what one side sent to the Scanner. A Scanner that panics or
// answers nonsense ends its own session alone.
func show(s Scanner, from side, b []byte) (n int, stop bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			n, stop, err = 0, false, &panicked{p, debug.Stack()}
		}
	}()
	if from == client {
		n, stop = s.FromClient(b)
	} else {
		n, stop = s.FromBackend(b)
	}
	if n < 0 || n > len(b) {
		return 0, false, fmt.Errorf("the scanner passed on %d of %d bytes", n, len(b))
	}
	if len(b)-n > maxLeftOver {
		err = errTooMuchLeftOver
	}
	return n, stop, err
}

// isSafe asks the Scanner whether the session may be taken.
func isSafe(s Scanner) (safe bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			safe, err = false, &panicked{p, debug.Stack()}
		}
	}()
	return s.Safe(), nil
}
