package pgfront

import (
	"errors"
	"testing"
	"time"

	"serverlessproxy/pool"
)

func TestReservedAsTheServerSaysIt(t *testing.T) {
	const (
		old   = "remaining connection slots are reserved for non-replication superuser connections"
		newer = "remaining connection slots are reserved for roles with the SUPERUSER attribute"
		full  = "sorry, too many clients already"
	)
	for name, c := range map[string]struct {
		err                      error
		version, message, detail string
	}{
		"13":          {&pool.TooMany{Reserved: true}, "13.23", full, old},
		"15":          {&pool.TooMany{Reserved: true}, "15.18 (Debian 15.18-0+deb12u1)", full, old},
		"16":          {&pool.TooMany{Reserved: true}, "16.14", full, newer},
		"a beta":      {&pool.TooMany{Reserved: true}, "18beta1", full, newer},
		"not known":   {&pool.TooMany{Reserved: true}, "", full, newer},
		"none is":     {&pool.TooMany{}, "15.18", full, ""},
		"queued":      {&pool.TooMany{Reserved: true, Waited: 2 * time.Second}, "15.18", full + " (waited 2s)", old},
		"other error": {errors.New("x"), "15.18", startingUp("x").message, "x"},
	} {
		got := tell(reservedFor(c.err, c.version))
		if got.message != c.message || got.detail != c.detail {
			t.Errorf("%s: %q, %q", name, got.message, got.detail)
		}
	}
	if reservedFor(nil, "15") != nil {
		t.Error("an error out of none")
	}
}
