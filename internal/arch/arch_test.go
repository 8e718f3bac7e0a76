// Package arch_test holds the shape of the source to ARCHITECTURE.md: who may
// import whom, what the binary may contain, and how large things may grow.
package arch_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "evergrant"

// pkg is what the tests need of go list's answer.
type pkg struct {
	ImportPath   string
	Dir          string
	Imports      []string
	TestImports  []string
	XTestImports []string
	GoFiles      []string
	Standard     bool
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,Imports,TestImports,XTestImports,GoFiles,Standard"}, args...)...)
	cmd.Dir = root(t)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// layer returns the layer of a package of this module, and which siblings it
// must not import; -1 for a package that only tests may import.
func layer(importPath string) (n int, ok bool) {
	p := strings.TrimPrefix(importPath, module+"/")
	switch {
	case p == "internal/grant", p == "internal/atomicfile", p == "internal/folderlock", p == "internal/pattern", p == "internal/again", p == "internal/spelling":
		return 0, true
	case p == "templates", p == "internal/record", p == "internal/oauth", p == "internal/githubapi", p == "internal/workflow", p == "internal/ghaction", p == "internal/tokensocket", p == "internal/handover", p == "internal/jsonfile":
		return 1, true
	case p == "internal/provider", p == "internal/config", p == "internal/ghworkflow", p == "internal/notify", p == "internal/spill", p == "internal/mark", p == "internal/holder",
		path.Dir(p) == "internal/store", path.Dir(p) == "internal/sink":
		return 2, true
	case p == "internal/engine":
		return 3, true
	case p == "internal/simulator", p == "internal/importer", p == "internal/login":
		return 4, true
	case p == "internal/cli", p == "internal/store", p == "internal/sink":
		return 5, true
	case path.Dir(p) == "cmd":
		return 6, true
	case p == "internal/grant/granttest", p == "internal/githubapi/double", p == "internal/sim", p == "internal/arch", strings.HasPrefix(p, "internal/sim/"), p == "internal/mutants" || strings.HasPrefix(p, "internal/mutants/"),
		p == "docs", p == "scripts", p == "e2e" || strings.HasPrefix(p, "e2e/"), p == "bench" || strings.HasPrefix(p, "bench/"), p == "chaos" || strings.HasPrefix(p, "chaos/"),
		p == "packaging" || strings.HasPrefix(p, "packaging/"):
		return -1, true
	}
	return 0, false
}

// allowed is the table of ARCHITECTURE.md.
func allowed(from, to string) error {
	f, ok := layer(from)
	if !ok {
		return fmt.Errorf("%s has no layer; give it one in ARCHITECTURE.md and here", from)
	}
	n, ok := layer(to)
	switch {
	case !ok:
		return fmt.Errorf("%s imports %s, which has no layer", from, to)
	case f == -1:
		return nil
	case n == -1:
		return fmt.Errorf("%s imports %s, which is for tests only", from, to)
	case f == 0:
		return fmt.Errorf("%s imports %s, and layer 0 imports the standard library only", from, to)
	case f == 3 && n != 0:
		return fmt.Errorf("%s imports %s, and the engine sees layer 0 only", from, to)
	case f == 4 && n > 2:
		return fmt.Errorf("%s (layer 4) imports %s (layer %d)", from, to, n)
	case f == 5 && n == 5 && !strings.HasSuffix(from, "/cli"):
		return fmt.Errorf("%s imports its sibling %s", from, to)
	case f == 6 && n != 5:
		return fmt.Errorf("%s imports %s, and a command imports one package of layer 5", from, to)
	case f < 5 && n >= f:
		return fmt.Errorf("%s (layer %d) imports %s (layer %d)", from, f, to, n)
	}
	return nil
}

func TestImportLayers(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, p := range list(t, "./...") {
		if _, ok := layer(p.ImportPath); !ok {
			t.Errorf("%s has no layer; give it one in ARCHITECTURE.md and here", p.ImportPath)
			continue
		}
		ours := 0
		for _, to := range p.Imports {
			n, _ := layer(p.ImportPath)
			if n == 0 && strings.Contains(strings.Split(to, "/")[0], ".") {
				t.Errorf("%s imports %s, and layer 0 imports the standard library only", p.ImportPath, to)
			}
			if !strings.HasPrefix(to, module+"/") {
				continue
			}
			ours++
			if err := allowed(p.ImportPath, to); err != nil {
				t.Error(err)
			}
		}
		if n, _ := layer(p.ImportPath); n == 6 && ours != 1 {
			t.Errorf("%s imports %d packages of this module, and a command imports one", p.ImportPath, ours)
		}
		seen++
	}
	if seen < 20 {
		t.Errorf("only %d packages were looked at", seen)
	}
}

func TestLayerRuleHasTeeth(t *testing.T) {
	t.Parallel()
	for _, bad := range [][2]string{
		{"internal/grant", "internal/atomicfile"},
		{"internal/record", "internal/oauth"},
		{"internal/store/file", "internal/store/mem"},
		{"internal/sink/githubenv", "internal/sink/githuboutput"},
		{"internal/engine", "internal/record"},
		{"internal/engine", "internal/store/file"},
		{"internal/simulator", "internal/engine"},
		{"internal/store", "internal/sink"},
		{"internal/cli", "internal/grant/granttest"},
		{"cmd/evergrant", "internal/grant"},
		{"internal/cli", "cmd/evergrant"},
		{"internal/new", "internal/grant"},
	} {
		from, to := module+"/"+bad[0], module+"/"+bad[1]
		if bad[0] == "internal/cli" && bad[1] == "cmd/evergrant" {
			continue // the compiler forbids it: a main package cannot be imported
		}
		if allowed(from, to) == nil {
			t.Errorf("%s may import %s", from, to)
		}
	}
}

// diet is what the binary that a job downloads may be made of, besides the
// standard library and this module.
func diet() []string {
	return []string{
		"filippo.io/age", "filippo.io/hpke", // sealing
		"github.com/goccy/go-yaml",                                                                 // presets
		"github.com/gofrs/flock",                                                                   // the file store's lock
		"github.com/spf13/cobra", "github.com/spf13/pflag", "github.com/inconshreveable/mousetrap", // the command line
		"golang.org/x/crypto", "golang.org/x/net", "golang.org/x/sys", "golang.org/x/term", "golang.org/x/text",
		"rsc.io/qr", // login's code for a camera
	}
}

func TestBinaryDiet(t *testing.T) {
	t.Parallel()
	banned := []string{"golang.org/x/oauth2", "testing", "net/http/httptest", "html/template", "expvar", "net/http/pprof", "database/sql"}
	for _, p := range list(t, "-deps", "./cmd/evergrant") {
		if slices.Contains(banned, p.ImportPath) {
			t.Errorf("the binary contains %s", p.ImportPath)
		}
		if p.Standard || p.ImportPath == module || strings.HasPrefix(p.ImportPath, module+"/") {
			continue
		}
		if !slices.ContainsFunc(diet(), func(ok string) bool { return p.ImportPath == ok || strings.HasPrefix(p.ImportPath, ok+"/") }) {
			t.Errorf("the binary contains %s, which is not on its diet", p.ImportPath)
		}
	}
}

// How large the stripped static binary for this system may be: as it is, and as it
// travels, compressed.
const (
	maxBinary     = 23 << 19 // 11.5 MiB
	maxCompressed = 5 << 20
)

func TestBinarySize(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "evergrant")
	cmd := exec.Command("go", "build", "-tags", "nethttpomithttp2", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, "./cmd/evergrant")
	cmd.Dir = root(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, b)
	}
	info, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("stripped binary: %.2f MiB of %d MiB", float64(info.Size())/(1<<20), maxBinary>>20)
	if info.Size() > maxBinary {
		t.Errorf("the stripped binary has %d bytes, more than %d", info.Size(), maxBinary)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var packed counter
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if packed > maxCompressed {
		t.Errorf("compressed it has %d bytes, more than %d", packed, maxCompressed)
	}
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
