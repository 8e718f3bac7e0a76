package ghaction_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"evergrant/internal/ghaction"
)

// Files whose messages no step of the Action can print: commands that it does not
// run, and the texts of flags.
func elsewhere() []string {
	return []string{"cli/config*.go", "cli/demo.go", "cli/import*.go", "cli/init*.go", "cli/key.go", "cli/login*.go", "cli/rescue.go", "cli/run*.go", "cli/status.go",
		"cli/refresh_all.go", "cli/simulate.go", "cli/handover.go", "cli/doctor*.go", "cli/tokenlike.go", "ghaction/*", "ghworkflow/*", "importer/*", "mutants/*", "arch/*", "simulator/*"}
}

// TestNoMessageNamesWhatIsIgnored holds every text of the packages that the Action
// runs: none tells a workflow's author to fill a variable, or to give a flag, of
// which the Action reads none.
func TestNoMessageNamesWhatIsIgnored(t *testing.T) {
	t.Parallel()
	ignored := regexp.MustCompile(`\bEVERGRANT_[A-Z]|GITHUB_TOKEN for the step|--[a-z-]+-(env|file)\b`)
	// What is typed on a person's own machine stays.
	typed := regexp.MustCompile(`evergrant [a-z]+[^;]*`)
	seen := 0
	for name, text := range literals(t) {
		// A client's key is no input, and what is said of one needs a flag for one.
		if !ignored.MatchString(text) || strings.HasPrefix(text, "--client-key-env and ") || strings.HasPrefix(text, "give --client-key-env ") {
			continue
		}
		seen++
		if got := typed.ReplaceAllString(ghaction.Words(text), ""); ignored.MatchString(got) {
			t.Errorf("%s: in the Action this reads %q", name, got)
		}
	}
	if seen < 20 {
		t.Errorf("%d texts were looked at: the search has lost its way", seen)
	}
}

// literals are the texts of the tree's packages, by file and line.
func literals(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	tree := os.DirFS("..")
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") ||
			slices.ContainsFunc(elsewhere(), func(p string) bool { ok, merr := path.Match(p, name); return merr != nil || ok }) {
			return err
		}
		source, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		files := token.NewFileSet()
		f, err := parser.ParseFile(files, name, source, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if fun, ok := call.Fun.(*ast.SelectorExpr); ok && strings.HasSuffix(fun.Sel.Name, "Var") {
					return false // the text of a flag
				}
			}
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				text, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Error(err)
				}
				found[files.Position(lit.Pos()).String()] = text
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
