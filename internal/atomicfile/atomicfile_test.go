package atomicfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"evergrant/internal/atomicfile"
)

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// only fails unless the folder holds exactly these names.
func only(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the folder holds %q, want %q", got, want)
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "record")
	for i, mode := range []fs.FileMode{0o600, 0o644, 0o666, 0o600, 0o400} {
		text := strings.Repeat("x", i*70000)
		if err := atomicfile.Write(path, []byte(text), mode); err != nil {
			t.Fatalf("Write: %v", err)
		}
		st, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode() != mode {
			t.Errorf("mode is %v, want %v", st.Mode(), mode)
		}
		if content(t, path) != text {
			t.Errorf("round %d: the content is not what was written", i)
		}
		only(t, dir, "record")
	}
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "record")
	for _, text := range []string{"first", "second", ""} {
		if err := atomicfile.Update(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if content(t, path) != text {
			t.Errorf("the content is not %q", text)
		}
	}
	only(t, dir, "record")
}

func TestCreate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, mode := range map[string]fs.FileMode{"a": 0o600, "b": 0o644, "c": 0o400} {
		path := filepath.Join(dir, name)
		text := strings.Repeat(name, 70000)
		if err := atomicfile.Create(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if st, err := os.Lstat(path); err != nil || st.Mode() != mode || content(t, path) != text {
			t.Errorf("%s: %v, %v", name, st, err)
		}
		if err := atomicfile.Create(path, []byte("again"), mode); !errors.Is(err, fs.ErrExist) || content(t, path) != text {
			t.Errorf("a second time: %v", err)
		}
	}
	link := filepath.Join(dir, "d")
	if err := os.Symlink(filepath.Join(dir, "target"), link); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Create(link, nil, 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a link: %v", err)
	}
	absent := filepath.Join(dir, "absent", "x")
	if err := atomicfile.Create(absent, nil, 0o600); err == nil || err.Error() != absent+" was not made: cannot create it: no such file or directory" {
		t.Errorf("no folder: %v", err)
	}
	only(t, dir, "a", "b", "c", "d")
}

func TestWriteReplacesALink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(target, []byte("old"), 0o600), os.Symlink(target, link)); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Write(link, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if content(t, target) != "old" || content(t, link) != "new" {
		t.Error("the link was followed")
	}
}

func TestWriteFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	folder := filepath.Join(dir, "folder")
	if err := os.MkdirAll(filepath.Join(folder, "inside"), 0o700); err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(dir, strings.Repeat("n", atomicfile.MaxName))
	if err := atomicfile.Write(long, nil, 0o600); err != nil {
		t.Errorf("a name of MaxName bytes: %v", err)
	}
	for name, c := range map[string]struct{ path, step string }{
		"no folder":       {filepath.Join(dir, "absent", "x"), "create a temporary file: no such file"},
		"a folder":        {folder, "rename into place"},
		"below a file":    {filepath.Join(long, "x"), "create a temporary file: not a directory"},
		"a name too long": {long + "n", "create a temporary file: file name too long"},
	} {
		err := atomicfile.Write(c.path, []byte("x"), 0o600)
		if err == nil || !strings.Contains(err.Error(), c.path+" is unchanged: cannot "+c.step) || strings.Contains(err.Error(), ".tmp") {
			t.Errorf("%s: %v", name, err)
		}
	}
	only(t, dir, "folder", filepath.Base(long))
	only(t, folder, "inside")
}

func TestBase(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		".record.0123456789abcdef.tmp": "record", ".a.b.0123456789abcdef.tmp": "a.b", "..x.0123456789abcdef.tmp": ".x",
		"record": "", ".record.tmp": "", ".record.0123456789abcdeg.tmp": "", "record.0123456789abcdef.tmp": "",
		".record.0123456789abcdef": "", "..0123456789abcdef.tmp": "", ".0123456789abcdef.tmp": "", ".tmp": "", "": "",
		".record-0123456789abcdef.tmp": "",
	} {
		if got, ok := atomicfile.Base(name); got != want || ok != (want != "") {
			t.Errorf("Base(%q) = %q, %v, want %q", name, got, ok, want)
		}
	}
}

func TestMkdirAll(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b", "c")
	for range 2 {
		if err := atomicfile.MkdirAll(deep, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{deep, filepath.Dir(deep), filepath.Dir(filepath.Dir(deep))} {
		if st, err := os.Stat(d); err != nil || st.Mode() != fs.ModeDir|0o700 {
			t.Errorf("%s: %v, %v", d, st, err)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.MkdirAll(file, 0o700); err == nil || !strings.Contains(err.Error(), "is not a folder") {
		t.Errorf("a file: %v", err)
	}
	if err := atomicfile.MkdirAll(filepath.Join(file, "x"), 0o700); err == nil {
		t.Error("a folder below a file was made")
	}
	t.Chdir(dir)
	if err := atomicfile.MkdirAll("relative/x", 0o700); err != nil {
		t.Errorf("a relative path: %v", err)
	}
}
