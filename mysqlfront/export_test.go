package mysqlfront

import "serverlessproxy/pool"

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
