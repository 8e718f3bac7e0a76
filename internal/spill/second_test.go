package spill_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"evergrant/internal/spill"
)

// TestSecondFolder: a record that was written there is listed, proved and removed
// like any, and nothing else is written there.
func TestSecondFolder(t *testing.T) {
	t.Parallel()
	first, second := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "second")
	f := spill.Open(first, codec(t, true)).With(second)
	must(t, f.Put(t.Context(), sample(acme, "w1")), f.Ready(t.Context(), acme))
	if _, err := os.Lstat(second); !os.IsNotExist(err) {
		t.Errorf("Put has written into the second folder: %v", err)
	}
	must(t, f.PutSecond(t.Context(), sample(acme, "w2")))
	must(t, os.RemoveAll(first))
	must(t, f.Put(t.Context(), sample(acme, "w3")))
	got := writers(t, f, acme)
	if slices.Sort(got); !slices.Equal(got, []string{"w2", "w3"}) {
		t.Errorf("listed %q", got)
	}
	if path, err := f.Kept(acme, "w2"); err != nil || filepath.Dir(path) != second {
		t.Errorf("kept at %q, %v", path, err)
	}
	if _, err := f.Kept(acme, "w1"); err == nil {
		t.Error("a record that was removed is proved")
	}
	must(t, f.Remove(t.Context(), acme, "w2"), f.Remove(t.Context(), acme, "w3"))
	if got := writers(t, f, acme); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
}
