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
		err     error
		version string
		want    string
	}{
		"13":          {&pool.TooMany{Reserved: true}, "13.23", old},
		"15":          {&pool.TooMany{Reserved: true}, "15.18 (Debian 15.18-0+deb12u1)", old},
		"16":          {&pool.TooMany{Reserved: true}, "16.14", newer},
		"a beta":      {&pool.TooMany{Reserved: true}, "18beta1", newer},
		"not known":   {&pool.TooMany{Reserved: true}, "", newer},
		"none is":     {&pool.TooMany{}, "15.18", full},
		"queued":      {&pool.TooMany{Reserved: true, Waited: 2 * time.Second}, "15.18", full + " (waited 2s)"},
		"other error": {errors.New("x"), "15.18", startingUp("x").message},
	} {
		if got := tell(reservedFor(c.err, c.version)); got.message != c.want {
			t.Errorf("%s: %q, want %q", name, got.message, c.want)
		}
	}
	if reservedFor(nil, "15") != nil {
		t.Error("an error out of none")
	}
}
