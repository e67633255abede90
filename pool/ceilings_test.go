package pool

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"serverlessproxy/acu"
)

// TestEverySizeAdmitsItsCeiling fills a pool at every size of both tables: the
// ceiling that it shows is how many get in, and the next one does not. Back at
// the smallest size nobody is cut, and nobody else gets in.
func TestEverySizeAdmitsItsCeiling(t *testing.T) {
	for _, table := range []acu.Table{acu.MySQL, acu.Postgres} {
		r := newRoom(t, Limits{Ceiling: table.Ceiling})
		sizes := table.Sizes()
		in := 0
		for _, size := range sizes {
			t.Run(fmt.Sprintf("%s at %d ACU", table.Name(), size), func(t *testing.T) {
				r.Resettle(size)
				for in < table.Ceiling(size) {
					if _, err := r.Join(context.Background(), Claim{Session: &guest{}}); err != nil {
						t.Fatalf("session %d of %d: %v", in+1, r.Ceiling(), err)
					}
					in++
				}
				var tooMany *TooMany
				if _, err := r.Join(context.Background(), Claim{Session: &guest{}}); !errors.As(err, &tooMany) {
					t.Errorf("one more than %d: %v", in, err)
				}
				if r.Ceiling() != in || r.Seated() != in {
					t.Errorf("ceiling %d, seated %d, admitted %d", r.Ceiling(), r.Seated(), in)
				}
			})
		}
		r.Resettle(sizes[0])
		if _, err := r.Join(context.Background(), Claim{Session: &guest{}}); err == nil || r.Seated() != in {
			t.Errorf("%s lowered: joined with %v, %d of %d still in", table.Name(), err, r.Seated(), in)
		}
	}
}
