//go:build e2e

package e2e

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"evergrant/internal/grant"
)

// TestKubectl has kubectl itself ask an API server that takes the current access
// token only. kubectl sends a token over TLS alone, so the server has a certificate.
func TestKubectl(t *testing.T) {
	b, srv, _ := atSimulator(t)
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || !srv.AccessValid(grant.NewSecret(token)) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprintf(w, `{"gitVersion":"v1.2.3","path":%q}`, r.URL.Path)
	}))
	t.Cleanup(api.Close)
	authority := filepath.Join(b.home, "ca.pem")
	must(t, os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw}), 0o600))
	// What kubectl before 1.22 knows, and what kubectl knows since.
	versions := []string{"v1beta1"}
	if out := b.shell(t, "kubectl version --client -o json"); !older(t, out) {
		versions = append(versions, "v1")
	}
	for _, version := range versions {
		args, err := json.Marshal(append([]string{"helper", "kubectl", "acme/cluster"}, b.flags...))
		must(t, err)
		kubeconfig := filepath.Join(b.home, version+".yaml")
		must(t, os.WriteFile(kubeconfig, fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: me}}]
clusters: [{name: c, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: me, user: {exec: {apiVersion: client.authentication.k8s.io/%s, command: evergrant, args: %s, interactiveMode: Never}}}]
`, api.URL, authority, version, args), 0o600))
		for range 3 {
			b.deliver(t, "--force", "acme/cluster") // ends the token before
			if out := b.shell(t, "kubectl --kubeconfig "+kubeconfig+" get --raw /version"); !strings.Contains(out, "v1.2.3") {
				t.Fatalf("kubectl says %s", out)
			}
		}
	}
	part("%-19s kubectl asks an API server with each of 3 tokens by ExecCredential %s", "kubectl", strings.Join(versions, " and "))
}

// older reports a kubectl that does not know ExecCredential v1.
func older(t *testing.T, version string) bool {
	t.Helper()
	var v struct {
		ClientVersion struct{ Minor string }
	}
	must(t, json.Unmarshal([]byte(version), &v))
	minor := 0
	_, err := fmt.Sscanf(v.ClientVersion.Minor, "%d", &minor)
	must(t, err)
	return minor < 22
}
