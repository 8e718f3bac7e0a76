//go:build mutants

package mutants_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// mutant is one rule taken out. Old stands in File exactly once. Kill is the
// package, relative to internal, and the pattern of the test that must fail.
type mutant struct {
	Rule string
	File string
	Old  string
	New  string
	Kill struct{ Package, Test, Args string }
}

// TestMutants holds that a mutant that hangs its test is killed by the limit.
//
// It builds each mutant by the go command's overlay, so that the tree
// itself is never touched.
func TestMutants(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("mutants.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var list []mutant
	if err := yaml.UnmarshalWithOptions(text, &list, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		t.Fatal("no mutants")
	}
	for _, m := range list {
		t.Run(strings.ReplaceAll(m.Rule, " ", "_"), func(t *testing.T) {
			t.Parallel()
			m.run(t, root)
		})
	}
}

func (m mutant) run(t *testing.T, root string) {
	path := filepath.Join(root, m.File)
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(source, []byte(m.Old)); n != 1 {
		t.Fatalf("%s: the text to replace stands there %d times, want once:\n%s", m.File, n, m.Old)
	}
	dir := t.TempDir()
	changed := filepath.Join(dir, "mutant.go")
	if err := os.WriteFile(changed, bytes.Replace(source, []byte(m.Old), []byte(m.New), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	if err != nil {
		t.Fatal(err)
	}
	overlayFile := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"test", "-overlay", overlayFile, "-vet=off", "-count=1", "-timeout", "100s", "-run", m.Kill.Test, "./" + m.Kill.Package},
		strings.Fields(m.Kill.Args)...)
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	switch {
	case bytes.Contains(out, []byte("[build failed]")) || bytes.Contains(out, []byte("[setup failed]")):
		t.Fatalf("the mutant does not build:\n%s", out)
	case bytes.Contains(out, []byte("no tests to run")):
		t.Fatalf("%s in %s matches no test", m.Kill.Test, m.Kill.Package)
	case err == nil:
		t.Errorf("the mutant lives: %s in %s passes without the rule", m.Kill.Test, m.Kill.Package)
	case !bytes.Contains(out, []byte("--- FAIL")) && !bytes.Contains(out, []byte("panic:")):
		t.Fatalf("the test did not run to a verdict: %v\n%s", err, out)
	}
}
