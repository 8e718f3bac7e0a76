package main_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func build(t *testing.T, dir, pkg string) string {
	t.Helper()
	path := filepath.Join(dir, filepath.Base(pkg))
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, pkg).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFolders: the completions are what the program prints, the compressed pages
// are the pages, a second run writes the same, and nothing of an older one stays.
func TestFolders(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	pages, program := build(t, top, "evergrant/packaging/pages"), build(t, top, "evergrant/cmd/evergrant")
	folders := [2]string{filepath.Join(top, "a", "b"), filepath.Join(top, "c")}
	if err := os.MkdirAll(filepath.Join(folders[1], "man"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folders[1], "man", "evergrant-gone.1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range folders {
		if out, err := exec.CommandContext(t.Context(), pages, dir).CombinedOutput(); err != nil {
			t.Fatalf("pages: %v\n%s", err, out)
		}
	}
	var all [2][]string
	for i, dir := range folders {
		var err error
		if all[i], err = filepath.Glob(filepath.Join(dir, "*", "*")); err != nil {
			t.Fatal(err)
		}
	}
	if len(all[0]) < 40 || len(all[0]) != len(all[1]) {
		t.Fatalf("%d files, and %d in a folder that had another", len(all[0]), len(all[1]))
	}
	grant, colour := "\n\\fBEVERGRANT_GRANT\\fR\n", "\n\\fBNO_COLOR\\fR\n"
	for name, want := range map[string][2]bool{"": {false, true}, "-run": {true, false}, "-token": {true, false}, "-import": {true, false}, "-status": {}, "-version": {}, "-repair": {}} {
		page := string(read(t, folders[0], "man", "evergrant"+name+".1"))
		if strings.Contains(page, grant) != want[0] || strings.Contains(page, colour) != want[1] {
			t.Errorf("evergrant%s.1 names EVERGRANT_GRANT, NO_COLOR: %v, %v, want %v", name, strings.Contains(page, grant), strings.Contains(page, colour), want)
		}
	}
	packed := 0
	for i, path := range all[0] {
		b := read(t, path)
		if !bytes.Equal(b, read(t, all[1][i])) {
			t.Errorf("%s differs in two runs", filepath.Base(path))
		}
		name, found := strings.CutSuffix(filepath.Base(path), ".gz")
		if !found {
			continue
		}
		packed++
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if page, err := io.ReadAll(z); err != nil || !bytes.Equal(page, read(t, folders[0], "man", name)) || z.Name != "" || !z.ModTime.IsZero() {
			t.Errorf("%s is not the page as it is, without a name and a time: %v", filepath.Base(path), err)
		}
	}
	if 2*packed+4 != len(all[0]) {
		t.Errorf("%d of %d files are packed pages", packed, len(all[0]))
	}
	for shell, name := range map[string]string{"bash": "evergrant.bash", "zsh": "_evergrant", "fish": "evergrant.fish", "powershell": "evergrant.ps1"} {
		want, err := exec.CommandContext(t.Context(), program, "completion", shell).Output()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, read(t, folders[0], "completions", name)) {
			t.Errorf("%s is not what evergrant completion %s prints", name, shell)
		}
	}
	if out, err := exec.CommandContext(t.Context(), pages).CombinedOutput(); err == nil || !strings.Contains(string(out), "needs one argument") {
		t.Errorf("without a folder: %v\n%s", err, out)
	}
}
