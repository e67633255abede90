package mysqlfront

import "serverlessproxy/pool"

// Evict ends the session of that number as a forced change of capacity does.
func (f *Front) Evict(id uint32) { f.session(id).Close(pool.Evicted) }
