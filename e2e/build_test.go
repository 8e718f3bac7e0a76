//go:build e2e

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestMakeBuild: make build gives the program that is released, byte for byte, with
// settings of Go that a machine has for other work: kept by go env -w, or exported.
func TestMakeBuild(t *testing.T) {
	dir := t.TempDir()
	kept, program := filepath.Join(dir, "env"), filepath.Join(dir, "evergrant")
	must(t, os.WriteFile(kept, []byte("GOFLAGS=-gcflags=-N\nGOFIPS140=latest\n"), 0o600))
	cmd := exec.Command("make", "build", "BIN="+program)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "GOMODCACHE="+goEnv(t, "GOMODCACHE"), "GOCACHE="+goEnv(t, "GOCACHE"), "GOENV="+kept, "GOAMD64=v3", "GOARM64=v9.0", "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	made, err := os.ReadFile(program)
	must(t, err)
	if !bytes.Equal(made, realProgram(t)) {
		t.Error("make build gives another program than the released one")
	}
	part("%-19s make build gives the released bytes, whatever go env -w keeps and the shell exports", "program")
}
