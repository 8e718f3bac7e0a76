package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDemoSeesTheLeaseMissing builds the program with an engine that sends
// without having written a lease. The demonstration must fail: it would be
// worth nothing if it could not.
func TestDemoSeesTheLeaseMissing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	whole, err := filepath.Abs("../../internal/engine/attempt.go")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	const lease, none = "ver, err := a.swap(ctx, a.ver, next, a.t.Settle)", "ver, err := a.ver, error(nil)"
	if strings.Count(string(text), lease) != 1 {
		t.Fatal("the Swap that takes the lease is not where this test looks for it")
	}
	broken := filepath.Join(dir, "attempt.go")
	mutant := strings.Replace(string(text), lease, none, 1)
	if err := os.WriteFile(broken, []byte(mutant), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {whole: broken}})
	if err != nil {
		t.Fatal(err)
	}
	overlayFile, program := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "evergrant")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-overlay", overlayFile, "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	cmd := exec.Command(program, "demo")
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("without the lease the demonstration ends with %v, want code 1\n%s", err, &stdout)
	}
	if !strings.Contains(stdout.String(), "FAILS") {
		t.Errorf("without the lease nothing fails\n%s", &stdout)
	}
}
