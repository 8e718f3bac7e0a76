//go:build e2e

package e2e

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"evergrant/e2e/forge"
)

// The actions of these workflows by the names under which they are published,
// each at a whole commit. act takes them from folders of this machine.
const (
	evergrantAction = "acme-tools/evergrant@4b825dc642cb6eb9a060e54bf8d69288fbee4904"
	checkoutAction  = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1"
	goAction        = "actions/setup-go@4a3601121dd01d1626a1e23e37211e3254c1c06c"
	officialAction  = "anthropics/claude-code-action@24dcd50c0568f0fc9e9211213a4fd2d9eb15c4e0"
	forkedAction    = "nimishchaudhari/claude-code-action-max-sub@54768ee9523c453c7b576ffddad9a8d70bd54c9e"
)

const (
	repository = "acme/widgets"
	writer     = "ada"    // a collaborator who may write
	reader     = "rhoda"  // a collaborator who may read
	stranger   = "samson" // anybody
)

// actDir is the folder into which e2e/run installed act and its company.
func actDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("EVERGRANT_E2E_ACT")
	if dir == "" {
		t.Fatal("EVERGRANT_E2E_ACT is not set; run these tests by e2e/run")
	}
	return dir
}

// newestNode is the folder with the program node of the newest release that npm has.
func newestNode(t *testing.T) string {
	t.Helper()
	name := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	return filepath.Join(actDir(t), "node_modules", "node-linux-"+name, "bin")
}

// actions lays the Action out as its published copy has it, with the released
// binary in it, beside the stand-ins for other people's actions.
func actions(t *testing.T) map[string]string {
	t.Helper()
	root := t.TempDir()
	folders := map[string]string{
		evergrantAction: filepath.Join(root, "evergrant"), checkoutAction: filepath.Join(root, "checkout"), goAction: filepath.Join(root, "setup-go"),
		officialAction: filepath.Join(root, "official"), forkedAction: filepath.Join(root, "forked"),
	}
	copyFile := func(to, from string, mode os.FileMode) {
		content, err := os.ReadFile(from)
		must(t, err)
		must(t, os.MkdirAll(filepath.Dir(to), 0o755))
		must(t, os.WriteFile(to, content, mode))
	}
	must(t, os.CopyFS(folders[checkoutAction], os.DirFS("act/checkout")))
	must(t, os.CopyFS(folders[goAction], os.DirFS("act/setup-go")))
	for action, inputs := range map[string]string{officialAction: "anthropics.yml", forkedAction: "nimishchaudhari.yml"} {
		copyFile(filepath.Join(folders[action], "action.yml"), filepath.Join("act", "consumer", inputs), 0o644)
		copyFile(filepath.Join(folders[action], "main.mjs"), "act/consumer/main.mjs", 0o644)
	}
	must(t, os.CopyFS(filepath.Join(folders[evergrantAction], "action"), os.DirFS("../action")))
	copyFile(filepath.Join(folders[evergrantAction], "action.yml"), "../action.yml", 0o644)
	copyFile(filepath.Join(folders[evergrantAction], "action", "bin", "evergrant-linux-"+runtime.GOARCH), os.Getenv("EVERGRANT_E2E_BINARY"), 0o755)
	return folders
}

// stage is a repository on a forge, and a login at a strict authorization
// server that its workflows live on.
type stage struct {
	*door
	provider *authServer
	forge    *forge.Server
	bare     string // the repository, on the forge's disk
	clone    string // a work tree of it
	actions  map[string]string
	watched  *processes

	key, seed, token string // sealing key, first refresh token, the job's token
	dir              string // everything that runs leave behind

	mu   sync.Mutex
	asks map[string]int // calls of the forge's API, by path
	runs []*run
}

// newStage signs in at the server, and makes a repository.
func newStage(t *testing.T, provider *authServer) *stage {
	t.Helper()
	s := &stage{
		door: newDoor(t, provider.issuer), provider: provider, actions: actions(t), watched: watchProcesses(t),
		seed: provider.consent(t, publicClient).Refresh, token: "canary-job-token-" + rand.Text(), dir: t.TempDir(), asks: map[string]int{},
	}
	key := newBox(t).run(t, "key", "new")
	_, secret, ok := strings.Cut(key.stdout, "AGE-SECRET-KEY-")
	if key.code != 0 || !ok {
		t.Fatal("evergrant key new printed no key")
	}
	secret, _, _ = strings.Cut(secret, "\n")
	s.key = "AGE-SECRET-KEY-" + secret

	root := t.TempDir()
	s.bare = forge.Bare(t, filepath.Join(root, filepath.FromSlash(repository)+".git"))
	s.forge = forge.New(t, root, s.token)
	s.forge.Intercept(s.api)
	s.clone = filepath.Join(t.TempDir(), "widgets")
	forge.Git(t, "/", "clone", "--quiet", s.bare, s.clone)
	return s
}

// api answers what the gate of the comment template asks of GitHub's API
// (GitHub Docs, "Get repository permissions for a user"), as a forge with its
// API below /api/v3 does, and leaves the rest to git.
func (s *stage) api(w http.ResponseWriter, r *http.Request, next http.Handler) {
	path, ok := strings.CutPrefix(r.URL.Path, "/api/v3/repos/"+repository+"/collaborators/")
	if !ok {
		s.forge.Authenticate(w, r, next)
		return
	}
	s.mu.Lock()
	s.asks[path]++
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if a := r.Header.Get("Authorization"); a != "Bearer "+s.token && a != "token "+s.token {
		http.Error(w, `{"message":"Requires authentication"}`, http.StatusUnauthorized)
		return
	}
	who, ok := strings.CutSuffix(path, "/permission")
	permission := map[string]string{writer: "write", reader: "read"}[who]
	if !ok || permission == "" {
		http.Error(w, `{"message":"Not Found"}`, http.StatusNotFound)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"permission": permission, "role_name": permission, "user": map[string]any{"login": who}})
}

// asked is how often the forge was asked for somebody's permission.
func (s *stage) asked() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, times := range s.asks {
		n += times
	}
	return n
}

// commit puts files into the repository, on the forge too.
func (s *stage) commit(t *testing.T, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(s.clone, filepath.FromSlash(name))
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text), 0o644))
	}
	forge.Git(t, s.clone, "add", "--all")
	forge.Git(t, s.clone, "commit", "--quiet", "-m", "a workflow")
	forge.Git(t, s.clone, "push", "--quiet", "origin", "HEAD:main")
}

// workflow writes a workflow by evergrant init github, and commits it.
func (s *stage) workflow(t *testing.T, template string, flags ...string) (path string) {
	t.Helper()
	path = ".github/workflows/" + template + ".yml"
	b := newBox(t)
	args := append([]string{"init", "github", "--template", template, "--action", evergrantAction, "--token-url", s.url + "/token",
		"--client-id", publicClient.id, "--out", path}, flags...)
	cmd := b.command(t.Context(), args...)
	cmd.Dir = s.clone
	if r := b.finish(t, cmd); r.code != 0 {
		t.Fatalf("no workflow\n%v", r)
	}
	forge.Git(t, s.clone, "add", "--all")
	forge.Git(t, s.clone, "commit", "--quiet", "-m", "a workflow")
	forge.Git(t, s.clone, "push", "--quiet", "origin", "HEAD:main")
	return path
}

// green expects that the job succeeded, that its one consumer got a token of
// this stage that lives at the provider, masked, and nothing of what it may not
// have. It returns the token.
func (s *stage) green(t *testing.T, r *run) (token string) {
	t.Helper()
	if r.code() != 0 || len(r.reports) != 1 {
		t.Fatalf("exit %d, %d consumers; want a green run\n%s", r.code(), len(r.reports), r.told())
	}
	c := r.reports[0]
	if c.Status != http.StatusOK || c.Who != writer {
		t.Fatalf("the consumer's token: HTTP %d, of %q", c.Status, c.Who)
	}
	access, _ := s.tokens()
	i := slices.IndexFunc(access, func(a string) bool { return digest(a) == c.Token })
	if i < 0 {
		t.Fatal("the consumer's token never came through the door")
	}
	if !strings.Contains(r.log.String(), "the token is ***") {
		t.Errorf("the consumer printed the token, and the log shows no mask\n%s", r.told())
	}
	if n := strings.Count(r.log.String(), "Summary - **evergrant** "); n != 1 {
		t.Errorf("the step's summary has %d lines\n%s", n, r.told())
	}
	w := newSweep(s.secrets())
	for _, variable := range c.Environment {
		name, _, _ := strings.Cut(variable, "=")
		w.look("the consumer's variable "+name, []byte(variable), []kind{refreshTokens, sealingKey})
	}
	for _, leak := range w.leaks {
		t.Error(leak)
	}
	return access[i]
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// secrets is everything that may not be seen.
func (s *stage) secrets() secrets {
	access, refresh := s.tokens()
	return secrets{accessTokens: access, refreshTokens: append(refresh, s.seed), sealingKey: {s.key}, jobToken: {s.token}}
}

// clean searches all that the runs so far have left behind for tokens and
// keys, and ends the test if one is there.
func (s *stage) clean(t *testing.T) *sweep {
	t.Helper()
	w := newSweep(s.secrets())
	for _, r := range s.runs {
		w.look("the log", []byte(r.log.String()), allKinds())
		for _, d := range []string{"home", "tmp", "act"} {
			w.tree(t, d, filepath.Join(r.dir, d), heldByCheckout)
		}
		w.tree(t, "left", r.left(), rightful)
		if folder := filepath.Join(r.left(), "workspace", ".git"); exists(folder) {
			w.look("objects of the checkout", forge.Everything(t, folder), allBut(jobToken))
		}
	}
	w.look("objects of the repository", forge.Everything(t, s.bare), allKinds())
	w.look("objects of the clone", forge.Everything(t, filepath.Join(s.clone, ".git")), allKinds())
	s.watched.search(w)
	for _, leak := range w.leaks {
		t.Error(leak)
	}
	return w
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// rightful says what may be in a file that a job left: the runner's own files
// have the access token for later steps, and the checkout keeps the job's token
// where the workflow asked for that.
func rightful(path string) []kind {
	switch {
	case strings.HasPrefix(path, "channels/"):
		return []kind{accessTokens}
	case path == "workspace/.git/config":
		return []kind{jobToken}
	}
	return nil
}

// heldByCheckout: act leaves the folder of a job that failed, and in it what the
// checkout keeps where the workflow asked for that.
func heldByCheckout(path string) []kind {
	if strings.HasSuffix(path, "/hostexecutor/.git/config") {
		return []kind{jobToken}
	}
	return nil
}

// box is a machine of its own that uses the stage's grant by the binary itself.
func (s *stage) box(t *testing.T) *box {
	t.Helper()
	b := newBox(t).at(s.url+"/token", publicClient).seeded(s.seed)
	b.set("PATH", os.Getenv("PATH"))
	b.set("CI", "true")
	b.set("EVERGRANT_STORE", "git:"+s.forge.URL+"/"+repository)
	b.set("EVERGRANT_KEY", s.key)
	b.set("EVERGRANT_GIT_TOKEN", s.token)
	b.secrets = append(b.secrets, s.key, s.token)
	return b
}
