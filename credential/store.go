package credential

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
)

// Store is a cluster's Directory: the engine itself while it runs, the Book
// saved at its last pause while it does not. It never wakes anything.
type Store struct {
	path string
	log  *slog.Logger

	mu       sync.Mutex // protects following; never held while a Source is asked
	live     Source     // nil while the engine sleeps
	turn     uint64     // tells one time of being live from the next
	saved    *Book      // nil until read or written
	deserted bool       // the live source failed and the log has been told
}

// NewStore is a Store that saves at path. It starts asleep.
func NewStore(path string, log *slog.Logger) *Store {
	return &Store{path: path, log: log}
}

// Live has source asked from now on.
func (s *Store) Live(source Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live, s.deserted = source, false
	s.turn++
}

// Asleep has the saved Book answer from now on.
func (s *Store) Asleep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = nil
	s.turn++
}

// Book answers for user and database. While the engine is up but does not
// answer (it may be stopping at this moment) the saved Book does.
func (s *Store) Book(ctx context.Context, user, database string) (*Book, error) {
	source, turn := s.source()
	if source == nil {
		return s.Saved()
	}
	book, err := source.Book(ctx, user, database)
	if err == nil {
		s.answered(turn)
		return book, nil
	}
	if ctx.Err() != nil || !unreachable(err) {
		return nil, fmt.Errorf("read users from the engine: %w", err)
	}
	old, savedErr := s.Saved()
	if savedErr != nil {
		return nil, fmt.Errorf("read users from the engine: %w", errors.Join(err, savedErr))
	}
	s.deserts(turn, err)
	return old, nil
}

// SaveAll reads everything from the engine and saves it.
func (s *Store) SaveAll(ctx context.Context) error {
	source, _ := s.source()
	if source == nil {
		return fmt.Errorf("save credentials: %w", ErrAsleep)
	}
	book, err := source.Book(ctx, "", "")
	if err != nil {
		return fmt.Errorf("read users from the engine: %w", err)
	}
	if err := Save(s.path, book); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saved = book
	return nil
}

// Saved is the Book that was saved last, in this run of the proxy or before.
func (s *Store) Saved() (*Book, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.saved != nil {
		return s.saved, nil
	}
	book, err := Load(s.path)
	if err != nil {
		return nil, err
	}
	s.saved = book
	return book, nil
}

func (s *Store) source() (Source, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live, s.turn
}

// answered lets the log hear of the next failure.
func (s *Store) answered(turn uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turn == turn {
		s.deserted = false
	}
}

// deserts tells the log, once until the engine answers again.
func (s *Store) deserts(turn uint64, err error) {
	s.mu.Lock()
	told := s.deserted || s.turn != turn
	s.deserted = s.deserted || s.turn == turn
	s.mu.Unlock()
	if !told {
		s.log.Warn("the engine does not say who its users are; the saved copy answers", "error", err)
	}
}

// unreachable tells a lost connection from an answer that says no.
func unreachable(err error) bool {
	var network net.Error
	return errors.Is(err, ErrUnavailable) || errors.As(err, &network) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, driver.ErrBadConn)
}
