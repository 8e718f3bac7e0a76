//go:build e2e

package e2e

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"evergrant/internal/cli"
)

// snapshot is one of two folders that packaging/snapshot has filled, from different
// folders of this machine, the second one with an empty cache.
func snapshot(number string) string {
	return filepath.Join(os.Getenv("EVERGRANT_E2E_SNAPSHOT"), number)
}

// released is a file of the first snapshot.
func released(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(snapshot("1"), name))
	must(t, err)
	return b
}

// theTargets are the systems that a release is for, as Go names them.
func theTargets() [][2]string {
	var all [][2]string
	for _, system := range []string{"darwin", "linux", "windows"} {
		all = append(all, [2]string{system, "amd64"}, [2]string{system, "arm64"})
	}
	return all
}

func assetName(target [2]string) string {
	name := "evergrant-" + target[0] + "-" + target[1]
	if target[0] == "windows" {
		name += ".exe"
	}
	return name
}

func archiveName(target [2]string) string {
	suffix := ".tar.gz"
	if target[0] == "windows" {
		suffix = ".zip"
	}
	return "evergrant_" + cli.Version + "_" + target[0] + "_" + target[1] + suffix
}

// TestSnapshotFiles: a release has these files and no others, all of them are in
// the list of digests, and two builds have the same bytes.
func TestSnapshotFiles(t *testing.T) {
	want := []string{"SHA256SUMS", "evergrant_" + cli.Version + "_amd64.deb", "evergrant_" + cli.Version + "_arm64.deb"}
	for _, target := range theTargets() {
		want = append(want, assetName(target), archiveName(target), "evergrant_"+cli.Version+"_"+target[0]+"_"+target[1]+".spdx.json")
	}
	slices.Sort(want)
	size := 0
	for _, number := range []string{"1", "2"} {
		entries, err := os.ReadDir(snapshot(number))
		must(t, err)
		var got []string
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if !slices.Equal(got, want) {
			t.Fatalf("snapshot %s has\n%q\nwant\n%q", number, got, want)
		}
	}
	for _, name := range want {
		other, err := os.ReadFile(filepath.Join(snapshot("2"), name))
		must(t, err)
		size += len(other)
		if !bytes.Equal(released(t, name), other) {
			t.Errorf("two builds of %s differ", name)
		}
	}
	// As docs/install.md has people check what they fetched.
	dir := t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS(snapshot("1"))))
	check := func() ([]byte, error) {
		cmd := exec.Command("sha256sum", "--check", "--ignore-missing", "--quiet", "SHA256SUMS")
		cmd.Dir = dir
		return cmd.CombinedOutput()
	}
	if out, err := check(); err != nil {
		t.Errorf("the list of digests is not of these files: %v\n%s", err, out)
	}
	if n := bytes.Count(released(t, "SHA256SUMS"), []byte("\n")); n != len(want)-1 {
		t.Errorf("the list has %d lines for %d files", n, len(want)-1)
	}
	archive := filepath.Join(dir, archiveName([2]string{"linux", "amd64"}))
	f, err := os.OpenFile(archive, os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	_, err = f.WriteString("x")
	must(t, err)
	must(t, f.Close())
	if out, err := check(); err == nil || !strings.Contains(string(out), filepath.Base(archive)+": FAILED") {
		t.Errorf("an archive with one byte more passes: %v\n%s", err, out)
	}
	part("%-19s %d files, %.1f MiB, the same bytes in two builds, one from an empty cache; checked by sha256sum, and one byte more is noticed", "snapshot", len(want), float64(size)/(1<<20))
}

// TestSnapshotPrograms: they are what the Makefile builds and these tests have run,
// static, and tell nothing of the machine they were built on.
func TestSnapshotPrograms(t *testing.T) {
	if !bytes.Equal(released(t, theProgram()), realProgram(t)) {
		t.Errorf("%s is not the program that these tests run", theProgram())
	}
	for _, target := range theTargets() {
		name := assetName(target)
		b := released(t, name)
		about, err := buildinfo.Read(bytes.NewReader(b))
		must(t, err)
		settings := map[string]string{}
		for _, s := range about.Settings {
			settings[s.Key] = s.Value
		}
		for key, want := range map[string]string{"GOOS": target[0], "GOARCH": target[1], "CGO_ENABLED": "0", "-trimpath": "true", "-tags": "nethttpomithttp2", "vcs.revision": "", "vcs.time": ""} {
			if settings[key] != want {
				t.Errorf("%s was built with %s=%q, want %q", name, key, settings[key], want)
			}
		}
		for _, folder := range []string{os.Getenv("HOME") + "/", os.TempDir(), filepath.Dir(snapshot("1"))} {
			if len(folder) > 2 && bytes.Contains(b, []byte(folder)) {
				t.Errorf("%s holds the name %s", name, folder)
			}
		}
		if target[0] != "linux" {
			continue
		}
		file, err := elf.NewFile(bytes.NewReader(b))
		must(t, err)
		for _, p := range file.Progs {
			if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
				t.Errorf("%s is linked dynamically", name)
			}
		}
	}
}

// entry is a file of an archive.
type entry struct {
	mode  fs.FileMode
	owner string
	time  time.Time
	body  []byte
}

func unpacked(t *testing.T, name string) map[string]entry {
	t.Helper()
	b, found := released(t, name), map[string]entry{}
	if strings.HasSuffix(name, ".zip") {
		z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
		must(t, err)
		for _, f := range z.File {
			r, err := f.Open()
			must(t, err)
			body, err := io.ReadAll(r)
			must(t, err)
			found[f.Name] = entry{f.Mode(), "root:root", f.Modified, body}
		}
		return found
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	must(t, err)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return found
		}
		must(t, err)
		body, err := io.ReadAll(r)
		must(t, err)
		found[h.Name] = entry{h.FileInfo().Mode(), h.Uname + ":" + h.Gname, h.ModTime, body}
	}
}

// beside are the files that lie beside the program, with the man pages and the
// completions of this tree.
func beside(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	pages := exec.Command("go", "run", "./packaging/pages", dir)
	pages.Dir = ".."
	if out, err := pages.CombinedOutput(); err != nil {
		t.Fatalf("packaging/pages: %v\n%s", err, out)
	}
	files := map[string]string{}
	for _, name := range []string{"LICENSE", "README.md", "docs/install.md"} {
		b, err := os.ReadFile(filepath.Join("..", name))
		must(t, err)
		files[path.Base(name)] = string(b)
	}
	for _, folder := range []string{"man", "completions"} {
		entries, err := os.ReadDir(filepath.Join(dir, folder))
		must(t, err)
		for _, e := range entries {
			b, err := os.ReadFile(filepath.Join(dir, folder, e.Name()))
			must(t, err)
			files[folder+"/"+e.Name()] = string(b)
		}
	}
	return files
}

// TestSnapshotArchives: an archive has a folder of its own, in it the program and
// what lies beside it, and no time or user of this machine.
func TestSnapshotArchives(t *testing.T) {
	files := beside(t)
	var at time.Time
	for _, target := range theTargets() {
		name := archiveName(target)
		top := strings.TrimSuffix(strings.TrimSuffix(name, ".tar.gz"), ".zip") + "/"
		program := "evergrant"
		if target[0] == "windows" {
			program += ".exe"
		}
		found := unpacked(t, name)
		if e := found[top+program]; !bytes.Equal(e.body, released(t, assetName(target))) || e.mode != 0o755 {
			t.Errorf("%s: the program is another than %s, or has mode %v", name, assetName(target), e.mode)
		}
		for file, text := range files {
			if e := found[top+file]; string(e.body) != text || e.mode != 0o644 {
				t.Errorf("%s: %s is not the tree's, or has mode %v", name, file, e.mode)
			}
		}
		if len(found) != len(files)+1 {
			t.Errorf("%s has %d files, want %d: %q", name, len(found), len(files)+1, slices.Sorted(maps.Keys(found)))
		}
		for file, e := range found {
			if at.IsZero() {
				at = e.time
			}
			if e.owner != "root:root" || !e.time.Equal(at) {
				t.Errorf("%s: %s is %s's, of %v; another has %v", name, file, e.owner, e.time, at)
			}
		}
	}
	part("%-19s six, each with the program, %d files beside it, one time and no user of this machine", "snapshot, archives", len(files))
}

// TestSnapshotBill compares what each program's SPDX document lists with what the
// program says it is made of.
func TestSnapshotBill(t *testing.T) {
	modules := 0
	for _, target := range theTargets() {
		name := "evergrant_" + cli.Version + "_" + target[0] + "_" + target[1] + ".spdx.json"
		b := released(t, name)
		var bill struct {
			SPDXVersion       string `json:"spdxVersion"`
			DocumentNamespace string `json:"documentNamespace"`
			Packages          []struct {
				Name    string `json:"name"`
				Version string `json:"versionInfo"`
			} `json:"packages"`
		}
		must(t, json.Unmarshal(b, &bill))
		about, err := buildinfo.Read(bytes.NewReader(released(t, assetName(target))))
		must(t, err)
		listed := map[string]bool{}
		for _, p := range bill.Packages {
			listed[p.Name+" "+p.Version] = true
		}
		for _, m := range about.Deps {
			modules++
			if !listed[m.Path+" "+m.Version] {
				t.Errorf("%s does not list %s %s", name, m.Path, m.Version)
			}
		}
		if !listed["stdlib "+about.GoVersion] {
			t.Errorf("%s does not list the standard library of %s", name, about.GoVersion)
		}
		if bill.SPDXVersion != "SPDX-2.3" || !regexp.MustCompile(`^https://evergrant\.invalid/spdx/[0-9a-f]{64}$`).MatchString(bill.DocumentNamespace) {
			t.Errorf("%s: %s, %s", name, bill.SPDXVersion, bill.DocumentNamespace)
		}
		for _, folder := range []string{os.Getenv("HOME") + "/", os.TempDir()} {
			if len(folder) > 2 && bytes.Contains(b, []byte(folder)) {
				t.Errorf("%s holds the name %s", name, folder)
			}
		}
	}
	part("%-19s six in SPDX 2.3, which list every module that the programs say they are made of (%d)", "snapshot, bills", modules)
}

// TestSnapshotBlock pastes what docs/install.md tells whoever has an archive.
func TestSnapshotBlock(t *testing.T) {
	text := blocks(t)["docs/install.md: sha256sum --check --ignore-missing SHA256SUMS #"].text
	if old := regexp.MustCompile(`(?m)^install .*-\w*[Dt]\b`).FindString(text); old != "" {
		t.Errorf("%q is GNU's, and the block is for macOS, too", old)
	}
	dir := t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS(snapshot("1"))))
	paste := exec.Command("sh", "-c", "set -eu\n"+text)
	paste.Dir = dir
	paste.Env = append(os.Environ(), "HOME="+filepath.Join(dir, "home"))
	if out, err := paste.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	installed, err := os.ReadFile(filepath.Join(dir, "home", ".local", "bin", "evergrant"))
	if must(t, err); !bytes.Equal(installed, released(t, "evergrant-linux-amd64")) {
		t.Error("the installed program is another")
	}
	for _, name := range []string{"man/man1/evergrant-key-new.1", "bash-completion/completions/evergrant"} {
		if !exists(filepath.Join(dir, "home", ".local", "share", name)) {
			t.Errorf("%s is not installed", name)
		}
	}
	part("%-19s docs/install.md pasted: checked, unpacked, installed", "snapshot, document")
}

// packaged runs packaging/digests on the first snapshot, as a release does.
func packaged(t *testing.T, args ...string) error {
	t.Helper()
	cmd := exec.Command("go", append([]string{"run", "./packaging/digests"}, append(args, snapshot("1"))...)...)
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("packaging/digests: %w: %s", err, out)
	}
	return nil
}
