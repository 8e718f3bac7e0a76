package store_test

import (
	"os"
	"path/filepath"
	"testing"

	"evergrant/internal/store"
)

// TestPlaceIsOneForAllSpellings: a spill or a mark that is filed under one
// spelling of a store must be found under every other.
func TestPlaceIsOneForAllSpellings(t *testing.T) {
	t.Parallel()
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	volume, grants := filepath.Join(top, "volume"), filepath.Join(top, "volume", "grants")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(volume, 0o700))
	must(os.Symlink(grants, filepath.Join(top, "direct")))
	must(os.Symlink("volume", filepath.Join(top, "above")))
	must(os.Symlink("../direct", filepath.Join(volume, "back")))
	must(os.Symlink("round", filepath.Join(top, "round")))
	spellings := []string{
		grants, grants + "/", grants + "?shared=yes", grants + "/?shared=no", volume + "/./x/../grants",
		top + "/direct", top + "/direct/", top + "/above/grants", top + "/above/back", top + "/direct?shared=yes",
	}
	check := func(when string) {
		t.Helper()
		for _, s := range spellings {
			l, err := store.Parse("file:" + s)
			must(err)
			if got, want := l.Place(), "file:"+grants; got != want {
				t.Errorf("%s, file:%s is at %s, want %s", when, s, got, want)
			}
			if got, want := l.Present(), when == "made"; got != want {
				t.Errorf("%s, file:%s is present: %v", when, s, got)
			}
		}
	}
	check("not made yet")
	must(os.Mkdir(grants, 0o700))
	check("made")
	must(os.Rename(grants, grants+".away"))
	check("moved away")

	for _, other := range []string{grants + ".away", volume, top + "/round", top + "/round/x", "/"} {
		l, err := store.Parse("file:" + other)
		must(err)
		if l.Place() == "file:"+grants {
			t.Errorf("file:%s is taken for %s", other, grants)
		}
	}
	if l := store.None(); l.Place() != "none:" || !l.Present() {
		t.Errorf("none: is at %s, present: %v", l.Place(), l.Present())
	}
}
