package relay

import (
	"net"
	"sync"
)

// splitter sends what is written to it, or half of it when asked to.
type splitter struct {
	net.Conn

	mu    sync.Mutex // protects following fields
	halve bool
	kept  []byte
}

func (s *splitter) NetConn() net.Conn { return s.Conn }

func (s *splitter) CloseWrite() error { return s.Conn.(*net.TCPConn).CloseWrite() }

func (s *splitter) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.halve {
		return s.Conn.Write(b)
	}
	s.halve = false
	s.kept = append(s.kept, b[len(b)/2:]...)
	if _, err := s.Conn.Write(b[:len(b)/2]); err != nil {
		return 0, err
	}
	return len(b), nil
}

// halveNext makes the next write send only its first half.
func (s *splitter) halveNext() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.halve = true
}

// rest sends what was kept.
func (s *splitter) rest() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.Conn.Write(s.kept)
	s.kept = nil
	return err
}
