package again_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"evergrant/internal/again"
)

var errAway = errors.New("away")

// TestTry: at which seconds it is tried, and how it ends.
func TestTry(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		bound   time.Duration // of the context
		answers []time.Duration
		at      []float64
		fails   bool
	}{
		"at once":                    {time.Minute, nil, []float64{0}, false},
		"pauses grow to the longest": {time.Minute, []time.Duration{0, 0, 0, 0, 0}, []float64{0, 1, 3, 7, 12, 17}, false},
		"what asks for a longer one": {time.Minute, []time.Duration{20 * time.Second}, []float64{0, 20}, false},
		"what no try helps":          {time.Minute, []time.Duration{0, again.Stop}, []float64{0, 1}, true},
		"until the bound":            {8 * time.Second, slices.Repeat([]time.Duration{0}, 9), []float64{0, 1, 3, 7}, true},
		"a wait beyond the bound":    {8 * time.Second, []time.Duration{time.Minute}, []float64{0}, true},
		"a context that is over":     {0, []time.Duration{0}, []float64{0}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), tt.bound)
				defer cancel()
				begun := time.Now()
				var at []float64
				err := again.Pauses{First: time.Second, Longest: 5 * time.Second}.Try(ctx, func(context.Context) (time.Duration, error) {
					at = append(at, time.Since(begun).Seconds())
					if len(at) > len(tt.answers) {
						return 0, nil
					}
					return tt.answers[len(at)-1], errAway
				})
				if !slices.Equal(at, tt.at) || errors.Is(err, errAway) != tt.fails {
					t.Errorf("tried at %v with %v, want %v and an error: %v", at, err, tt.at, tt.fails)
				}
			})
		})
	}
}

// TestTryEndsWithItsContext: no pause outlives it.
func TestTryEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(1500*time.Millisecond, cancel)
		begun := time.Now()
		err := again.Pauses{First: time.Second, Longest: time.Hour}.Try(ctx, func(context.Context) (time.Duration, error) { return 0, errAway })
		if !errors.Is(err, errAway) || time.Since(begun) != 1500*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}
