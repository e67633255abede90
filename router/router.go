package router

// Table is every target.
type Table struct{}

// Route says which target a connection is for.
func (t *Table) Route(r Request) (*Target, error) { panic("not yet") }

// Default is the target of clients that name none, nil where there is none.
func (t *Table) Default(l *Listener) *Target { panic("not yet") }

// InstanceError refuses a connection to an instance.
type InstanceError struct{ Endpoint string }

func (e *InstanceError) Error() string {
	return "this address is an instance's; connect to the cluster endpoint " + e.Endpoint
}

// UnknownError refuses a connection that names no cluster that there is.
type UnknownError struct{}

func (e *UnknownError) Error() string { return "unknown cluster" }
