// Package sample summarises measured durations by their order, never by a
// mean: one stalled run must not move the figure.
package sample

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Quantile returns the value below which the share q (0 to 1) of the values
// lies, by linear interpolation between neighbours; zero when there are none.
func Quantile[T ~int64 | ~float64](values []T, q float64) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.SortedFunc(slices.Values(values), cmp.Compare)
	at := q * float64(len(sorted)-1)
	low := int(math.Floor(at))
	high := min(low+1, len(sorted)-1)
	return sorted[low] + T((at-float64(low))*float64(sorted[high]-sorted[low]))
}

// Ratios divides pairwise: the i-th of a by the i-th of b. Values of one round
// are compared with each other, so that a slow minute of the machine cancels.
func Ratios(a, b []time.Duration) []float64 {
	ratios := make([]float64, 0, min(len(a), len(b)))
	for i := range min(len(a), len(b)) {
		ratios = append(ratios, float64(a[i])/float64(max(b[i], 1)))
	}
	return ratios
}

// Millis is d in milliseconds.
func Millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
