// Package spelling finds the words that somebody may have meant.
package spelling

import (
	"slices"
	"strings"
)

// Distance is the number of single-byte edits between a and b.
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			edit := diagonal
			if a[i] != b[j] {
				edit++
			}
			diagonal = row[j+1]
			row[j+1] = min(edit, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// Alike reports that word may be name with up to two typing errors; with one in a
// name of two to four letters.
func Alike(word, name string) bool {
	return Distance(word, name) <= min(2, (len(name)+1)/3)
}

// Near returns the names that are most alike to the word, in their order; none where
// none is alike.
func Near(word string, names []string) []string {
	word = strings.ToLower(word)
	var near []string
	for _, name := range names {
		if !Alike(word, name) {
			continue
		}
		switch d := Distance(word, name); {
		case len(near) == 0 || d < Distance(word, near[0]):
			near = []string{name}
		case d == Distance(word, near[0]) && !slices.Contains(near, name):
			near = append(near, name)
		}
	}
	return near
}
