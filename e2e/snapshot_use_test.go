//go:build e2e

package e2e

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"evergrant/internal/cli"
	"evergrant/internal/simulator"
)

// TestSnapshotAction: the Action runs a program of the snapshot that is in the table
// which packaging/digests made of it, and refreshes with it, and runs no other.
func TestSnapshotAction(t *testing.T) {
	for version, node := range nodes(t) {
		t.Run(version, func(t *testing.T) {
			s := newStrict(t)
			first, err := s.provider.IssueFamily(simulator.DefaultClient)
			must(t, err)
			c := newCheckout(t, node)
			table := filepath.Join(c.dir, "action", "release.json")
			must(t, packaged(t, "-write", table))
			must(t, packaged(t, "-check", table, "-tag", "v"+cli.Version))
			var asked, hostile atomic.Int64
			forge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				if want := "/acme/evergrant/releases/download/v" + cli.Version + "/" + theProgram(); r.URL.Path != want || r.UserAgent() != "evergrant/"+cli.Version {
					t.Errorf("%s asks for %s, want %s", r.UserAgent(), r.URL.Path, want)
				}
				b := released(t, theProgram())
				if hostile.Load() > 0 {
					b[len(b)/2] ^= 1
				}
				_, _ = w.Write(b)
			}))
			t.Cleanup(forge.Close)
			c.env["GITHUB_SERVER_URL"], c.env["PATH"] = forge.URL, "/usr/bin:/bin"
			b := newBox(t)
			b.onGit(t)
			for name, value := range map[string]string{"KEY": b.get("EVERGRANT_KEY"), "STORE": b.get("EVERGRANT_STORE"), "REFRESH-TOKEN": first.Refresh.Reveal(),
				"TOKEN-URL": s.between.url + "/token", "CLIENT-ID": simulator.DefaultClient, "FORCE": "true"} {
				c.env["INPUT_"+name] = value
			}
			hostile.Store(1)
			c.fails(t, "main", "its SHA-256 is another. It was not run; nothing was sent")
			hostile.Store(0)
			for _, generation := range []string{"2", "3"} {
				if log := c.step(t, 0, "main"); !strings.Contains(log, "evergrant: default: refreshed, generation "+generation) {
					t.Fatalf("the step says\n%s", log)
				}
				if got := asked.Load(); got != 2 { // the refused one, and the one that is kept
					t.Errorf("%d requests after generation %s, want 2", got, generation)
				}
			}
			if family, n := s.standing(t, s.provider.FamilyOf(first.Refresh.Digest())); !family.Alive || n != 2 {
				t.Errorf("the family is alive: %v, after %d presentations, want 2", family.Alive, n)
			}
		})
	}
	part("%-19s its table names the snapshot's programs; the shim fetches this machine's, compares, keeps and runs it; one bit else, and it is not run", "snapshot, Action")
}

// TestSnapshotDeb installs the package into a folder by dpkg, runs what it
// installed there, and takes it away again.
func TestSnapshotDeb(t *testing.T) {
	deb := filepath.Join(snapshot("1"), "evergrant_"+cli.Version+"_"+runtime.GOARCH+".deb")
	root := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(root, "var", "lib", "dpkg", "updates"), 0o755))
	must(t, os.MkdirAll(filepath.Join(root, "var", "lib", "dpkg", "info"), 0o755))
	must(t, os.WriteFile(filepath.Join(root, "var", "lib", "dpkg", "status"), nil, 0o644))
	dpkg := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("dpkg", append([]string{"--root=" + root, "--force-not-root", "--log=/dev/null", "--path-include=/usr/*"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("dpkg %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	dpkg("--install", deb)
	if out := dpkg("--verify", "evergrant"); out != "" {
		t.Errorf("what is installed is not what the package says:\n%s", out)
	}
	files := strings.Fields(dpkg("--listfiles", "evergrant"))
	// What lies beside the program in an archive has its place in Debian; the
	// completion for PowerShell has none.
	places := map[string]string{"LICENSE": "doc/evergrant/copyright", "README.md": "doc/evergrant/README.md", "install.md": "doc/evergrant/install.md", "completions/evergrant.bash": "bash-completion/completions/evergrant",
		"completions/_evergrant": "zsh/vendor-completions/_evergrant", "completions/evergrant.fish": "fish/vendor_completions.d/evergrant.fish"}
	for name := range beside(t) {
		place, ok := places[name]
		if page, found := strings.CutPrefix(name, "man/"); found {
			place, ok = "man/man1/"+page+".gz", true
		}
		if ok != (name != "completions/evergrant.ps1") || ok && !exists(filepath.Join(root, "usr", "share", place)) {
			t.Errorf("%s is not installed as %q", name, place)
		}
	}
	if !exists(filepath.Join(root, "usr", "bin", "evergrant")) {
		t.Error("the program is not installed")
	}
	program := exec.Command("/usr/bin/evergrant", "version")
	program.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	program.Dir, program.Env = "/", []string{}
	out, err := program.CombinedOutput()
	if must(t, err); !strings.HasPrefix(string(out), "evergrant "+cli.Version+" ") {
		t.Errorf("the installed program says %q", out)
	}
	pages := manPages(t, root)
	// In a shell of its own, completion offers what the program offers.
	bash := exec.Command("bash", "--norc", "-c", `source "$1"; declare -F __start_evergrant && complete -p evergrant`, "bash", filepath.Join(root, "usr/share/bash-completion/completions/evergrant"))
	if out, err := bash.CombinedOutput(); err != nil || !strings.Contains(string(out), "-F __start_evergrant evergrant") {
		t.Errorf("bash does not take the completion: %v\n%s", err, out)
	}
	dpkg("--purge", "evergrant")
	for _, file := range files {
		if st, err := os.Lstat(filepath.Join(root, file)); err == nil && !st.IsDir() {
			t.Errorf("%s is left", file)
		}
	}
	for arch, want := range map[string]string{"amd64": "amd64\n", "arm64": "arm64\n"} {
		field, err := exec.Command("dpkg-deb", "--field", filepath.Join(snapshot("1"), "evergrant_"+cli.Version+"_"+arch+".deb"), "Architecture").Output()
		if must(t, err); string(field) != want {
			t.Errorf("the package for %s is for %s", arch, field)
		}
	}
	part("%-19s installed by dpkg into a folder, run there, verified, purged; man reads %d pages without a warning", "snapshot, deb", pages)
}

// manPages has man read every page that is installed below root.
func manPages(t *testing.T, root string) int {
	t.Helper()
	folder := filepath.Join(root, "usr", "share", "man")
	found, err := filepath.Glob(filepath.Join(folder, "man1", "*.1.gz"))
	must(t, err)
	for _, path := range found {
		name := strings.TrimSuffix(filepath.Base(path), ".1.gz")
		cmd := exec.Command("man", "--warnings", "-E", "UTF-8", "-M", folder, "1", name)
		cmd.Env = append(os.Environ(), "MANWIDTH=100", "MANPAGER=cat", "LC_ALL=C.UTF-8")
		var said bytes.Buffer
		cmd.Stderr = &said
		text, err := cmd.Output()
		plain := regexp.MustCompile(`.\x08`).ReplaceAllString(string(text), "")
		if err != nil || said.Len() > 0 || !strings.HasPrefix(plain, strings.ToUpper(name)+"(1) ") || !regexp.MustCompile(`(?m)^NAME\n       `+name+` - `).MatchString(plain) {
			t.Errorf("man %s: %v\n%s%s", name, err, said.String(), plain)
		}
	}
	if len(found) < 30 {
		t.Errorf("only %d pages are installed", len(found))
	}
	return len(found)
}

// TestSnapshotAlone runs the demonstration in a root folder that holds the program
// and /tmp, and nothing else: no library, no /proc, no /dev, no user, no time zone.
func TestSnapshotAlone(t *testing.T) {
	root := t.TempDir()
	must(t, os.Mkdir(filepath.Join(root, "tmp"), 0o700))
	must(t, os.WriteFile(filepath.Join(root, "evergrant"), released(t, theProgram()), 0o755))
	demo := exec.Command("/evergrant", "demo")
	demo.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	demo.Dir, demo.Env = "/", []string{}
	out, err := demo.CombinedOutput()
	if holds := regexp.MustCompile(`\nAll \d+ expectations hold\.\n$`); err != nil || !holds.Match(out) || strings.Count(string(out), "\n  ok   ") < 10 {
		t.Errorf("demo in an empty root: %v\n%s", err, out)
	}
	var left []string
	must(t, filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		left = append(left, strings.TrimPrefix(path, root))
		return err
	}))
	if strings.Join(left, " ") != " /evergrant /tmp" {
		t.Errorf("the root holds %q afterwards", left)
	}
	part("%-19s demo holds in a root with the program and /tmp, and leaves nothing there", "snapshot, alone")
}
