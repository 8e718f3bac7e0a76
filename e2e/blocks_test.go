//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"evergrant/internal/grant"
)

// block is a block of commands in a document.
type block struct {
	at   string // its document and the first words of its first line
	text string
	// marked: TestREADME or TestTry of the docs package pastes it.
	marked bool
}

// blocks reads every block of commands that the documents have.
func blocks(t *testing.T) map[string]block {
	t.Helper()
	const root = ".."
	paths, err := filepath.Glob(filepath.Join(root, "*.md"))
	must(t, err)
	more, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	must(t, err)
	fence := regexp.MustCompile("(?ms)(<!-- (?:run|try) -->\n)?^```(?:sh|bash|console|shell)\n(.*?)^```")
	found := map[string]block{}
	for _, path := range append(paths, more...) {
		text, err := os.ReadFile(path)
		must(t, err)
		name, err := filepath.Rel(root, path)
		must(t, err)
		for _, m := range fence.FindAllStringSubmatch(string(text), -1) {
			words := strings.Fields(m[2])
			b := block{at: name + ": " + strings.Join(words[:min(5, len(words))], " "), text: m[2], marked: m[1] != ""}
			if _, twice := found[b.at]; twice {
				t.Fatalf("%s: two blocks begin like that", b.at)
			}
			found[b.at] = b
		}
	}
	return found
}

// elsewhere are the blocks that another test executes, or that none can.
var elsewhere = map[string]string{
	"docs/install.md: sha256sum --check --ignore-missing SHA256SUMS #":                  "TestSnapshotBlock, in the long form",
	"docs/install.md: sha256sum --check --ignore-missing SHA256SUMS sudo":               "TestSnapshotDeb, in the long form and into a folder",
	"docs/install.md: mkdir -p context/linux/amd64 grants state":                        "TestSnapshotImage, in the long form",
	"README.md: make demo # jobs race,":                                                 "TestMakeBlock and .ci/run, which calls make test first",
	"docs/cli.md: evergrant login acme/gitlab --provider gitlab":                        "TestLoginInDocuments",
	"docs/cli.md: evergrant logout acme/gitlab --provider gitlab":                       "TestLoginInDocuments",
	`docs/github.md: CLAUDE_CONFIG_DIR="$HOME/.claude-evergrant" claude # then /login,`: "none: it opens the vendor's own program, and a person signs in there",
}

const commit = "0123456789abcdef0123456789abcdef01234567"

// TestBlocks pastes each block of the documents into a shell, with the real
// programs that it names. What a reader is told to replace is replaced; what
// lies on the network is a server of this machine.
func TestBlocks(t *testing.T) {
	all := blocks(t)
	for at, b := range all {
		if _, ok := elsewhere[at]; !ok && !b.marked && worlds[at] == nil {
			t.Errorf("%s: no test executes this block", at)
		}
	}
	for _, at := range slices.Concat(slices.Collect(maps.Keys(worlds)), slices.Collect(maps.Keys(elsewhere))) {
		if _, ok := all[at]; !ok {
			t.Errorf("%s: no document has this block any more", at)
		}
	}
	for i, at := range slices.Sorted(maps.Keys(worlds)) {
		t.Run(fmt.Sprint(i), func(t *testing.T) { // a short name: a socket's path holds it
			t.Log(at)
			worlds[at](t, all[at].text)
		})
	}
	part("%-19s %d blocks of commands pasted into a shell", "documents", len(worlds))
}

var worlds = map[string]func(t *testing.T, text string){
	"docs/install.md: make build # leaves bin/evergrant":                                                      sourceBlock,
	"docs/install.md: CGO_ENABLED=0 go build -tags nethttpomithttp2":                                          sourceBlock,
	"docs/install.md: go run ./packaging/pages made #":                                                        sourceBlock,
	"README.md: cd YOUR-REPOSITORY evergrant init github":                                                     initBlock,
	`docs/cli.md: evergrant run acme/api --token-socket "$XDG_RUNTIME_DIR/api.sock"`:                          runBlock,
	`docs/github.md: t=$(jq -er .claudeAiOauth.refreshToken "$HOME/.claude-evergrant/.credentials.json") &&`:  claudeBlock,
	`docs/github.md: printf %s "$TOKEN" | gh`:                                                                 genericBlock,
	`docs/github.md: export EVERGRANT_KEY="$(cat "$HOME/evergrant-REPO.key")" EVERGRANT_GIT_TOKEN="$(gh auth`: rescueBlock,
	`docs/github.md: export EVERGRANT_KEY="$(cat "$HOME/evergrant-REPO.key")" evergrant key`:                  rotateBlock,
	"docs/cli.md: evergrant rescue <job.log # each":                                                           rescueEachBlock,
	"docs/github.md: evergrant init github --template scheduled":                                              clockBlock,
	"docs/cli.md: evergrant doctor # every grant":                                                             doctorBlock,
	"docs/providers.md: evergrant refresh acme/api --token-url https://auth.example.com/oauth/token":          refreshBlock,
	"docs/record-format.md: git fetch origin refs/evergrant/acme+gitlab &&":                                   fetchBlock,
}

func doctorBlock(t *testing.T, text string) {
	b, srv, _ := atSimulator(t)
	b.set("EVERGRANT_TOKEN_URL", b.flags[1])
	b.set("EVERGRANT_CLIENT_ID", b.flags[3])
	b.deliver(t, "acme/gitlab")
	b.shell(t, "set -eu\n"+text)
	if l := srv.Ledger(); len(l.Presentations) != 1 {
		t.Errorf("doctor presented a refresh token: %d presentations", len(l.Presentations))
	}
}

func initBlock(t *testing.T, text string) {
	b, _, _ := atSimulator(t)
	b.git(t, "init", "--quiet")
	b.shell(t, "set -eu\n"+strings.NewReplacer("OWNER/evergrant@COMMIT", "acme/evergrant@"+commit, "YOUR-REPOSITORY", ".").Replace(text))
	if found, err := filepath.Glob(filepath.Join(b.home, ".github", "workflows", "*.yml")); err != nil || len(found) != 1 {
		t.Errorf("%d workflows, %v", len(found), err)
	}
}

// clockBlock: a workflow that keeps the token, and one that reads it.
func clockBlock(t *testing.T, text string) {
	b, _, _ := atSimulator(t)
	b.git(t, "init", "--quiet")
	b.shell(t, "set -eu\n"+strings.ReplaceAll(text, "OWNER/evergrant@COMMIT", "acme/evergrant@"+commit))
	if found, err := filepath.Glob(filepath.Join(b.home, ".github", "workflows", "evergrant-scheduled*.yml")); err != nil || len(found) != 2 {
		t.Errorf("%d workflows, %v", len(found), err)
	}
}

// runBlock: the first line runs a job, in which the others stand.
func runBlock(t *testing.T, text string) {
	b, srv, _ := atSimulator(t)
	line, inJob, _ := strings.Cut(text, "\n")
	must(t, os.WriteFile(filepath.Join(b.home, "long-job"), []byte("#!/bin/sh\nset -e\n"+inJob), 0o700))
	runtime := filepath.Join(b.home, "runtime")
	must(t, os.Mkdir(runtime, 0o700))
	b.set("XDG_RUNTIME_DIR", runtime)
	out := b.shell(t, strings.Replace(line, "evergrant run", "evergrant run "+strings.Join(b.flags, " "), 1))
	for _, want := range []string{`"generation":2`, `"expires_in":`} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in what the job prints", want)
		}
	}
	if l := srv.Ledger(); len(l.Presentations) != 1 {
		t.Errorf("%d token requests", len(l.Presentations))
	}
}

// path is what a reader's shell finds programs by.
func (b *box) path() {
	b.set("PATH", filepath.Dir(os.Getenv("EVERGRANT_E2E_BINARY"))+":"+os.Getenv("PATH"))
}

// withGitHub lets gh set secrets at a server that is held to GitHub's description.
func withGitHub(t *testing.T, b *box) (value func(name string) string) {
	t.Helper()
	g := startGitHub(t)
	b.secrets = append(b.secrets, githubToken)
	for name, value := range map[string]string{"GH_HOST": "github.localhost", "GH_REPO": "github.localhost/acme/widgets", "GH_TOKEN": githubToken,
		"HTTP_PROXY": g.URL, "http_proxy": g.URL, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "GH_NO_UPDATE_NOTIFIER": "1"} {
		b.set(name, value)
	}
	return func(name string) string {
		v, ok := g.Value("acme/widgets", name)
		if !ok {
			t.Errorf("no secret %s was set", name)
		}
		return v
	}
}

func (b *box) file(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(b.home, name))
	must(t, err)
	return strings.TrimSpace(string(text))
}

func claudeBlock(t *testing.T, text string) {
	b, _, _ := atSimulator(t)
	b.git(t, "init", "--quiet")
	value := withGitHub(t, b)
	must(t, os.Mkdir(filepath.Join(b.home, ".claude-evergrant"), 0o700))
	must(t, os.WriteFile(filepath.Join(b.home, ".claude-evergrant", ".credentials.json"), []byte(`{"claudeAiOauth":{"accessToken":"a","refreshToken":"the-refresh-token","expiresAt":1}}`), 0o600))
	b.shell(t, "set -eu\n"+strings.ReplaceAll(text, "OWNER/evergrant@COMMIT", "acme/evergrant@"+commit))
	if value("CLAUDE_REFRESH_TOKEN") != "the-refresh-token" || strings.TrimSpace(value("EVERGRANT_KEY")) != b.file(t, "evergrant-REPO.key") {
		t.Error("the secrets are not what the files hold")
	}
}

func genericBlock(t *testing.T, text string) {
	b, _, _ := atSimulator(t)
	b.git(t, "init", "--quiet")
	value := withGitHub(t, b)
	b.set("TOKEN", "the-refresh-token")
	b.shell(t, "set -eu\n"+strings.ReplaceAll(text, "OWNER/evergrant@COMMIT", "acme/evergrant@"+commit))
	if value("GITLAB_REFRESH_TOKEN") != "the-refresh-token" || strings.TrimSpace(value("EVERGRANT_KEY")) != b.file(t, "evergrant-REPO.key") {
		t.Error("the secrets are not what the files hold")
	}
}

// rescueBlock: a forge takes the lease and then nothing more; the log is all that
// is left of the job's machine.
func rescueBlock(t *testing.T, text string) {
	b, repository, alive := unsavedOnGit(t, "LOG")
	must(t, os.WriteFile(filepath.Join(b.home, "evergrant-REPO.key"), []byte(b.get("EVERGRANT_KEY")+"\n"), 0o600))
	b.unset("EVERGRANT_KEY")
	b.shell(t, "set -eu\n"+strings.ReplaceAll(text, "git:https://github.com/OWNER/REPO", "git:"+repository))
	b.set("EVERGRANT_KEY", b.file(t, "evergrant-REPO.key"))
	alive()
}

// rescueEachBlock: the configuration says where the block goes; or a flag does, and
// then it is there already.
func rescueEachBlock(t *testing.T, text string) {
	b, repository, alive := unsavedOnGit(t, "job.log")
	folder := filepath.Join(b.home, ".config", "evergrant")
	must(t, os.MkdirAll(folder, 0o700))
	must(t, os.WriteFile(filepath.Join(folder, "config.yaml"), []byte("grants:\n  acme/api:\n    store: git:"+repository+"\n"), 0o600))
	b.set("HOME", b.home)
	b.unset("XDG_CONFIG_HOME")
	b.unset("EVERGRANT_STORE")
	b.shell(t, "set -eu\n"+strings.ReplaceAll(text, "git:https://forge.example/acme/store", "git:"+repository))
	b.set("EVERGRANT_STORE", "git:"+repository)
	must(t, os.Remove(filepath.Join(folder, "config.yaml")))
	alive()
}

// unsavedOnGit is a grant whose second refresh is in the log alone; alive refreshes it
// once it is back.
func unsavedOnGit(t *testing.T, log string) (b *box, repository string, alive func()) {
	b, srv, _ := atSimulator(t)
	repository = b.onGit(t)
	b.path()
	withGitHub(t, b)
	b.deliver(t, "--force", "acme/api")
	hook := filepath.Join(repository, "hooks", "pre-receive")
	must(t, os.MkdirAll(filepath.Dir(hook), 0o755))
	must(t, os.WriteFile(hook, []byte("#!/bin/sh\n[ ! -e \"$0.first\" ] || exit 1\n: >\"$0.first\"\n"), 0o755))
	r := b.fails(t, 7, "--force", "--speed-up", "20", "acme/api")
	must(t, os.WriteFile(filepath.Join(b.home, log), []byte(r.stderr), 0o600))
	must(t, os.Remove(hook))
	must(t, os.RemoveAll(b.stateDir()))
	return b, repository, func() {
		t.Helper()
		if d := b.deliver(t, "acme/api"); d.Generation != 3 || !srv.AccessValid(grant.NewSecret(d.token)) {
			t.Errorf("after the rescue the grant is at generation %d", d.Generation)
		}
	}
}

func rotateBlock(t *testing.T, text string) {
	b, _, _ := atSimulator(t)
	repository := b.onGit(t)
	b.path()
	value := withGitHub(t, b)
	must(t, os.WriteFile(filepath.Join(b.home, "evergrant-REPO.key"), []byte(b.get("EVERGRANT_KEY")+"\n"), 0o600))
	b.deliver(t, "--force", "acme/api")
	b.shell(t, "set -eu\n"+strings.ReplaceAll(text, "git:https://github.com/OWNER/REPO", "git:"+repository))
	b.fails(t, 6, "acme/api") // by the old key
	b.set("EVERGRANT_KEY", strings.TrimSpace(value("EVERGRANT_KEY")))
	if d := b.deliver(t, "acme/api"); d.Generation != 2 {
		t.Errorf("by the new key: generation %d", d.Generation)
	}
}

func refreshBlock(t *testing.T, text string) {
	b, srv, issuer := atSimulator(t)
	b.shell(t, "set -eu\n"+strings.NewReplacer("https://auth.example.com/oauth/token", issuer+"/token", "my-client", b.flags[3]).Replace(text))
	if l := srv.Ledger(); len(l.Presentations) != 1 {
		t.Errorf("%d token requests", len(l.Presentations))
	}
}

func fetchBlock(t *testing.T, text string) {
	b, _, _ := atSimulator(t)
	repository := b.onGit(t)
	b.deliver(t, "acme/gitlab")
	clone := filepath.Join(b.home, "clone")
	b.git(t, "clone", "--quiet", repository, clone)
	if out := b.shell(t, "cd clone && "+text); !strings.Contains(out, `"sealed":"`) || !strings.Contains(out, `"proof":"`) {
		t.Errorf("git shows %q", out)
	}
}

// sourceBlock: what is done in a clone of the source.
func sourceBlock(t *testing.T, text string) {
	home := t.TempDir()
	cmd := exec.Command("sh", "-c", "set -eu\n"+strings.NewReplacer("pages made ", "pages "+home+"/made ", "-o bin/evergrant", "-o "+home+"/evergrant").Replace(text))
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "HOME="+home, "GOMODCACHE="+goEnv(t, "GOMODCACHE"), "GOCACHE="+goEnv(t, "GOCACHE"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	found := 0
	for _, made := range []string{".local/bin/evergrant", "evergrant", "made/man/evergrant.1"} {
		if _, err := os.Stat(filepath.Join(home, made)); err == nil {
			found++
		}
	}
	if found != 1 {
		t.Errorf("%d of the files that the block makes are there", found)
	}
}

// TestMakeBlock: the first thing that a reader types.
func TestMakeBlock(t *testing.T) {
	line, _, _ := strings.Cut(blocks(t)["README.md: make demo # jobs race,"].text, "\n")
	cmd := exec.Command("sh", "-c", line)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "GOFLAGS=-modcacherw", "GOMODCACHE="+goEnv(t, "GOMODCACHE"), "GOCACHE="+goEnv(t, "GOCACHE"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	must(t, err)
	return strings.TrimSpace(string(out))
}

// TestLoginInDocuments signs in by each line that the documents have, in a real
// browser, and logs out.
func TestLoginInDocuments(t *testing.T) {
	all := blocks(t)
	s := startServer(t, nil)
	b, opened := s.desk(t)
	b.set("DISPLAY", ":99")
	b.set("EVERGRANT_STORE", "file:"+b.store)
	b.set("PATH", b.get("PATH")+":"+filepath.Dir(os.Getenv("EVERGRANT_E2E_BINARY"))+":"+os.Getenv("PATH"))
	ends := fmt.Sprintf(" --token-url %s --scope 'openid offline_access email' --param prompt=consent", s.tokenURL())
	here := strings.NewReplacer("YOUR_APPLICATION_ID", person.id, "YOUR_CLIENT", person.id,
		"https://id.example.com/authorize", s.issuer+"/auth", "https://id.example.com/token", s.tokenURL(), "https://id.example.com", s.issuer)
	logins := 0
	for line := range strings.Lines(all["docs/cli.md: evergrant login acme/gitlab --provider gitlab"].text) {
		line = here.Replace(strings.TrimSpace(line))
		if strings.Contains(line, "--provider gitlab") { // of a GitLab that is here
			line += " --authorize-url " + s.issuer + "/auth" + ends
		} else {
			line += " --scope 'openid offline_access email' --param prompt=consent --replace"
		}
		ended := make(chan string, 1)
		go func() {
			cmd := exec.Command("sh", "-c", line)
			cmd.Dir, cmd.Env = b.home, append([]string{"HOME=" + b.home, "XDG_STATE_HOME=" + b.stateDir()}, b.env...)
			out, err := cmd.CombinedOutput()
			ended <- fmt.Sprintf("%s\n%sexit: %v", line, out, err)
		}()
		address := waitFile(t, opened)
		must(t, os.Remove(opened))
		web := startBrowser(t)
		web.open(address)
		web.signIn("ada")
		web.until("page of evergrant", `document.title.startsWith("evergrant")`)
		if out := <-ended; !strings.HasSuffix(out, "exit: <nil>") || !strings.Contains(out, "is saved") {
			t.Fatal(out)
		}
		logins++
	}
	out := b.shell(t, here.Replace(strings.TrimSpace(all["docs/cli.md: evergrant logout acme/gitlab --provider gitlab"].text))+
		" --token-url "+s.tokenURL()+" --revoke-url "+s.issuer+"/token/revocation")
	if !strings.Contains(out, "revoked at the provider: yes") {
		t.Errorf("logout says %s", out)
	}
	part("login: by the %d lines of the documents, and the logout", logins)
}
