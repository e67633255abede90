package pgwire

// requests are the requests under way, oldest first. Only their number
// matters, and of the oldest whether it is a simple one: a COPY treats a Sync
// behind it differently.
type requests struct {
	n     int
	kinds uint64 // of the first ones, a bit each, the oldest lowest: simple or batch
	known int    // how many of kinds are true
}

const (
	batch  = 0 // extended messages, ended by a Sync
	simple = 1 // Query or FunctionCall
)

func (r *requests) push(kind uint64) {
	if r.known == r.n && r.known < 64 {
		r.kinds |= kind << r.known
		r.known++
	}
	r.n++
}

func (r *requests) pop() {
	if r.n == 0 {
		return
	}
	r.n--
	r.kinds >>= 1
	r.known = max(r.known-1, 0)
}

// oldest returns the kind of the request that the server is at.
func (r *requests) oldest() (kind uint64, known bool) { return r.kinds & 1, r.known > 0 }
