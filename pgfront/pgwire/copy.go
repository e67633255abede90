package pgwire

// copying is what is known of COPY FROM STDIN and of replication.
//
// While a server reads a COPY's data it ignores Sync, and many clients have
// sent one by then: Parse, Bind, Execute, Sync, and only after the
// CopyInResponse the data, CopyDone and another Sync. The first is then
// answered by nothing; but if the COPY fails before it reads anything, it is
// answered. So one such Sync is kept in doubt until what the server says
// settles it.
type copying struct {
	in    bool // the server reads data from the client
	both  bool // replication: until ReadyForQuery
	doubt bool // a Sync may have been swallowed
	owed  bool // if it was, the batch that it should have ended is still open
	ahead bool // the client sent the end of a COPY before the server began it
	mark  int  // how many of the requests under way were sent before that end
	mixed bool // more than one such end, or other requests around it
}

func (c *copying) busy() bool { return c.in || c.both || c.doubt }

// copyIn is the server's CopyInResponse: where does it leave the requests
// that were sent already?
func (t *Tracker) copyIn() {
	c := &t.copy
	kind, known := t.requests.oldest()
	behind := t.requests.n // requests behind the COPY's own execution, before its end
	if kind == simple && known {
		behind--
	}
	if c.ahead {
		behind -= t.requests.n - c.mark
	}
	switch {
	case t.requests.n > 0 && !known, behind > 1, c.mixed:
		t.unsure = true
	case kind == simple && known && (behind == 1 || t.open):
		t.unsure = true
	case behind == 1 && t.open:
		t.unsure = true // a batch begun behind the Sync is read as data
	case behind == 1:
		t.requests.pop()
		c.doubt = true
		next, known := t.requests.oldest()
		if t.requests.n == 0 {
			t.open, c.owed = true, true
		} else if next == simple || !known {
			t.unsure = true // a Query inside the batch that is still open
		}
	}
	c.in = !c.ahead
	c.ahead, c.mark, c.mixed = false, 0, false
}

// swallow is a Sync that the client sends amid its data.
func (t *Tracker) swallow() {
	t.unsure = t.unsure || t.copy.doubt
	t.copy.doubt = true
}

// copyEnd is the client's CopyDone or CopyFail. Outside a COPY servers ignore
// it; ahead of one it will count.
func (t *Tracker) copyEnd() {
	c := &t.copy
	switch {
	case c.in:
		c.in = false
	case t.requests.n > 0 || t.open:
		c.mixed = c.ahead || t.open && t.requests.n > 0
		c.ahead, c.mark = true, t.requests.n
	}
}

// behindCopy is a request that the client sends before it has heard how a COPY
// ended: whether the server runs or skips it depends on the doubtful Sync.
func (t *Tracker) behindCopy() {
	c := &t.copy
	t.unsure = t.unsure || c.in || c.doubt && t.answering
	c.mixed = c.mixed || c.ahead
}

// completed: a COPY that succeeded has read everything up to its end.
func (c *copying) completed() { c.in, c.doubt, c.owed = false, false, false }

// failed: the server reads no more data; the doubt remains.
func (c *copying) failed() { c.in = false }

// settle: the server answers a later request, so a doubtful Sync is behind it.
func (c *copying) settle() { c.doubt = c.doubt && c.in }

// answersDoubt tells whether a ReadyForQuery belongs to the doubtful Sync, of
// which it ends the doubt: it answers nothing but that Sync, or there is no
// other that it could answer.
func (t *Tracker) answersDoubt() bool {
	c := &t.copy
	c.in, c.both = false, false
	if !c.doubt || t.answering && t.requests.n > 0 {
		return false
	}
	if c.owed {
		t.open = false
	}
	c.doubt, c.owed = false, false
	return true
}

// pop moves the mark of an early end with the requests; nothing is ahead of it
// any more when all before it is answered and no batch is open.
func (c *copying) pop(more bool) {
	if c.mark == 0 && !c.mixed || !more {
		c.ahead, c.mark, c.mixed = false, 0, false
		return
	}
	c.mark = max(c.mark-1, 0)
}
