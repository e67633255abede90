// Package router says which cluster a connection is for, or why it is
// refused.
//
// It owns the order in which a client may name its cluster and the rule that
// nobody reaches an instance. It never knows a wire protocol: a front brings
// what the client said as a Request. Its table is immutable and replaced
// whole on a reload.
package router

import (
	"crypto/tls"

	"serverlessproxy/credential"
	"serverlessproxy/pool"
)

// Target is a cluster as a front sees it.
type Target struct {
	Name             string
	Endpoint         string
	Engine           string // shown to operators only
	Protocol         string // "postgres" or "mysql"
	Pool             *pool.Pool
	Tally            *pool.Tally
	Users            credential.Directory
	Keys             *credential.Keyring
	Upstream         Upstream
	WakeOnQuery      bool
	AdminRoles       []string
	KeepaliveQueries []string
}

// Upstream is how a front logs in to a target's backend.
type Upstream struct {
	TLS         *tls.Config // nil: plain
	ProxyHeader bool        // send PROXY v2 with the client's address first
	// Passwords are those that the operator configured, by user; for servers
	// that neither trust the proxy nor show their verifiers.
	Passwords map[string]credential.Secret
}

// Listener is what a connection came in by.
type Listener struct {
	Protocol string
	Address  string
	Cluster  string // for clients that name none; "" when there is no default
	Instance string // declared as this instance's address: refuses always
	Sole     bool   // this listener serves Cluster alone
}

// Request is what is known of a connection before it authenticates.
type Request struct {
	Listener *Listener
	SNI      string
	Endpoint string // start-up option or connection attribute "endpoint"
	Instance string // start-up option or connection attribute "instance"
}
