//go:build e2e

package scripts_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"evergrant/internal/simulator"
)

// TestShellcheck: the shell's own judge has nothing to say.
func TestShellcheck(t *testing.T) {
	t.Parallel()
	if out, err := exec.Command(resolved(t, "shellcheck"), "--severity=style", "refresh.sh").CombinedOutput(); err != nil {
		t.Errorf("shellcheck: %v\n%s", err, out)
	}
}

// TestNewestNode: the script runs under the newest Node as under that of the
// machine, and under no warning of either.
func TestNewestNode(t *testing.T) {
	t.Parallel()
	arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	node := filepath.Join(os.Getenv("EVERGRANT_E2E_ACT"), "node_modules", "node-linux-"+arch, "bin", "node")
	if _, err := os.Stat(node); err != nil {
		t.Fatalf("EVERGRANT_E2E_ACT names no folder with the newest Node; run e2e/run: %v", err)
	}
	p := scripts(t)[2]
	p.argv[0] = node
	b := newBox(t, simulator.Config{})
	if r := b.run(t, p); r.code != 0 || r.stderr != "" || len(r.requests) != 1 || digest(b.saved(t)) != b.newest(t) {
		t.Errorf("%v", r)
	}
	part("node %s and %s, %s, %s, %s", said(t, node, "--version"), said(t, "node", "--version"), said(t, "python3", "--version"),
		strings.SplitN(said(t, "curl", "--version"), " (", 2)[0], said(t, "jq", "--version"))
}
