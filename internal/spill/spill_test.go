package spill_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"evergrant/internal/grant"
	"evergrant/internal/grant/granttest"
	"evergrant/internal/record"
	"evergrant/internal/spill"
)

const acme = grant.ID("acme/main")

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

func sample(id grant.ID, writer string) grant.Credential {
	c := granttest.Credential(id)
	c.Writer = writer
	return c
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func writers(t *testing.T, f *spill.Folder, id grant.ID) []string {
	t.Helper()
	creds, err := f.List(t.Context(), id)
	must(t, err)
	var got []string
	for _, c := range creds {
		if d := granttest.Diff(c, sample(id, c.Writer)); d != "" {
			t.Errorf("%s differs from what was put", d)
		}
		got = append(got, c.Writer)
	}
	slices.Sort(got)
	return got
}

func TestSpill(t *testing.T) {
	t.Parallel()
	for name, sealed := range map[string]bool{"plain": false, "sealed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "a", "spill")
			f := spill.Open(dir, codec(t, sealed))
			if got := writers(t, f, acme); got != nil {
				t.Errorf("an absent folder lists %q", got)
			}
			must(t, f.Remove(t.Context(), acme, "w1"))
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("reading made the folder: %v", err)
			}
			// Names that collide where prefixes or case are taken lightly.
			for _, id := range []grant.ID{acme, "acme/main.x", "acme/Main", "acme"} {
				must(t, f.Put(t.Context(), sample(id, "w1")))
			}
			must(t, f.Put(t.Context(), sample(acme, "../w/2\n")), f.Put(t.Context(), sample(acme, "w1")), f.Put(t.Context(), sample(acme, "")))
			if got := writers(t, f, acme); !slices.Equal(got, []string{"", "../w/2\n", "w1"}) {
				t.Errorf("listed %q", got)
			}
			private(t, dir, f, sealed)
			must(t, f.Remove(t.Context(), acme, "w1"), f.Remove(t.Context(), acme, "w1"), f.Remove(t.Context(), "..", "w1"))
			if got := writers(t, f, acme); !slices.Equal(got, []string{"", "../w/2\n"}) {
				t.Errorf("after the removal: listed %q", got)
			}
			if got := writers(t, f, "acme/Main"); !slices.Equal(got, []string{"w1"}) {
				t.Errorf("another grant lists %q", got)
			}
		})
	}
}

// private checks modes, and that a seal hides every secret.
func private(t *testing.T, dir string, f *spill.Folder, sealed bool) {
	t.Helper()
	st, err := os.Stat(dir)
	must(t, err)
	if st.Mode() != fs.ModeDir|0o700 {
		t.Errorf("the folder has mode %v", st.Mode())
	}
	path := f.Path(acme, "w1")
	b, err := os.ReadFile(path)
	must(t, err)
	if st, err = os.Stat(path); err != nil || st.Mode() != 0o600 {
		t.Errorf("the file has mode %v, %v", st.Mode(), err)
	}
	if found := strings.Contains(string(b), granttest.Canary); found == sealed {
		t.Errorf("a secret found: %v, sealed: %v", found, sealed)
	}
}

func TestPutAfterCancel(t *testing.T) {
	t.Parallel()
	f := spill.Open(t.TempDir(), codec(t, false))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, f.Put(ctx, sample(acme, "w1")))
	if creds, err := f.List(ctx, acme); !errors.Is(err, context.Canceled) || len(creds) != 0 {
		t.Errorf("List with a cancelled context: %d records, %v", len(creds), err)
	}
	if got := writers(t, f, acme); !slices.Equal(got, []string{"w1"}) {
		t.Errorf("listed %q", got)
	}
}

func TestFolderIsMadePrivate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o777))
	must(t, spill.Open(dir, codec(t, false)).Put(t.Context(), sample(acme, "w1")))
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v, %v", st.Mode(), err)
	}
}

func TestPutFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	must(t, os.WriteFile(file, nil, 0o600), os.Symlink(dir, link))
	for want, f := range map[string]*spill.Folder{
		"is not a folder": spill.Open(file, codec(t, false)), "is a symbolic link": spill.Open(link, codec(t, false)),
		"not a directory": spill.Open(filepath.Join(file, "x"), codec(t, false)),
	} {
		err := f.Put(t.Context(), sample(acme, "w1"))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), granttest.Canary) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f := spill.Open(dir, codec(t, false))
	if err := f.Put(t.Context(), sample("../x", "w1")); err == nil || f.Path("../x", "w1") != "" {
		t.Errorf("a grant named ../x: %v", err)
	}
	if _, err := f.List(t.Context(), "../x"); err == nil {
		t.Error("a grant named ../x was listed")
	}
	if _, err := spill.Open(file, codec(t, false)).List(t.Context(), acme); err == nil {
		t.Error("a file was listed as a folder")
	}
}

// What cannot be read is told, and stays.
func TestUnreadableStays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mine := spill.Open(dir, codec(t, true))
	must(t, mine.Put(t.Context(), sample(acme, "good")))
	must(t, spill.Open(dir, codec(t, true)).Put(t.Context(), sample(acme, "other key")))
	garbled, misnamed := mine.Path(acme, "garbled"), mine.Path(acme, "misnamed")
	must(t, os.WriteFile(garbled, []byte(`{"evergrant":1,}`), 0o600))
	b, err := os.ReadFile(mine.Path(acme, "good"))
	must(t, err, os.WriteFile(misnamed, b, 0o600), os.WriteFile(filepath.Join(dir, "acme+main.note"), []byte("{"), 0o600))

	creds, err := mine.List(t.Context(), acme)
	if len(creds) != 1 || creds[0].Writer != "good" {
		t.Errorf("%d records, want the good one", len(creds))
	}
	if !errors.Is(err, grant.ErrUnreadable) {
		t.Fatalf("%v, want ErrUnreadable", err)
	}
	for _, want := range []string{garbled + " is kept", misnamed + " is kept", "named after another writer", "sealed to another key"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if n := strings.Count(fmt.Sprint(err), "\n"); n != 2 {
		t.Errorf("%d lines, want one for each of three files", n+1)
	}
	for _, path := range []string{garbled, misnamed, mine.Path(acme, "other key")} {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("it did not stay: %v", err)
		}
	}
}

// TestReady: what Put would meet is found before, and nothing is left behind.
func TestReady(t *testing.T) {
	t.Parallel()
	above := t.TempDir()
	dir, file := filepath.Join(above, "state", "spill"), filepath.Join(above, "file")
	var f grant.Spill = spill.Open(dir, codec(t, true))
	must(t, f.(grant.Readier).Ready(t.Context(), acme), f.(grant.Readier).Ready(t.Context(), acme))
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("the folder holds %v, %v; want it made and empty", entries, err)
	}
	must(t, f.Put(t.Context(), sample(acme, "w1")))
	// What a crash left of a probe is in nobody's way.
	must(t, os.WriteFile(filepath.Join(dir, ".ready"), []byte("x"), 0o600))
	if got := writers(t, f.(*spill.Folder), acme); !slices.Equal(got, []string{"w1"}) {
		t.Errorf("listed %q", got)
	}
	must(t, f.(grant.Readier).Ready(t.Context(), acme))

	must(t, os.WriteFile(file, nil, 0o600), os.Mkdir(filepath.Join(dir, ".ready"), 0o700))
	for _, bad := range []string{file, filepath.Join(file, "below"), dir} {
		err := spill.Open(bad, codec(t, true)).Ready(t.Context(), acme)
		if err == nil || !strings.HasPrefix(err.Error(), "spill folder "+bad+": ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want one line that names %s", err, bad)
		}
	}
	if err := f.(grant.Readier).Ready(t.Context(), "../x"); err == nil {
		t.Error("ready for a grant named ../x")
	}
}

// TestKept: only a whole record of its own writer counts.
func TestKept(t *testing.T) {
	t.Parallel()
	f := spill.Open(filepath.Join(t.TempDir(), "spill"), codec(t, true))
	missing := func(when string) {
		t.Helper()
		if path, err := f.Kept(acme, "w1"); err == nil || path != "" || strings.Contains(err.Error(), granttest.Canary) {
			t.Errorf("%s: %q, %v", when, path, err)
		}
	}
	missing("nothing was put")
	must(t, f.Put(t.Context(), sample(acme, "w1")))
	path, err := f.Kept(acme, "w1")
	if err != nil || path != f.Path(acme, "w1") {
		t.Errorf("%q, %v", path, err)
	}
	b, err := os.ReadFile(path)
	must(t, err, os.WriteFile(path, b[:len(b)/2], 0o600))
	missing("half of it is there")
	must(t, f.Put(t.Context(), sample(acme, "w2")), os.Rename(f.Path(acme, "w2"), path))
	missing("another writer's is there")
	if path, err := f.Kept("../x", "w1"); err == nil || path != "" {
		t.Errorf("a grant named ../x: %q, %v", path, err)
	}
}
