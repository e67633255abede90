//go:build !linux

package mysql

// machineMemory is how much memory this machine has, 0 if it does not say.
func machineMemory() int64 { return 0 }
