//go:build e2e

package git_test

import (
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/record"
	"evergrant/internal/store/git"
)

const acme = grant.ID("acme/main")

// token is what the forge of these tests asks for. It may be seen nowhere.
const token = "canary-git-token-77c1"

// must stops a test.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clean is an environment without anything of this machine's git.
func clean() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "LC_ALL=C",
		"GIT_AUTHOR_NAME=x", "GIT_AUTHOR_EMAIL=x@localhost", "GIT_COMMITTER_NAME=x", "GIT_COMMITTER_EMAIL=x@localhost"}
}

// sh runs git as a person would, apart from the store under test.
func sh(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Env = dir, clean()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v (the e2e tests need git)\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// bare makes a repository as a forge has it: with a history of its own, and
// strict about what it takes.
func bare(t testing.TB, path string, flags ...string) string {
	t.Helper()
	sh(t, "/", append(append([]string{"init", "--quiet", "--bare"}, flags...), path)...)
	for _, setting := range []string{"receive.fsckObjects=true", "transfer.fsckObjects=true", "http.receivepack=true", "gc.auto=0", "receive.autogc=false"} {
		name, value, _ := strings.Cut(setting, "=")
		sh(t, path, "config", name, value)
	}
	tree := sh(t, path, "write-tree")
	sh(t, path, "update-ref", "refs/heads/main", sh(t, path, "commit-tree", "-m", "start", tree))
	sh(t, path, "symbolic-ref", "HEAD", "refs/heads/main")
	return path
}

func remote(t testing.TB, s string) git.Remote {
	t.Helper()
	r, err := git.ParseRemote(s)
	must(t, err)
	return r
}

func newKey(t testing.TB) (grant.Secret, *record.Codec) {
	t.Helper()
	key, _, err := record.NewKey()
	must(t, err)
	c, err := record.NewCodec(key)
	must(t, err)
	return key, c
}

// open opens a store whose process has nothing but a path in its environment.
func open(t testing.TB, c git.Config) *git.Store {
	t.Helper()
	if c.Getenv == nil {
		c.Getenv = func(name string) string { return map[string]string{"PATH": os.Getenv("PATH")}[name] }
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Minute // two processors, a hundred writers
	}
	s, err := git.Open(c)
	must(t, err)
	return s
}

// forge serves repositories below a folder by git http-backend, behind basic
// authentication, as forges do.
type forge struct {
	*httptest.Server
	requests atomic.Int64
	// wrap, if set, is given each request before git is.
	wrap atomic.Pointer[func(w http.ResponseWriter, r *http.Request, next http.Handler)]
}

func newForge(t testing.TB, root string) *forge {
	t.Helper()
	git := sh(t, "/", "--exec-path") + "/git-http-backend"
	if _, err := os.Stat(git); err != nil {
		t.Fatalf("git http-backend is not installed: %v", err)
	}
	f := new(forge)
	backend := &cgi.Handler{
		Path: git, Root: "/", Dir: root, Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=x", "HOME=/nonexistent",
			"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "LC_ALL=C"},
		Stderr: io.Discard,
	}
	served := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength < 0 { // CGI has no chunks (RFC 3875 §4.1.2)
			b, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, "body", http.StatusBadRequest)
				return
			}
			r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
		}
		r.Header.Set("Git-Protocol", r.Header.Get("Git-Protocol"))
		backend.ServeHTTP(w, r)
	})
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.requests.Add(1)
		if wrap := f.wrap.Load(); wrap != nil {
			(*wrap)(w, r, served)
			return
		}
		authenticate(w, r, served)
	}))
	t.Cleanup(f.Close)
	return f
}

func authenticate(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if r.Header.Get("Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte("x-access-token:"+token)) {
		w.Header().Set("WWW-Authenticate", `Basic realm="forge"`)
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	next.ServeHTTP(w, r)
}

func (f *forge) intercept(wrap func(w http.ResponseWriter, r *http.Request, next http.Handler)) {
	f.wrap.Store(&wrap)
}

func credential() git.Credential {
	return git.Credential{User: "x-access-token", Password: grant.NewSecret(token)}
}

// everything returns all bytes that a bare repository keeps, its objects
// unpacked, those included that no ref leads to.
func everything(t testing.TB, dir string) []byte {
	t.Helper()
	all := []byte(sh(t, dir, "for-each-ref"))
	for line := range strings.Lines(sh(t, dir, "cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype)")) {
		oid, kind, _ := strings.Cut(strings.TrimSpace(line), " ")
		if kind == "tree" {
			kind = "-p"
		}
		all = append(all, sh(t, dir, "cat-file", kind, oid)...)
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(path, "/hooks/") {
			return err
		}
		b, err := os.ReadFile(path)
		all = append(all, b...)
		return err
	})
	must(t, err)
	return all
}
