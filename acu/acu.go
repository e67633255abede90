// Package acu is capacity arithmetic: which sizes there are, how many
// sessions each admits, and how much memory and CPU it stands for.
//
// It owns the tables of Aurora Serverless v1 and nothing that runs. It never
// knows an engine, a cluster or a clock; it takes no lock.
package acu

// Capacity is a size in Aurora capacity units. 0 means paused.
type Capacity int

// Unit is what one ACU stands for.
type Unit struct {
	Memory int64   // bytes
	CPU    float64 // cores
}

// DefaultUnit is v1's: 2 GiB of memory and its share of CPU.
var DefaultUnit = Unit{Memory: 2 << 30, CPU: 0.25}

// Size is what a capacity amounts to on a machine.
type Size struct {
	Capacity       Capacity
	Memory         int64   // bytes
	CPU            float64 // cores
	MaxConnections int     // what the engine must admit: ceiling + reserved + the proxy's own
}
