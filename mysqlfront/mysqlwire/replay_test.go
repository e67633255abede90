package mysqlwire

import (
	"testing"
)

// replay shows bytes to a Tracker as a relay does: what was left over is shown
// again, with what follows it.
type replay struct {
	t               *Tracker
	client, backend []byte // left over
	sent, received  []byte // passed, if kept
	keep            bool
}

// fromClient shows a chunk; it tells whether the Tracker said stop.
func (r *replay) fromClient(chunk []byte) bool {
	r.client = append(r.client, chunk...)
	n, stop := r.t.FromClient(r.client)
	if r.keep {
		r.sent = append(r.sent, r.client[:n]...)
	}
	r.client = append(r.client[:0], r.client[n:]...)
	return stop
}

func (r *replay) fromBackend(chunk []byte) bool {
	r.backend = append(r.backend, chunk...)
	n, stop := r.t.FromBackend(r.backend)
	if r.keep {
		r.received = append(r.received, r.backend[:n]...)
	}
	r.backend = append(r.backend[:0], r.backend[n:]...)
	return stop
}

// facts are what a Tracker knows at one moment.
type facts struct {
	Busy, InTransaction, LongData, Replica bool
	Cursors, Statements                    int
	Queries, Transactions                  int64
}

func factsOf(t *Tracker) facts {
	return facts{
		Busy: t.Busy(), InTransaction: t.InTransaction(), LongData: t.LongData(), Replica: t.Replica(),
		Cursors: t.Cursors(), Statements: len(t.statements.byID),
		Queries: t.counts.Queries, Transactions: t.counts.Transactions,
	}
}

// command is a packet that begins a command.
func command(code byte, rest ...byte) []byte {
	return AppendPacket(nil, 0, append([]byte{code}, rest...))
}

func packet(seq byte, payload ...byte) []byte { return AppendPacket(nil, seq, payload) }

func join(parts ...[]byte) []byte {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// pieces calls show with b cut into pieces of at most size bytes.
func pieces(b []byte, size int, show func([]byte)) {
	for len(b) > 0 {
		n := min(size, len(b))
		show(b[:n])
		b = b[n:]
	}
}

func wantFacts(t *testing.T, r *replay, when string, want facts) {
	t.Helper()
	if got := factsOf(r.t); got != want {
		t.Errorf("%s:\n got %+v\nwant %+v", when, got, want)
	}
	if len(r.client)+len(r.backend) > 0 {
		t.Errorf("%s: %d bytes of the client's and %d of the backend's are left over", when, len(r.client), len(r.backend))
	}
}
