package mysqlfront

import (
	"slices"

	"serverlessproxy/pool"
)

// Evict ends the session of that number as a forced change of capacity does.
func (f *Front) Evict(id uint32) { f.session(id).Close(pool.Evicted) }

// AskForReadings has every session's state read, as if that had been asked for
// just before it lost its backend.
func (f *Front) AskForReadings() {
	for _, s := range f.everybody() {
		s.mu.Lock()
		s.reading = true
		if s.loan != nil {
			s.loan.Recall()
		}
		s.mu.Unlock()
	}
}

// AnyReading tells whether some session has not been back in the relay since.
func (f *Front) AnyReading() bool {
	return slices.ContainsFunc(f.everybody(), func(s *session) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.reading || s.loan == nil
	})
}
