package relay

// script is a Scanner made of functions; what is missing lets all through.
type script struct {
	client, backend func(b []byte) (int, bool)
	safe            func() bool
}

func (s *script) FromClient(b []byte) (int, bool) {
	if s.client == nil {
		return len(b), false
	}
	return s.client(b)
}

func (s *script) FromBackend(b []byte) (int, bool) {
	if s.backend == nil {
		return len(b), false
	}
	return s.backend(b)
}

func (s *script) Safe() bool { return s.safe != nil && s.safe() }

// stopAt lets through what comes before a byte, and stops there.
func stopAt(stop byte) func([]byte) (int, bool) {
	return func(b []byte) (int, bool) {
		for i, c := range b {
			if c == stop {
				return i, true
			}
		}
		return len(b), false
	}
}

// frames is a Scanner for messages of a 3-byte length (which counts itself)
// and a body. Headers are passed on whole; bodies stream. A message that starts
// with '!' is passed on whole, with its bytes turned round.
type frames struct {
	left [2]int // of the bodies under way
	// seen counts messages; for a data race to be seen, not for the count.
	seen int
}

func (f *frames) FromClient(b []byte) (int, bool)  { return f.pass(&f.left[0], b), false }
func (f *frames) FromBackend(b []byte) (int, bool) { return f.pass(&f.left[1], b), false }
func (f *frames) Safe() bool                       { return f.left == [2]int{} }

func (f *frames) pass(left *int, b []byte) (n int) {
	for n < len(b) {
		if *left > 0 {
			k := min(*left, len(b)-n)
			*left, n = *left-k, n+k
			continue
		}
		if len(b)-n < 4 {
			return n
		}
		size := int(b[n])<<16 | int(b[n+1])<<8 | int(b[n+2])
		f.seen++
		if b[n+3] != '!' {
			*left = size
			continue
		}
		if len(b)-n < size {
			return n
		}
		for i := n + 4; i < n+size; i++ {
			b[i] = ^b[i]
		}
		n += size
	}
	return n
}
