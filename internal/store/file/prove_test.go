//go:build linux

package file_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestProveLeavesNothing: neither where the folder is not there yet, nor in it.
func TestProveLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir, codec(t, true))
	if err := s.Prove(t.Context(), acme); err != nil {
		t.Fatal(err)
	}
	above, err := os.ReadDir(filepath.Dir(dir))
	if err != nil || len(above) > 0 {
		t.Errorf("left beside the folder: %v, %v", above, err)
	}
	create(t, s)
	before := strings.Join(names(t, dir), " ")
	if err := s.Prove(t.Context(), acme); err != nil {
		t.Fatal(err)
	}
	if after := strings.Join(names(t, dir), " "); after != before {
		t.Errorf("the folder has %s, and had %s", after, before)
	}
}

// TestProveFails: a folder that is a file by now, or whose place cannot be made.
func TestProveFails(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := open(t, dir, codec(t, true))
	write(t, filepath.Dir(dir), "", 0o600)
	line(t, s.Prove(t.Context(), acme), "file store: ")
	must(t, os.Remove(filepath.Dir(dir)))
	create(t, s)
	must(t, os.RemoveAll(dir))
	write(t, dir, "", 0o600)
	line(t, s.Prove(t.Context(), acme), "lock file")
}
