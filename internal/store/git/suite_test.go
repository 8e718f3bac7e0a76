//go:build e2e

package git_test

import (
	"path/filepath"
	"testing"

	"evergrant/e2e/forge"
	"evergrant/internal/grant"
	"evergrant/internal/grant/granttest"
	"evergrant/internal/record"
	"evergrant/internal/store/git"
)

// kept is a store that knows how to open another handle on its place.
type kept struct {
	*git.Store
	config git.Config
	dir    string
}

func suite(t *testing.T, codec *record.Codec, config func(t *testing.T, dir string) git.Config) {
	reopen := func(t *testing.T, c git.Config, dir string) grant.Store { return kept{open(t, c), c, dir} }
	granttest.TestStore(t,
		func(t *testing.T) grant.Store {
			dir := bare(t, filepath.Join(t.TempDir(), "store.git"))
			return reopen(t, config(t, dir), dir)
		},
		granttest.StoreOptions{
			Reopen: func(t *testing.T, s grant.Store) grant.Store { return reopen(t, s.(kept).config, s.(kept).dir) },
			AtRest: func(t *testing.T, s grant.Store) []byte { return forge.Everything(t, s.(kept).dir) },
			Sealed: true,
			Size: func(t *testing.T, c grant.Credential) int {
				proven, err := codec.Authenticated("anywhere")
				must(t, err)
				b, err := proven.Encode(c)
				must(t, err)
				return len(b)
			},
		})
}

func TestConformancePath(t *testing.T) {
	t.Parallel()
	_, codec := newKey(t)
	suite(t, codec, func(t *testing.T, dir string) git.Config {
		return git.Config{Remote: remote(t, dir), Codec: codec}
	})
}

// A forge that hides all refs but its own from pushes: records go to branches.
func TestConformanceBranches(t *testing.T) {
	t.Parallel()
	_, codec := newKey(t)
	suite(t, codec, func(t *testing.T, dir string) git.Config {
		sh(t, dir, "config", "receive.hideRefs", "refs/evergrant")
		return git.Config{Remote: remote(t, dir), Codec: codec}
	})
}

func TestConformanceHTTP(t *testing.T) {
	t.Parallel()
	_, codec := newKey(t)
	suite(t, codec, func(t *testing.T, dir string) git.Config {
		f := forge.New(t, filepath.Dir(dir), token)
		return git.Config{Remote: remote(t, f.URL+"/store.git"), Codec: codec, Credential: credential()}
	})
}
