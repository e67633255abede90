package mysql

import "errors"

// Sentinels of this package.
var (
	ErrNoServer     = errors.New("no server program found")
	ErrTooOld       = errors.New("this version is not supported any more")
	ErrOtherVersion = errors.New("the data directory belongs to another server")
	ErrUnknownData  = errors.New("the data directory holds something else")
	ErrNoVerifiers  = errors.New("the service account may not read the accounts")
	ErrRuled        = errors.New("parameter is not yours to set")
	errNoSecret     = errors.New("the control account's secret is not there")
	errGreeting     = errors.New("malformed greeting")
	errClosed       = errors.New("source is closed")
)
