// Package mysql is what the proxy says to a MariaDB or MySQL server as its
// operator: which programs it is made of, how a data directory is filled and
// served at a size, whether the server answers, its master account, and what
// it knows of its users.
//
// It owns the control account (serverlessproxy@localhost, restored at every
// start by an init file, so that nothing done to the server's accounts locks
// the proxy out) and one control connection per Source. It never knows a
// client, a session or the state of a cluster, and it runs no process that
// outlives a call: that is compute/process. MariaDB and MySQL differ as data,
// in their Flavor, and not by branches.
//
// Locks: Engine.mu protects the programs found; Source.mu the lookups that
// wait. Neither is held while a server is spoken to.
package mysql
