package mysqlfront

import "math"

// Clients know their connections by numbers of our own. They lie in the upper
// half of what fits the protocol's 32 bits, which an engine that counts from 1
// does not reach, so that a KILL tells by its number alone whose it is.
const (
	firstID uint32 = 1 << 31
	lastID  uint32 = math.MaxUint32 - 1
)

// ours tells whether a connection's number is one that we gave.
func ours(id uint64) bool { return id >= uint64(firstID) && id <= math.MaxUint32 }

// number gives a connection its number.
func (f *Front) number() uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		id := f.nextID
		if f.nextID++; f.nextID > lastID {
			f.nextID = firstID
		}
		if _, taken := f.sessions[id]; !taken {
			f.sessions[id] = nil
			return id
		}
	}
}

// register makes a session known by its number.
func (f *Front) register(s *session) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sessions[s.id] = s
}

// forget gives a number back.
func (f *Front) forget(id uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.sessions, id)
}

// session is the one with that number, nil if there is none.
func (f *Front) session(id uint32) *session {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sessions[id]
}
