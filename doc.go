// Package serverlessproxy is only a map: no code lives at the root.
//
//	cmd/serverlessproxy   assembles everything, listens, drains, exits
//	config                a file -> validated plain structs
//	acu                   capacity arithmetic
//	cluster               the thing that sleeps: states, auto-pause, events, meter
//	engine/postgres       what the proxy says to a server as its operator
//	engine/mysql
//	compute/process       runs an engine on this machine
//	compute/process/limits  holds it to the CPU and memory of its size
//	compute/fixed         a server that others run
//	compute/command       a server that the operator's own commands start and stop
//	credential            verifiers, and the keys to log in again
//	pool                  who is inside: seats, phases, ceiling, queue
//	pool/pooltest         a cluster for the tests of who needs one
//	router                which cluster a connection is for, or why not
//	relay                 moves bytes between two connections
//	throttle              slows down whoever guesses passwords
//	pgfront, mysqlfront   a protocol's session, its whole life
//	metrics, admin        they look in from above
//	e2e                   real engines, real clients, the built binary
//
// ARCHITECTURE.md says why; house_test.go holds everybody to who may import
// whom.
package serverlessproxy
