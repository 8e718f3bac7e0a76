package mark_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/mark"
)

const acme = grant.ID("acme/main")

func TestMark(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "marks")
	f := mark.Open(dir)
	expect := func(id grant.ID, want grant.Mark) {
		t.Helper()
		if got, err := mark.Open(dir).Mark(t.Context(), id); err != nil || got != want {
			t.Errorf("Mark of %q is %+v, %v, want %+v", id, got, err, want)
		}
	}
	expect(acme, grant.Mark{})
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading made the folder: %v", err)
	}
	for _, m := range []grant.Mark{
		{Consent: "c1", Generation: 7}, {Consent: "c1", Generation: 1<<64 - 1}, {Consent: "c2", Generation: 3}, {}, // lower ones, too
	} {
		if err := f.SetMark(t.Context(), acme, m); err != nil {
			t.Fatal(err)
		}
		expect(acme, m)
	}
	if err := f.SetMark(t.Context(), "acme/Main", grant.Mark{Consent: "other", Generation: 1}); err != nil {
		t.Fatal(err)
	}
	expect(acme, grant.Mark{})
	expect("acme/Main", grant.Mark{Consent: "other", Generation: 1})
	st, err := os.Stat(filepath.Join(dir, "acme+main.mark"))
	if err != nil || st.Mode() != 0o600 {
		t.Errorf("the file has mode %v, %v", st.Mode(), err)
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v, %v", st.Mode(), err)
	}
}

// An equal mark is not written: the file keeps its age.
func TestEqualMarkIsNotWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := mark.Open(dir)
	path := filepath.Join(dir, "acme+main.mark")
	old := time.Unix(1_700_000_000, 0)
	for generation, kept := range map[uint64]bool{7: true, 8: false} {
		if err := f.SetMark(t.Context(), acme, grant.Mark{Consent: "c", Generation: 7}); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
		if err := f.SetMark(t.Context(), acme, grant.Mark{Consent: "c", Generation: generation}); err != nil {
			t.Fatal(err)
		}
		if st, err := os.Stat(path); err != nil || st.ModTime().Equal(old) != kept {
			t.Errorf("generation 7, then %d: written at %v, %v", generation, st.ModTime(), err)
		}
	}
}

func TestBadMarkFile(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":    "is damaged",
		"{":   "is damaged",
		"{}":  "is damaged",
		`[1]`: "is damaged",
		`{"evergrant_mark":1,"grant":"acme/main","consent":"c","generation":-1}`:             "is damaged",
		`{"evergrant_mark":1,"grant":"acme/main","consent":"c"}`:                             "is damaged",
		`{"evergrant_mark":1,"grant":"acme/main","consent":"c","generation":1}{}`:            "is damaged",
		`{"evergrant_mark":1,"grant":"acme/main","consent":"c","generation":1,"unknown":{}}`: "is damaged",
		`{"evergrant_mark":2,"grant":"acme/main","marks":[]}`:                                "newer evergrant (format 2)",
		`{"evergrant_mark":1,"grant":"acme/other","consent":"c","generation":1}`:             "belongs to another grant",
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "acme+main.mark")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := mark.Open(dir).Mark(t.Context(), acme)
		if m != (grant.Mark{}) || err == nil || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %+v, %v, want %q", text, m, err, want)
		}
		if err := mark.Open(dir).SetMark(t.Context(), acme, grant.Mark{Generation: 1}); err != nil {
			t.Errorf("%q cannot be replaced: %v", text, err)
		}
	}
}

func TestMarkFails(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := mark.Open(file)
	if _, err := f.Mark(t.Context(), acme); err == nil {
		t.Error("a mark below a file was read")
	}
	if err := f.SetMark(t.Context(), acme, grant.Mark{Generation: 1}); err == nil || !strings.Contains(err.Error(), `grant "acme/main"`) {
		t.Errorf("a mark below a file: %v", err)
	}
	for _, id := range []grant.ID{"", "../x"} {
		if _, err := f.Mark(t.Context(), id); err == nil {
			t.Errorf("a mark of grant %q was read", id)
		}
		if err := f.SetMark(t.Context(), id, grant.Mark{}); err == nil {
			t.Errorf("a mark of grant %q was set", id)
		}
	}
}
