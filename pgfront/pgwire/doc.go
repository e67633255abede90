// Package pgwire is the PostgreSQL protocol as bytes: start-up packets, typed
// messages for a login, and a Tracker that follows the two streams of a
// session by their headers.
//
// It owns the rules of the protocol (what may follow what, how long it may be,
// which request is answered by which ReadyForQuery). It never knows a
// connection, a cluster or a user; a Reader reads from what it is given, the
// rest is pure. It takes no lock.
package pgwire

// Messages of a client.
const (
	Bind         = 'B'
	Close        = 'C'
	CopyData     = 'd' // of both sides
	CopyDone     = 'c' // of both sides
	CopyFail     = 'f'
	Describe     = 'D'
	Execute      = 'E'
	Flush        = 'H'
	FunctionCall = 'F'
	Parse        = 'P'
	Password     = 'p' // and SASL's responses
	Query        = 'Q'
	Sync         = 'S'
	Terminate    = 'X'
)

// Messages of a server.
const (
	Authentication       = 'R'
	BackendKeyData       = 'K'
	BindComplete         = '2'
	CommandComplete      = 'C'
	CopyBothResponse     = 'W'
	CopyInResponse       = 'G'
	ErrorResponse        = 'E'
	NegotiateVersion     = 'v'
	NoticeResponse       = 'N'
	NotificationResponse = 'A'
	ParameterDescription = 't'
	ParameterStatus      = 'S'
	ParseComplete        = '1'
	RowDescription       = 'T'
	EmptyQueryResponse   = 'I'
	NoData               = 'n'
	DataRow              = 'D'
	ReadyForQuery        = 'Z'
)

// What ReadyForQuery says of the transaction.
const (
	IdleStatus   = 'I'
	InTxStatus   = 'T'
	FailedStatus = 'E'
)

// headerSize is the size of a typed message's header: its type, and its
// length, which counts itself.
const headerSize = 5
