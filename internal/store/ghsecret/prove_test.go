package ghsecret_test

import (
	"errors"
	"testing"

	"evergrant/internal/githubapi/double"
	"evergrant/internal/grant"
)

// TestProve writes the probe and nothing else, and tells a token that may not.
func TestProve(t *testing.T) {
	t.Parallel()
	w := newWorld(t, step)
	s := w.queued("")
	must(t, s.Prove(t.Context(), acme))
	if names := w.github.Names(w.where()); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
	if s.Clock().IsZero() {
		t.Error("GitHub's clock is not known after an answer")
	}
	w.github.Allow(token, double.Read)
	err := w.queued("").Prove(t.Context(), acme)
	if !errors.Is(err, grant.ErrNotWritten) {
		t.Errorf("%v, want ErrNotWritten", err)
	}
	clean(t, err)
}
