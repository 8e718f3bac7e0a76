package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"evergrant/internal/cli"
	"evergrant/internal/engine"
	"evergrant/internal/ghaction"
	"evergrant/internal/grant"
)

func fromRoot(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", path))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type metadata struct {
	Name        string
	Description string
	Inputs      map[string]struct {
		Description string
		Default     *string
		Required    bool
	}
	Outputs  map[string]struct{ Description string }
	Runs     map[string]string
	Branding map[string]string
}

// notInputs are the flags of refresh that a workflow has no use for: secrets come
// by inputs, the runner bounds a step, and a file of the runner is nobody's.
func notInputs() []string {
	return []string{"client-secret-env", "client-secret-file", "client-key-env", "client-key-file", "client-key-id", "config", "from-env",
		"git-token-env", "gitea-token-env", "github-token-env", "json", "key-env", "key-file", "notify", "notify-env", "timeout"}
}

// TestActionMetadata holds action.yml to the flags of refresh, and to what the
// program reads and sets, both ways.
func TestActionMetadata(t *testing.T) {
	t.Parallel()
	var m metadata
	if err := yaml.UnmarshalWithOptions(fromRoot(t, "action.yml"), &m, yaml.DisallowUnknownField()); err != nil {
		t.Fatal(err)
	}
	var inputs, outputs []string
	for name, in := range m.Inputs {
		inputs = append(inputs, name)
		if in.Default == nil {
			t.Errorf("input %s has no default, so a variable of the job could stand for it", name)
		} else if want := map[string]string{"store": "git:", "github-token": "${{ github.token }}"}[name]; *in.Default != want {
			t.Errorf("input %s has the default %q, want %q", name, *in.Default, want)
		}
		if in.Required {
			t.Errorf("input %s is required, and no input is", name)
		}
		sentence(t, "input "+name, in.Description)
	}
	for name, out := range m.Outputs {
		outputs = append(outputs, name)
		sentence(t, "output "+name, out.Description)
	}
	same(t, "the inputs of action.yml", inputs, "what the program reads", ghaction.Inputs())
	same(t, "the outputs of action.yml", outputs, "what the program sets", ghaction.Outputs())
	same(t, "inputs that are flags, and flags that are none", slices.Concat(ghaction.Flags(), existing(notInputs())), "the flags of refresh", cli.RefreshFlags())
	for key, want := range map[string]string{"using": "node24", "main": "action/main.mjs", "post": "action/post.mjs", "post-if": "always()"} {
		if m.Runs[key] != want {
			t.Errorf("runs.%s is %q, want %q", key, m.Runs[key], want)
		}
	}
	sentence(t, "the Action", m.Description)
}

// existing leaves out what a flag set does not have yet.
func existing(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !slices.Contains(cli.RefreshFlags(), n) })
}

func sentence(t *testing.T, what, text string) {
	t.Helper()
	if !regexp.MustCompile(`^[A-Z][^.\n]*(\.[^ ][^.\n]*)*\.$`).MatchString(text) {
		t.Errorf("%s is described by %q, which is not one sentence", what, text)
	}
}

func same(t *testing.T, whatA string, a []string, whatB string, b []string) {
	t.Helper()
	for _, x := range a {
		if !slices.Contains(b, x) {
			t.Errorf("%s: %s has it not", x, whatB)
		}
	}
	for _, x := range b {
		if !slices.Contains(a, x) {
			t.Errorf("%s: %s has it not", x, whatA)
		}
	}
}

// TestShim holds the Action's shim to action.yml, to the way in which the program
// is built elsewhere, and to what may reach the program.
func TestShim(t *testing.T) {
	t.Parallel()
	shim := string(fromRoot(t, "action/program.mjs"))
	words := func(name string) []string {
		found := regexp.MustCompile("(?s)const " + name + " = `([^`]*)`").FindStringSubmatch(shim)
		if found == nil {
			t.Fatalf("the shim has no list %s", name)
		}
		return strings.Fields(found[1])
	}
	same(t, "the shim's inputs", words("inputs"), "what the program reads", ghaction.Inputs())
	for _, list := range []string{"always", "job", "toolchain"} {
		for _, name := range words(list) {
			if strings.Contains(name, "TOKEN") || strings.Contains(name, "SECRET") || strings.HasPrefix(name, "EVERGRANT_") || strings.HasPrefix(name, "INPUT_") {
				t.Errorf("the shim hands on %s", name)
			}
		}
	}
	if !strings.Contains(shim, ghaction.Names+":") {
		t.Errorf("the shim does not tell the names of variables in %s", ghaction.Names)
	}
	makefile := string(fromRoot(t, "Makefile"))
	for _, flag := range []string{"-tags nethttpomithttp2", "-trimpath", "-buildvcs=false", "-ldflags='-s -w'"} {
		if !strings.Contains(makefile, flag) {
			t.Errorf("the Makefile builds without %s", flag)
		}
		quoted := "'" + strings.ReplaceAll(strings.ReplaceAll(flag, "'", ""), "-tags ", "-tags', '") + "'"
		if !strings.Contains(shim, quoted) {
			t.Errorf("the shim builds without %s", quoted)
		}
	}
}

// TestRelease holds the shape of the table of released programs.
func TestRelease(t *testing.T) {
	t.Parallel()
	var table struct {
		Version, Sources, Files string
		Time                    int64
		Assets                  map[string]struct{ Name, SHA256 string }
	}
	dec := json.NewDecoder(strings.NewReader(string(fromRoot(t, "action/release.json"))))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&table); err != nil {
		t.Fatal(err)
	}
	if table.Version != cli.Version {
		t.Errorf("the table is of version %s, the program of %s", table.Version, cli.Version)
	}
	for target, a := range table.Assets {
		if !regexp.MustCompile(`^(linux|darwin|windows)-(amd64|arm64)$`).MatchString(target) ||
			!regexp.MustCompile(`^[\w.-]+$`).MatchString(a.Name) || !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(a.SHA256) {
			t.Errorf("%s: %+v is no asset", target, a)
		}
	}
}

// TestDefinite: the post step has little time, and spends it on outages only.
func TestDefinite(t *testing.T) {
	t.Parallel()
	for is, want := range map[error]bool{
		grant.ErrUnreadable: true, grant.ErrDenied: true, grant.ErrNotWritten: true, grant.ErrTooLarge: true, engine.ErrBound: true, engine.ErrRolledBack: true,
		grant.ErrConflict: false, grant.ErrNotDurable: false, context.DeadlineExceeded: false, errors.New("connection refused"): false,
	} {
		if got := cli.Definite(fmt.Errorf("%w: grant x: %w", engine.ErrStore, is)); got != want {
			t.Errorf("%v is the last word: %v, want %v", is, got, want)
		}
	}
}
