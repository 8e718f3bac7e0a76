package main_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"evergrant/internal/cli"
	"evergrant/packaging"
)

func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "digests")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// release fills a folder with six programs and their list.
func release(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	var list strings.Builder
	for _, name := range []string{"linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64", "windows-amd64.exe", "windows-arm64.exe"} {
		put(t, filepath.Join(dir, "evergrant-"+name), "program "+name)
		list.WriteString(digest("program "+name) + "  evergrant-" + name + "\n")
	}
	var archive bytes.Buffer
	z := gzip.NewWriter(&archive)
	w := tar.NewWriter(z)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "x", ModTime: time.Unix(1700000000, 0)}), w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, archived), archive.String())
	list.WriteString(digest(archive.String()) + "  " + archived + "\n")
	put(t, filepath.Join(dir, "SHA256SUMS"), list.String())
	return dir
}

// archived is the archive that the time is read from.
const archived = "evergrant_" + cli.Version + "_linux_amd64.tar.gz"

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	program, dir := build(t), release(t)
	run := func(want string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Dir = filepath.Join("..", "..") // the root of the source
		out, err := cmd.CombinedOutput()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(string(out), want)) {
			t.Fatalf("digests %v: %v\n%s\nwant %q", args, err, out, want)
		}
		return string(out)
	}
	printed := run("", dir)
	var table struct {
		Version, Sources, Files string
		Time                    int64
		Assets                  map[string]struct{ Name, SHA256 string }
	}
	dec := json.NewDecoder(strings.NewReader(printed))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&table); err != nil {
		t.Fatal(err)
	}
	if exe := table.Assets["windows-arm64"]; table.Version != cli.Version || len(table.Assets) != 6 || exe.Name != "evergrant-windows-arm64.exe" || exe.SHA256 != digest("program windows-arm64.exe") {
		t.Errorf("the table is\n%s", printed)
	}
	sources, err := packaging.Sources(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	listed, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	if table.Sources != sources || table.Files != digest(string(listed)) || table.Time != 1700000000 {
		t.Errorf("the table is\n%s", printed)
	}
	const tag = "v" + cli.Version
	file := filepath.Join(t.TempDir(), "release.json")
	run("", "-write", file, dir)
	run("", "-check", file, "-tag", tag, dir)
	if b, err := os.ReadFile(file); err != nil || string(b) != printed {
		t.Errorf("what is written is not what is printed: %v\n%s", err, b)
	}
	put(t, file, strings.Replace(strings.Replace(printed, digest("program linux-arm64"), digest("other"), 1), `"`+cli.Version+`"`, `"0.0.9"`, 1))
	run("is not the table of these files: version 0.0.9, linux-arm64. What to do", "-check", file, "-tag", tag, dir)
	put(t, file, strings.NewReplacer("1700000000", "1700000001", sources, digest("y"), table.Files, digest("z")).Replace(printed))
	run("is not the table of these files: time, sources, SHA256SUMS. What to do", "-check", file, "-tag", tag, dir)
	put(t, file, printed)
	run("the tag is v0.0.9, and internal/cli/version.go says "+cli.Version+". What to do", "-check", file, "-tag", "v0.0.9", dir)
	put(t, file, printed+"\n")
	run("is not the table of these files: its form.", "-check", file, "-tag", tag, dir)
	put(t, file, `{"version": "`+cli.Version+`", "assets": {}}`)
	run(": time, sources, SHA256SUMS, darwin-amd64, darwin-arm64, linux-amd64, linux-arm64, windows-amd64, windows-arm64.", "-check", file, "-tag", tag, dir)

	// A file that is not listed, and one that is another.
	stray := filepath.Join(dir, "evergrant_0_amd64.deb")
	put(t, stray, "stray")
	run("evergrant_0_amd64.deb has the digest "+digest("stray")+`, and SHA256SUMS says ""`, dir)
	put(t, filepath.Join(dir, "SHA256SUMS"), string(listed)+digest("a package")+"  evergrant_0_amd64.deb\n")
	run("evergrant_0_amd64.deb has the digest "+digest("stray")+", and SHA256SUMS says", dir)
	if err := os.Remove(stray); err != nil {
		t.Fatal(err)
	}
	run("SHA256SUMS has evergrant_0_amd64.deb, which is not there", dir)
	put(t, filepath.Join(dir, "SHA256SUMS"), string(listed))

	// A program that is not the one of the list, or not there.
	put(t, filepath.Join(dir, "evergrant-linux-amd64"), "another")
	run("evergrant-linux-amd64 has the digest "+digest("another")+", and SHA256SUMS says", dir)
	if err := os.Remove(filepath.Join(dir, "evergrant-linux-amd64")); err != nil {
		t.Fatal(err)
	}
	run("the program for linux-amd64 is not there", dir)
	put(t, filepath.Join(dir, "SHA256SUMS"), "abc evergrant\n")
	run("is no digest and name", dir)
	for _, args := range [][]string{{}, {"-write", file, "-check", file, "-tag", tag, dir}, {"-check", file, dir}, {"-tag", tag, dir}, {"-write", file, "-tag", tag, dir}, {dir, dir}, {"-no", dir}} {
		run("needs a folder", args...)
	}
}
