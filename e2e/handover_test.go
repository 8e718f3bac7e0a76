//go:build e2e

package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"evergrant/internal/grant"
	"evergrant/internal/simulator"
)

// atSimulator gives a box a grant at a fresh simulator whose refreshes end the
// running token, and puts the binary on its path.
func atSimulator(t *testing.T) (*box, *simulator.Server, string) {
	t.Helper()
	behaviour := simulator.Strict().Behaviour
	behaviour.RevokesAccess = true
	srv, err := simulator.New(simulator.Config{Rules: simulator.Rules{Behaviour: behaviour}})
	must(t, err)
	t.Cleanup(func() { must(t, srv.Close()) })
	issuer, err := srv.Start("127.0.0.1:0")
	must(t, err)
	seed, err := srv.IssueFamily(simulator.DefaultClient)
	must(t, err)
	b := newBox(t).at(issuer+"/token", client{id: simulator.DefaultClient}).seeded(seed.Refresh.Reveal())
	b.set("EVERGRANT_STORE", "file:"+filepath.Join(b.home, "grants"))
	b.set("PATH", filepath.Dir(os.Getenv("EVERGRANT_E2E_BINARY"))+":"+os.Getenv("PATH"))
	return b, srv, issuer
}

func (b *box) shell(t *testing.T, script string) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir = b.home
	cmd.Env = append([]string{"HOME=" + b.home, "XDG_STATE_HOME=" + b.stateDir()}, b.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// TestCurl asks the protected resource with curl itself, the token on no command line.
func TestCurl(t *testing.T) {
	b, _, issuer := atSimulator(t)
	for range 3 {
		b.deliver(t, "--force", "acme/api")
		if out := b.shell(t, "evergrant helper curl acme/api "+strings.Join(b.flags, " ")+" | curl --silent --show-error --fail --config - "+issuer+"/userinfo"); !strings.Contains(out, `"sub"`) {
			t.Fatalf("the resource says %s", out)
		}
	}
	part("%-19s curl reaches a protected resource with each of 3 tokens, by its configuration on standard input", "curl")
}

// TestDocker lets docker's client read a manifest from a registry that takes the
// current token only. Where there is no docker, that is an error of the machine: e2e/run
// names what it could not find and leaves the test out.
func TestDocker(t *testing.T) {
	b, srv, _ := atSimulator(t)
	const image = `{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}`
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(image)))
	manifest, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": manifestType, "layers": []any{},
		"config": map[string]any{"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(image), "digest": digest}})
	must(t, err)
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, token, _ := r.BasicAuth()
		switch {
		case user != "oauth2" || !srv.AccessValid(grant.NewSecret(token)):
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
		case strings.Contains(r.URL.Path, "/manifests/"):
			w.Header().Set("Content-Type", manifestType)
			_, _ = w.Write(manifest)
		case strings.HasSuffix(r.URL.Path, "/blobs/"+digest):
			_, _ = io.WriteString(w, image)
		}
	}))
	t.Cleanup(registry.Close)
	host := strings.TrimPrefix(registry.URL, "http://")
	wrapper := filepath.Join(b.home, "bin", "docker-credential-evergrant")
	must(t, os.MkdirAll(filepath.Dir(wrapper), 0o700))
	must(t, os.WriteFile(wrapper, fmt.Appendf(nil, "#!/bin/sh\nexec evergrant helper docker-credential acme/registry --host %s %s \"$@\"\n", host, strings.Join(b.flags, " ")), 0o700))
	must(t, os.MkdirAll(filepath.Join(b.home, ".docker"), 0o700))
	must(t, os.WriteFile(filepath.Join(b.home, ".docker", "config.json"), fmt.Appendf(nil, `{"credHelpers": {%q: "evergrant"}}`, host), 0o600))
	for range 3 {
		b.deliver(t, "--force", "acme/registry")
		if out := b.shell(t, "PATH="+filepath.Dir(wrapper)+":$PATH docker manifest inspect --insecure "+host+"/acme/image:1"); !strings.Contains(out, `"schemaVersion": 2`) {
			t.Fatalf("docker says %s", out)
		}
	}
	part("%-19s docker's client reads a manifest with each of 3 tokens through its credential helper", "docker")
}

const manifestType = "application/vnd.docker.distribution.manifest.v2+json"
