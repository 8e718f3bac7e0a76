// Package docs_test holds the documents to the program: their commands run,
// their tables say what the program says, their links lead somewhere.
package docs_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the folder of README.md, seen from this package.
const root = ".."

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// documents returns the paths of all Markdown files, from the root.
func documents(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(filepath.Join(root, "docs"), func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, path := range found {
		if found[i], err = filepath.Rel(root, path); err != nil {
			t.Fatal(err)
		}
	}
	if len(found) < 15 {
		t.Fatalf("only %d documents were found", len(found))
	}
	return found
}

// program builds the binary and returns its folder.
func program(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "./cmd/evergrant")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return dir
}

// evergrant runs the program with nothing of this machine's in its environment.
func evergrant(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(filepath.Join(dir, "evergrant"), args...)
	cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("evergrant %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// runnable finds the blocks that a reader may paste.
var runnable = regexp.MustCompile("(?s)<!-- run -->\n```sh\n(.*?)```")

// TestREADME pastes the README's blocks into one shell, in a folder of their
// own. Only the provider is another: one that is simulated here.
func TestREADME(t *testing.T) {
	t.Parallel()
	blocks := runnable.FindAllStringSubmatch(read(t, "README.md"), -1)
	if len(blocks) < 3 {
		t.Fatalf("README.md has %d blocks marked <!-- run -->, want 3 or more", len(blocks))
	}
	script := "set -eu\n"
	for _, b := range blocks {
		script += b[1]
	}
	dir, home := program(t), t.TempDir()
	at := simulate(t, dir)
	if err := os.WriteFile(filepath.Join(home, "refresh-token"), []byte(at.RefreshToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", script+"printf 'TOKEN is %s\\n' \"$TOKEN\"\n")
	cmd.Dir = home
	cmd.Env = []string{"HOME=" + home, "PATH=" + dir + string(filepath.ListSeparator) + os.Getenv("PATH"), "EVERGRANT_TOKEN_URL=" + at.TokenURL}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("the README's commands: %v\n%s%s", err, stdout.String(), stderr.String())
	}
	env, err := os.ReadFile(filepath.Join(home, ".env"))
	if err != nil {
		t.Fatal(err)
	}
	token, found := strings.CutPrefix(strings.TrimSpace(string(env)), "GITLAB_TOKEN=")
	if !found || token == "" || !strings.Contains(stdout.String(), "TOKEN is "+token+"\n") {
		t.Errorf("the README's commands deliver no token, or two:\n%s%s", stdout.String(), stderr.String())
	}
	record, err := os.ReadFile(filepath.Join(home, "grants", "acme+gitlab.json"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(record, []byte(`"sealed"`)) {
		t.Error("the README's record is not sealed")
	}
}

// TestTry pastes the block that needs nothing: no account, no network.
func TestTry(t *testing.T) {
	t.Parallel()
	block := regexp.MustCompile("(?s)<!-- try -->\n```sh\n(.*?)```").FindStringSubmatch(read(t, "README.md"))
	if block == nil {
		t.Fatal("README.md has no block marked <!-- try -->")
	}
	home := t.TempDir()
	if err := os.Rename(program(t), filepath.Join(home, "bin")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "set -eu\ntrap 'kill $!' EXIT\n"+block[1])
	cmd.Dir = home
	cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("try/gitlab: refreshed, generation 2")) {
		t.Errorf("the README's commands: %v\n%s", err, out)
	}
}

// simulated are the settings that simulate --json prints.
type simulated struct {
	TokenURL     string `json:"token_url"`
	RefreshToken string `json:"refresh_token"`
}

// simulate runs a server that behaves like GitLab for the time of the test.
func simulate(t *testing.T, dir string) simulated {
	t.Helper()
	cmd := exec.Command(filepath.Join(dir, "evergrant"), "simulate", "--as", "gitlab", "--client-id", "YOUR_APPLICATION_ID", "--json", "--for", "5m")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var s simulated
	if err := json.NewDecoder(out).Decode(&s); err != nil {
		t.Fatalf("evergrant simulate: %v", err)
	}
	return s
}

// TestProviderTables compares the tables of presets with the program's.
func TestProviderTables(t *testing.T) {
	t.Parallel()
	var presets []struct {
		Name          string `json:"name"`
		Rotates       bool   `json:"rotates"`
		Reuse         string `json:"reuse"`
		Grace         string `json:"grace"`
		RevokesAccess bool   `json:"refresh_revokes_access"`
	}
	if err := json.Unmarshal(evergrant(t, program(t), "providers", "--json"), &presets); err != nil {
		t.Fatal(err)
	}
	if len(presets) != 30 {
		t.Errorf("the program has %d presets, and the documents say thirty", len(presets))
	}
	readme, page := rows(read(t, "README.md")), rows(read(t, "docs/providers.md"))
	for _, p := range presets {
		stays, spent, ends := "stays", map[string]string{"fatal": "login lost", "safe": "harmless", "grace": "grace " + p.Grace}[p.Reuse], "no"
		if p.Rotates {
			stays = "rotates"
		}
		if p.RevokesAccess {
			ends = "yes"
		}
		want := []string{stays, spent, ends}
		if row := readme["`"+p.Name+"`"]; !slices.Equal(row, want) {
			t.Errorf("README.md says of %s %q, the preset %q", p.Name, row, want)
		}
		if row := page["`"+p.Name+"`"]; len(row) != 7 || !slices.Equal(row[1:4], want) {
			t.Errorf("docs/providers.md says of %s %q, the preset %q", p.Name, row, want)
		}
	}
}

// rows returns the rows of a document's tables by their first cell; of equal
// ones, the last.
func rows(text string) map[string][]string {
	found := map[string][]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| ") || !strings.HasSuffix(line, "|") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		found[cells[0]] = cells[1:]
	}
	return found
}

// TestExitCodes compares the tables of exit codes with the constants.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	constant := regexp.MustCompile(`(?m)^\texit[A-Z]\w* += (\d+)`)
	codes := constant.FindAllStringSubmatch(read(t, "internal/cli/exit.go"), -1)
	if len(codes) < 11 {
		t.Fatalf("only %d exit codes were found", len(codes))
	}
	for _, doc := range []string{"README.md", "docs/cli.md"} {
		table := rows(read(t, doc))
		for _, c := range codes {
			if len(table[c[1]]) == 0 {
				t.Errorf("%s says nothing of exit code %s", doc, c[1])
			}
		}
	}
}

// TestFlags: docs/cli.md names every flag of the program, and no other.
func TestFlags(t *testing.T) {
	t.Parallel()
	dir, flag := program(t), regexp.MustCompile(`--[a-z][a-z-]+`)
	have := map[string]bool{"--help": true, "--verbose": true, "--quiet": true}
	for _, command := range [][]string{{}, {"refresh"}, {"token"}, {"run"}, {"helper", "git-credential"}, {"status"}, {"doctor"}, {"login"}, {"logout"}, {"repair"}, {"import"}, {"rescue"}, {"providers"},
		{"key", "new"}, {"key", "show-recipient"}, {"key", "rotate"}, {"init", "github"}, {"simulate"}, {"demo"}, {"version"}} {
		for line := range strings.Lines(string(evergrant(t, dir, append(command, "--help")...))) {
			if f := flag.FindString(line); f != "" && regexp.MustCompile(`^  (-\w, )?--`).MatchString(line) {
				have[f] = true
			}
		}
	}
	named := map[string]bool{}
	for _, f := range flag.FindAllString(read(t, "docs/cli.md"), -1) {
		named[f] = true
		if !have[f] && f != "--help" && f != "--unix-socket" { // the last is curl's
			t.Errorf("docs/cli.md names %s, which the program does not have", f)
		}
	}
	for f := range have {
		if !named[f] && f != "--verbose" && f != "--quiet" {
			t.Errorf("docs/cli.md does not name %s", f)
		}
	}
}

// TestLinks follows every link that stays inside the project.
func TestLinks(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	seen := 0
	for _, doc := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(withoutCode(read(t, doc)), -1) {
			to, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(to, "://") {
				continue
			}
			seen++
			path := filepath.Join(filepath.Dir(doc), to)
			if to == "" {
				path = doc
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s links to %s, which is not there", doc, m[1])
				continue
			}
			if anchor != "" && !slices.Contains(anchors(read(t, path)), anchor) {
				t.Errorf("%s links to %s, which has no such heading", doc, m[1])
			}
		}
	}
	if seen < 30 {
		t.Errorf("only %d links were found", seen)
	}
}

// withoutCode leaves out fenced blocks.
func withoutCode(text string) string {
	return regexp.MustCompile("(?ms)^```.*?^```").ReplaceAllString(text, "")
}

// anchors are the names of a document's headings, as forges make them.
func anchors(text string) []string {
	var found []string
	for s := bufio.NewScanner(strings.NewReader(withoutCode(text))); s.Scan(); {
		title, ok := strings.CutPrefix(strings.TrimLeft(s.Text(), "#"), " ")
		if !ok || !strings.HasPrefix(s.Text(), "#") {
			continue
		}
		title = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(title), "")
		found = append(found, strings.ReplaceAll(title, " ", "-"))
	}
	return found
}

// TestMakeTargets: whatever a document tells a reader to make, the Makefile
// has.
func TestMakeTargets(t *testing.T) {
	t.Parallel()
	makefile := read(t, "Makefile")
	command := regexp.MustCompile("(?m)^make ([a-z0-9-]+)(?: +#|$)|`make ([a-z0-9-]+)`")
	seen := 0
	for _, doc := range documents(t) {
		for _, m := range command.FindAllStringSubmatch(read(t, doc), -1) {
			seen++
			target := m[1] + m[2]
			if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(target) + `:`).MatchString(makefile) {
				t.Errorf("%s says make %s, and the Makefile has no such target", doc, target)
			}
		}
	}
	if seen < 8 {
		t.Errorf("only %d commands were found", seen)
	}
}

// TestDecisionsAreShort: a decision record has its four parts in 60 lines.
func TestDecisionsAreShort(t *testing.T) {
	t.Parallel()
	found, err := filepath.Glob(filepath.Join(root, "docs", "adr", "*.md"))
	if err != nil || len(found) < 10 {
		t.Fatalf("%d decision records (%v)", len(found), err)
	}
	for _, path := range found {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		if !strings.HasPrefix(text, "# "+filepath.Base(path)[:4]+" ") {
			t.Errorf("%s does not begin with its number", path)
		}
		for _, part := range []string{"\nStatus: ", "\n## Context\n", "\n## Decision\n", "\n## Consequences\n"} {
			if strings.Count(text, part) != 1 {
				t.Errorf("%s has no single %q", path, strings.TrimSpace(part))
			}
		}
		if n := strings.Count(text, "\n"); n > 60 {
			t.Errorf("%s has %d lines, at most 60", path, n)
		}
	}
}
