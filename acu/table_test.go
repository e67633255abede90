package acu

import (
	"slices"
	"strings"
	"testing"
)

func TestSizesAndCeilings(t *testing.T) {
	tests := []struct {
		table Table
		want  []struct {
			size    Capacity
			ceiling int
		}
	}{
		{MySQL, []struct {
			size    Capacity
			ceiling int
		}{{1, 90}, {2, 180}, {4, 270}, {8, 1000}, {16, 2000}, {32, 3000}, {64, 4000}, {128, 5000}, {256, 6000}}},
		{Postgres, []struct {
			size    Capacity
			ceiling int
		}{{1, 189}, {2, 400}, {4, 823}, {8, 1669}, {16, 3360}, {32, 5000}, {64, 5000}, {192, 5000}, {384, 5000}}},
	}
	for _, tt := range tests {
		t.Run(tt.table.Name(), func(t *testing.T) {
			var sizes []Capacity
			for _, w := range tt.want {
				sizes = append(sizes, w.size)
				if got := tt.table.Ceiling(w.size); got != w.ceiling {
					t.Errorf("Ceiling(%d) = %d, want %d", w.size, got, w.ceiling)
				}
			}
			if got := tt.table.Sizes(); !slices.Equal(got, sizes) {
				t.Fatalf("Sizes() = %v, want %v", got, sizes)
			}
			for c := Capacity(-1); c <= 400; c++ {
				legal := slices.Contains(sizes, c)
				if got := tt.table.Legal(c); got != legal {
					t.Errorf("Legal(%d) = %v", c, got)
				}
				if err := tt.table.Check(c); (err == nil) != legal {
					t.Errorf("Check(%d) = %v", c, err)
				}
			}
		})
	}
}

// TestNeighbours goes through every capacity there could be: Up and Down land
// on the nearest size on their side, and ceilings never fall as sizes grow.
func TestNeighbours(t *testing.T) {
	for _, table := range []Table{MySQL, Postgres} {
		sizes := table.Sizes()
		smallest, largest := sizes[0], sizes[len(sizes)-1]
		for c := Capacity(-1); c <= 400; c++ {
			above, below := largest, smallest
			for _, s := range sizes {
				if s > c {
					above = min(above, s)
				}
				if s < c {
					below = max(below, s)
				}
			}
			if got := table.Up(c); got != above {
				t.Errorf("%s: Up(%d) = %d, want %d", table.Name(), c, got, above)
			}
			if got := table.Down(c); got != below {
				t.Errorf("%s: Down(%d) = %d, want %d", table.Name(), c, got, below)
			}
			if table.Ceiling(c) > table.Ceiling(c+1) {
				t.Errorf("%s: the ceiling falls from %d to %d ACU", table.Name(), c, c+1)
			}
		}
		if got, lowest := table.Ceiling(0), table.Ceiling(smallest); got != lowest {
			t.Errorf("%s: Ceiling(0) = %d, want the lowest, %d", table.Name(), got, lowest)
		}
	}
}

func TestCheckSaysWhatThereIs(t *testing.T) {
	err := Postgres.Check(3)
	if err == nil || !strings.Contains(err.Error(), "3 ACU") || !strings.Contains(err.Error(), "1, 2, 4, 8, 16, 32, 64, 192, 384") {
		t.Errorf("Check(3) = %v", err)
	}
}

func TestWithCeilings(t *testing.T) {
	own := MySQL.WithCeilings(map[Capacity]int{2: 7, 3: 9})
	for c, want := range map[Capacity]int{1: 90, 2: 7, 3: 7, 4: 270} {
		if got := own.Ceiling(c); got != want {
			t.Errorf("Ceiling(%d) = %d, want %d", c, got, want)
		}
	}
	if MySQL.Ceiling(2) != 180 {
		t.Error("WithCeilings changed the table that it was asked of")
	}
	MySQL.Sizes()[0] = 99
	if !MySQL.Legal(1) {
		t.Error("Sizes gave the table's own slice away")
	}
}

func TestSize(t *testing.T) {
	got := Postgres.Size(4, DefaultUnit, 6)
	want := Size{Capacity: 4, Memory: 8 << 30, CPU: 1, MaxConnections: 829}
	if got != want {
		t.Errorf("Size = %+v, want %+v", got, want)
	}
}

func TestEmptyTable(t *testing.T) {
	var none Table
	if none.Legal(1) || none.Up(1) != 0 || none.Down(1) != 0 || none.Ceiling(1) != 0 {
		t.Error("the zero Table has sizes")
	}
	if none.WithCeilings(map[Capacity]int{1: 1}).Ceiling(1) != 0 {
		t.Error("the zero Table took a ceiling")
	}
}
