package sample_test

import (
	"testing"
	"time"

	"evergrant/bench/sample"
)

func TestQuantile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		values []float64
		q      float64
		want   float64
	}{
		{"none", nil, 0.5, 0},
		{"one", []float64{7}, 0.9, 7},
		{"median of an even count", []float64{4, 1, 3, 2}, 0.5, 2.5},
		{"median ignores an outlier", []float64{1, 2, 1e9}, 0.5, 2},
		{"minimum", []float64{3, 1, 2}, 0, 1},
		{"maximum", []float64{3, 1, 2}, 1, 3},
		{"p90 of 0 to 10", []float64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0}, 0.9, 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := sample.Quantile(c.values, c.q); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestRatiosPairRounds(t *testing.T) {
	t.Parallel()
	a := []time.Duration{20, 2000, 30}
	b := []time.Duration{10, 1000, 15}
	for i, r := range sample.Ratios(a, b) {
		if r != 2 {
			t.Errorf("round %d: got %v, want 2: a slow round must cancel", i, r)
		}
	}
	if got := len(sample.Ratios(a, b[:1])); got != 1 {
		t.Errorf("got %d ratios from unequal lengths, want 1", got)
	}
}
