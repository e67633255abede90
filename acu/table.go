package acu

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Table is what one engine family's capacities are and how many client
// sessions each admits. A Table is immutable; its zero value has no sizes.
type Table struct {
	name     string
	sizes    []Capacity // ascending
	ceilings map[Capacity]int
}

// MySQL is the table of MySQL and MariaDB; its ceilings are v1's own.
var MySQL = newTable("MySQL", map[Capacity]int{
	1: 90, 2: 180, 4: 270, 8: 1000, 16: 2000, 32: 3000, 64: 4000, 128: 5000, 256: 6000,
})

// Postgres is the table of PostgreSQL. v1 started at 2; 1 is there for
// development. v1's ceilings were never published: these are those that AWS
// gives for the same memory in v2.
var Postgres = newTable("PostgreSQL", map[Capacity]int{
	1: v2Ceiling(1), 2: v2Ceiling(2), 4: v2Ceiling(4), 8: v2Ceiling(8), 16: v2Ceiling(16),
	32: v2Ceiling(32), 64: v2Ceiling(64), 192: v2Ceiling(192), 384: v2Ceiling(384),
})

// v2Ceiling is the line through the figures that AWS publishes, with its cap.
func v2Ceiling(c Capacity) int {
	return int(min(math.Round(211.4*float64(c)-22.6), 5000))
}

func newTable(name string, ceilings map[Capacity]int) Table {
	return Table{name: name, sizes: slices.Sorted(maps.Keys(ceilings)), ceilings: ceilings}
}

// Name is the engine family's, for messages.
func (t Table) Name() string { return t.name }

// Sizes are the capacities that there are, smallest first.
func (t Table) Sizes() []Capacity { return slices.Clone(t.sizes) }

// Legal tells whether c is a size of this table.
func (t Table) Legal(c Capacity) bool {
	_, found := slices.BinarySearch(t.sizes, c)
	return found
}

// Check returns nil for a size of this table, else an error that lists them.
func (t Table) Check(c Capacity) error {
	if t.Legal(c) {
		return nil
	}
	return fmt.Errorf("%d ACU is not a capacity of %s; there are %s", c, t.name, t.list())
}

// Up is the next size above c; the largest has none above it and stays.
func (t Table) Up(c Capacity) Capacity {
	for _, size := range t.sizes {
		if size > c {
			return size
		}
	}
	return t.edge(len(t.sizes) - 1)
}

// Down is the next size below c; the smallest has none below it and stays.
func (t Table) Down(c Capacity) Capacity {
	for _, size := range slices.Backward(t.sizes) {
		if size < c {
			return size
		}
	}
	return t.edge(0)
}

// Ceiling is how many client sessions a capacity admits. What lies between
// two sizes has the lower one's; what lies below all of them, such as the 0 of
// a paused cluster, has the smallest's.
func (t Table) Ceiling(c Capacity) int {
	best := t.edge(0)
	for _, size := range t.sizes {
		if size <= c {
			best = size
		}
	}
	return t.ceilings[best]
}

// WithCeilings is this table with ceilings of one's own. Sizes that are absent
// from own keep theirs; what is no size of the table is ignored.
func (t Table) WithCeilings(own map[Capacity]int) Table {
	ceilings := maps.Clone(t.ceilings)
	for size, ceiling := range own {
		if t.Legal(size) {
			ceilings[size] = ceiling
		}
	}
	return Table{name: t.name, sizes: t.sizes, ceilings: ceilings}
}

// Size is what c amounts to. extra is what the engine must admit beyond the
// ceiling: the reserved slots and the proxy's own connections.
func (t Table) Size(c Capacity, unit Unit, extra int) Size {
	return Size{
		Capacity:       c,
		Memory:         int64(c) * unit.Memory,
		CPU:            float64(c) * unit.CPU,
		MaxConnections: t.Ceiling(c) + extra,
	}
}

// edge is the size at i, 0 for a table that has none.
func (t Table) edge(i int) Capacity {
	if len(t.sizes) == 0 {
		return 0
	}
	return t.sizes[i]
}

func (t Table) list() string {
	words := make([]string, len(t.sizes))
	for i, size := range t.sizes {
		words[i] = fmt.Sprint(int(size))
	}
	return strings.Join(words, ", ")
}
