package mysqlfront

import (
	"context"

	"serverlessproxy/pool"
)

// park gives the backend up, at a safe point: what the session has there is
// read, and kept until the client's next request. Until the backend is closed
// every failure leaves the session on it.
//
// Nothing is read yet, and so nothing is given up: a session keeps its backend
// for as long as its client stays.
func (s *session) park(context.Context) error {
	return &pool.Pinned{Reasons: s.pins()}
}

// pins are what keeps the session on its backend, as far as its bytes tell.
func (s *session) pins() []string {
	var reasons []string
	if s.scanner.Replica() {
		reasons = append(reasons, "replication")
	}
	if s.scanner.Cursors() > 0 {
		reasons = append(reasons, "cursor")
	}
	if s.scanner.LongData() {
		reasons = append(reasons, "long_data")
	}
	if len(reasons) == 0 {
		reasons = append(reasons, "unreadable")
	}
	return reasons
}
