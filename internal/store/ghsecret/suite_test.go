package ghsecret_test

import (
	"strings"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/grant/granttest"
)

// TestConformance: another handle is what a job gets that is queued then.
func TestConformance(t *testing.T) {
	t.Parallel()
	for _, environment := range []string{"", "prod"} {
		t.Run("environment "+environment, func(t *testing.T) {
			t.Parallel()
			granttest.TestStore(t,
				func(t *testing.T) grant.Store {
					w := newWorld(t, 5*time.Second)
					w.environment = environment
					return newSecrets(w)
				},
				granttest.StoreOptions{
					Reopen: func(t *testing.T, s grant.Store) grant.Store { return newSecrets(s.(*secrets).w) },
					AtRest: func(_ *testing.T, s grant.Store) []byte {
						w := s.(*secrets).w
						var all strings.Builder
						for _, name := range w.github.Names(w.where()) {
							text, _ := w.github.Value(w.where(), name)
							all.WriteString(text)
						}
						return []byte(all.String())
					},
					Sealed: true,
					Size: func(t *testing.T, c grant.Credential) int {
						proven, err := newWorld(t, 0).codec.Authenticated("anywhere")
						must(t, err)
						c = c.Clone()
						c.Extra["/written"] = `"2026-01-02T03:04:05Z"`
						b, err := proven.Encode(c)
						must(t, err)
						return len(b)
					},
				})
		})
	}
}
