package relay

import (
	"math/bits"
	"sync"
)

// A buffer holds what is left over or what a slow receiver has yet to take. It
// exists only while there is something to hold, and comes from a pool of its
// size.
type buffer struct {
	space []byte // all of it
	data  []byte // what is held, a part of space
	class int    // of the pool that it goes back to; lent slices have none
}

const (
	smallestClass = 10 // 1 KiB
	largestClass  = 21 // 2 MiB: the most that may be left over, and a burst
	noClass       = -1
)

var pools [largestClass + 1]sync.Pool

// newBuffer returns an empty buffer with room for n bytes, at most 2 MiB.
func newBuffer(n int) *buffer {
	class := max(bits.Len(uint(n-1)), smallestClass)
	if b, ok := pools[class].Get().(*buffer); ok {
		return b
	}
	return &buffer{space: make([]byte, 1<<class), class: class}
}

// lentBuffer holds a slice that a front handed over; nil for none.
func lentBuffer(b []byte) *buffer {
	if len(b) == 0 {
		return nil
	}
	return &buffer{space: b, data: b, class: noClass}
}

// bufferOf holds a copy of b.
func bufferOf(b []byte) *buffer {
	kept := newBuffer(len(b))
	kept.data = kept.space[:copy(kept.space, b)]
	return kept
}

// free gives the buffer back to its pool; nobody may use it any more.
func (b *buffer) free() {
	if b == nil || b.class == noClass {
		return
	}
	b.data = nil
	pools[b.class].Put(b)
}

// len is how much is held; b may be nil.
func (b *buffer) len() int {
	if b == nil {
		return 0
	}
	return len(b.data)
}

// hold makes tail all that is held, where tail may lie inside of the buffer
// itself. It returns the buffer that holds it (another one where b is too small,
// or so large that a few bytes should not occupy it), nil for an empty tail; b
// may be nil.
func (b *buffer) hold(tail []byte) *buffer {
	if len(tail) == 0 {
		b.free()
		return nil
	}
	if b != nil && len(tail) <= len(b.space) && len(tail) >= len(b.space)/64 {
		b.data = b.space[:copy(b.space, tail)]
		return b
	}
	larger := bufferOf(tail)
	b.free()
	return larger
}

// withRoom returns a buffer that starts with what is held and has room for n
// bytes more; b may be nil.
func (b *buffer) withRoom(n int) *buffer {
	held := b.len()
	if b != nil && len(b.space)-held >= n {
		b.data = b.space[:copy(b.space, b.data)]
		return b
	}
	larger := newBuffer(held + n)
	if b != nil {
		larger.data = larger.space[:copy(larger.space, b.data)]
	}
	b.free()
	return larger
}

// roomAfter is how much is to be read after what is held: the two fill one
// burst, unless what is held nearly fills it alone.
func roomAfter(held int) int {
	if held <= burst/2 {
		return burst - held
	}
	return burst
}

// take empties the buffer into a slice of the caller's own.
func (b *buffer) take() []byte {
	if b == nil {
		return nil
	}
	kept := append([]byte(nil), b.data...)
	b.free()
	return kept
}
