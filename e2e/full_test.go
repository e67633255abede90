package e2e

import (
	"os"
	"testing"
)

// full tells whether a variation that takes minutes is to be run: `make e2e`
// sets FULL. `make test` says what it leaves to that.
func full(t *testing.T, variation string) bool {
	t.Helper()
	if os.Getenv("FULL") != "" {
		return true
	}
	t.Logf("left to make e2e: %s", variation)
	return false
}
