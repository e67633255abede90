package config

import (
	"maps"
	"slices"
)

// nearest is the known word that a mistyped one most likely meant, "" when
// none is close.
func nearest(word string, known map[string]bool) string {
	best, least := "", 1+max(1, len(word)/3)
	for _, candidate := range slices.Sorted(maps.Keys(known)) {
		if d := distance(word, candidate); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// distance is how many letters must be added, removed or changed
// (Levenshtein), in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
