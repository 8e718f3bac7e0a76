package arch_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Limits of size; a longer one is split, or is listed with its reason.
const (
	maxFileLines     = 500
	maxFunctionLines = 65
)

// source is one parsed file that is not a test.
type source struct {
	path string // from the root
	set  *token.FileSet
	file *ast.File
	text []byte
}

func sources(t *testing.T) []source {
	t.Helper()
	base := root(t)
	var all []source
	for _, top := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(base, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")) {
				return fs.SkipDir
			}
			if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, path, text, parser.ParseComments)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(base, path)
			if err != nil {
				return err
			}
			all = append(all, source{filepath.ToSlash(rel), set, file, text})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(all) < 40 {
		t.Fatalf("only %d source files were found", len(all))
	}
	return all
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if n := bytes.Count(s.text, []byte("\n")); n > maxFileLines {
			t.Errorf("%s has %d lines, more than %d", s.path, n, maxFileLines)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			if n := s.set.Position(f.End()).Line - s.set.Position(f.Pos()).Line + 1; n > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, more than %d", s.path, f.Name.Name, n, maxFunctionLines)
			}
		}
	}
}

// bannedWords say nothing about what a thing is, or mean something else here.
func bannedWords() *regexp.Regexp {
	return regexp.MustCompile(`(?i)(manager|helper|util|common|processor|backend)`)
}

// bannedData is matched as a word of its own: "metadata" is a term of RFC 8414.
func bannedData() *regexp.Regexp {
	return regexp.MustCompile(`^(data|info|Data|Info)$|[a-z0-9](Data|Info)([A-Z]|$)|^(data|info|Data|Info)[A-Z]`)
}

// foreignNames are not ours to choose, or are Go's own word for the thing.
func foreignNames() map[string]bool {
	return map[string]bool{"info": true, "Info": true, "data": true, "BuildInfo": true, "FileInfo": true}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if bannedWords().MatchString(s.path) {
			t.Errorf("%s: the file's name holds a banned word", s.path)
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			for _, id := range declared(n) {
				if bannedWords().MatchString(id.Name) || bannedData().MatchString(id.Name) && !foreignNames()[id.Name] {
					t.Errorf("%s: %s holds a banned word", s.set.Position(id.Pos()), id.Name)
				}
			}
			return true
		})
	}
}

// declared returns the names that a node introduces at package level or in a
// struct.
func declared(n ast.Node) []*ast.Ident {
	switch n := n.(type) {
	case *ast.FuncDecl:
		return []*ast.Ident{n.Name}
	case *ast.TypeSpec:
		return []*ast.Ident{n.Name}
	case *ast.ValueSpec:
		return n.Names
	case *ast.Field:
		return n.Names
	}
	return nil
}

func TestNoInitNoMutableVariables(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Name.Name == "init" {
					t.Errorf("%s: an init function", s.set.Position(d.Pos()))
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					v, ok := spec.(*ast.ValueSpec)
					if ok && d.Tok == token.VAR && !constant(d, v) {
						t.Errorf("%s: package variable %s can change", s.set.Position(v.Pos()), v.Names[0].Name)
					}
				}
			}
		}
	}
}

// constant reports whether a package variable is one in name only: an error
// sentinel, an embedded file, or an assertion that a type has its methods.
func constant(d *ast.GenDecl, v *ast.ValueSpec) bool {
	if d.Doc != nil && strings.Contains(d.Doc.Text(), "go:embed") || embeds(d) || embedsSpec(v) {
		return true
	}
	for i, name := range v.Names {
		if name.Name == "_" {
			continue
		}
		if i >= len(v.Values) {
			return false
		}
		call, ok := v.Values[i].(*ast.CallExpr)
		if !ok {
			return false
		}
		f, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return false
		}
		pkg, ok := f.X.(*ast.Ident)
		if !ok || !sentinel(pkg.Name, f.Sel.Name) {
			return false
		}
	}
	return true
}

// sentinel lists the calls whose results nobody can change.
func sentinel(pkg, name string) bool {
	switch pkg + "." + name {
	case "errors.New", "fmt.Errorf", "regexp.MustCompile", "pattern.Of":
		return true
	}
	return false
}

func embeds(d *ast.GenDecl) bool {
	return d.Doc != nil && hasEmbed(d.Doc.List)
}

func embedsSpec(v *ast.ValueSpec) bool {
	return v.Doc != nil && hasEmbed(v.Doc.List)
}

func hasEmbed(comments []*ast.Comment) bool {
	for _, c := range comments {
		if strings.HasPrefix(c.Text, "//go:embed ") {
			return true
		}
	}
	return false
}

// revealers are the files that may turn a secret back into text: wire encoders,
// the record, and what hands a token or a key to whoever asked for it.
func revealers() []string {
	return []string{
		"internal/grant/", "internal/oauth/", "internal/record/", "internal/workflow/", "internal/sink/", "internal/simulator/",
		"internal/store/git/",                                                // the credential that git sends
		"internal/tokensocket/", "internal/cli/run.go", "internal/handover/", // the ways to other programs
		"internal/githubapi/", "internal/store/ghsecret/", "internal/cli/github.go", // GitHub's token, a value on its way into a secret, a snapshot
		"internal/notify/hook.go", // the address of a hook, which is a secret
		"internal/cli/env.go", "internal/cli/grantflags.go", "internal/cli/storeflags.go", "internal/cli/target.go",
		"internal/cli/key.go", "internal/cli/rescue.go", "internal/cli/simulate.go", "internal/cli/demo",
	}
}

func TestRevealIsRare(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "Reveal" {
				return true
			}
			for _, p := range revealers() {
				if strings.HasPrefix(s.path, p) {
					return true
				}
			}
			t.Errorf("%s: Reveal is not allowed here", s.set.Position(n.Pos()))
			return true
		})
	}
}

func TestNoPanicNoTodo(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if id, ok := call.Fun.(*ast.Ident); ok && id.Name == "panic" {
					t.Errorf("%s: a panic", s.set.Position(n.Pos()))
				}
			}
			return true
		})
		for _, word := range []string{"TO" + "DO", "FIX" + "ME", "XX" + "X:"} {
			if bytes.Contains(s.text, []byte(word)) {
				t.Errorf("%s holds %s", s.path, word)
			}
		}
	}
}
