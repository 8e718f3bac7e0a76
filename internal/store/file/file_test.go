package file_test

import (
	"os"
	"path/filepath"
	"testing"

	"evergrant/internal/grant"
	"evergrant/internal/grant/granttest"
	"evergrant/internal/record"
	"evergrant/internal/store/file"
)

const acme = grant.ID("acme/main")

// kept is a store that knows its folder.
type kept struct {
	*file.Store
	dir string
}

func codec(t *testing.T, sealed bool) *record.Codec {
	t.Helper()
	var key grant.Secret
	if sealed {
		var err error
		if key, _, err = record.NewKey(); err != nil {
			t.Fatal(err)
		}
	}
	c, err := record.NewCodec(key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func open(t *testing.T, dir string, c *record.Codec) kept {
	t.Helper()
	s, err := file.Open(dir, c, file.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return kept{s, dir}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, sealed := range map[string]bool{"plain": false, "sealed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := codec(t, sealed)
			granttest.TestStore(t,
				func(t *testing.T) grant.Store { return open(t, filepath.Join(t.TempDir(), "store"), c) },
				granttest.StoreOptions{
					Reopen: func(t *testing.T, s grant.Store) grant.Store { return open(t, s.(kept).dir, c) },
					AtRest: func(t *testing.T, s grant.Store) []byte { return everything(t, s.(kept).dir) },
					Sealed: sealed,
					Size: func(t *testing.T, cred grant.Credential) int {
						b, err := c.Encode(cred)
						if err != nil {
							t.Fatal(err)
						}
						return len(b)
					},
				})
		})
	}
}

// everything returns names and contents of all files under dir.
func everything(t *testing.T, dir string) []byte {
	t.Helper()
	var all []byte
	for _, name := range names(t, dir) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(append(all, name...), b...)
	}
	return all
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
