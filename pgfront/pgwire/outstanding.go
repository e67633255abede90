package pgwire

// Outstanding is where a session stands whose server has gone.
type Outstanding struct {
	Requests int  // a ReadyForQuery is owed for each
	Open     bool // the client has sent the beginning of a batch, whose Sync is to come
	Refused  bool // the request that is being answered has had its error
	Unsent   int  // bytes of a message of the client's that are to come
}

// Outstanding tells what is under way; known is false where that cannot be
// told, or cannot be said to the client any more.
func (t *Tracker) Outstanding() (o Outstanding, known bool) {
	known = !t.unsure && !t.copy.doubt && !t.copy.both && !t.mixed && t.server.left == 0 && t.violation == nil && !t.ended && !t.fatal
	return Outstanding{Requests: t.requests.n, Open: t.open, Refused: t.told, Unsent: t.client.left}, known
}

// MayHaveCommitted tells whether something that is under way may have taken
// effect for good.
func (t *Tracker) MayHaveCommitted() bool {
	if t.InTransaction() {
		return t.intent.mayCommit
	}
	return t.Busy()
}

// Abandon forgets the server and all that was under way there. What the
// client's words have taught stays.
func (t *Tracker) Abandon() {
	t.client, t.server = stream{}, stream{}
	t.requests, t.copy = requests{}, copying{}
	t.open, t.mixed, t.answering, t.told, t.fatal, t.unsure = false, false, false, false, false, false
	t.farewell, t.status = NoFarewell, IdleStatus
	t.intent.settles()
	t.standing = standing{}
	t.ledger.abandon()
}

// Failed tells whether the transaction had failed already.
func (t *Tracker) Failed() bool { return t.status == FailedStatus }
