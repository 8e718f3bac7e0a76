//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"evergrant/internal/grant"
)

// TestGitCredential clones and fetches with git itself from a server that takes the
// current access token only, while refreshes end one after the other.
func TestGitCredential(t *testing.T) {
	b, srv, _ := atSimulator(t)
	root := filepath.Join(b.home, "srv")
	b.git(t, "init", "--quiet", "--bare", filepath.Join(root, "code.git"))
	var refused, served atomic.Int64
	denied := atomic.Pointer[string]{}
	forge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, token, ok := r.BasicAuth()
		if d := denied.Load(); !ok || !srv.AccessValid(grant.NewSecret(token)) || d != nil && *d == token {
			if ok {
				refused.Add(1)
			}
			w.Header().Set("WWW-Authenticate", `Basic realm="code"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		served.Add(1)
		backend, err := exec.Command("git", "--exec-path").Output()
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		(&cgi.Handler{Path: filepath.Join(strings.TrimSpace(string(backend)), "git-http-backend"),
			Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "HOME=" + b.home}}).ServeHTTP(w, r)
	}))
	t.Cleanup(forge.Close)
	host := strings.TrimPrefix(forge.URL, "http://")
	asks := fmt.Sprintf("!evergrant helper git-credential acme/code --host %s %s", host, strings.Join(b.flags, " "))
	clone := filepath.Join(b.home, "clone")
	b.git(t, "-c", "credential."+forge.URL+".helper="+asks, "clone", "--quiet", forge.URL+"/code.git", clone)
	b.git(t, "-C", clone, "config", "credential."+forge.URL+".helper", asks)
	for range 3 {
		b.deliver(t, "--force", "acme/code") // ends the token that git had
		b.git(t, "-C", clone, "fetch", "--quiet")
	}
	if n := refused.Load(); n != 0 {
		t.Errorf("git came %d times with a token that was over", n)
	}
	// A token that dies without anybody's doing: git tells that it was refused, and
	// has a newer one at its next try.
	d := b.deliver(t, "acme/code")
	denied.Store(&d.token)
	if out, err := b.gitCommand("-C", clone, "fetch", "--quiet").CombinedOutput(); err == nil {
		t.Fatalf("git came through with a refused token\n%s", out)
	}
	b.git(t, "-C", clone, "fetch", "--quiet")
	if now := b.deliver(t, "acme/code"); now.Generation != d.Generation+1 || now.Action != "served" {
		t.Errorf("after a refused token the grant is at %+v, before at %d", now.report, d.Generation)
	}
	part("%-19s git clone, fetches across 3 rotations that each ended the running token, one refused token replaced (%d requests served)",
		"credential helper", served.Load())
}

func (b *box) gitCommand(args ...string) *exec.Cmd {
	cmd := exec.Command("git", args...)
	cmd.Dir = b.home
	cmd.Env = append([]string{"HOME=" + b.home, "XDG_STATE_HOME=" + b.stateDir(), "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0"}, b.env...)
	return cmd
}

func (b *box) git(t *testing.T, args ...string) {
	t.Helper()
	if out, err := b.gitCommand(args...).CombinedOutput(); err != nil {
		t.Fatalf("git %s: %v\n%s", args[0], err, out)
	}
}
