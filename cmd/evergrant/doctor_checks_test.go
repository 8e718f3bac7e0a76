package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
)

// TestEachFindingIsMended compares the findings that doctor's code has, each with the
// exit code that it leads to, with those that a script provokes and mends.
func TestEachFindingIsMended(t *testing.T) {
	t.Parallel()
	has, mended := findingsInCode(t), map[string]bool{}
	scripts, err := filepath.Glob("testdata/script/doctor*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("the scripts: %v", err)
	}
	call := regexp.MustCompile(`(?m)^(?:\[[^]]*\] )*mends (\d+) ([a-z-]+)`)
	for _, path := range scripts {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range call.FindAllStringSubmatch(string(b), -1) {
			mended[m[1]+" "+m[2]] = true
		}
	}
	if len(has) < 30 {
		t.Errorf("only %d findings are found in the code: %v", len(has), has)
	}
	for _, finding := range has {
		if !mended[finding] {
			t.Errorf("no script breaks and mends what leads to: mends %s", finding)
		}
	}
	for finding := range mended {
		if !slices.Contains(has, finding) {
			t.Errorf("a script mends %s, and the code is not seen to find it", finding)
		}
	}
}

// findingsInCode reads "CODE CHECK" from each call of find.
func findingsInCode(t *testing.T) (all []string) {
	files, err := filepath.Glob("../../internal/cli/doctor*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 5 {
				return true
			}
			if fn, ok := call.Fun.(*ast.SelectorExpr); !ok || fn.Sel.Name != "find" {
				return true
			}
			lit, ok := call.Args[1].(*ast.BasicLit)
			if !ok {
				t.Fatalf("%s: the name of a finding is no literal", path)
			}
			check, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			for _, code := range codesOf(t, call.Args[0], check) {
				if s := fmt.Sprintf("%d %s", code, check); !slices.Contains(all, s) {
					all = append(all, s)
				}
			}
			return true
		})
	}
	return all
}

// codesOf are the exit codes that the first argument of find can be.
func codesOf(t *testing.T, arg ast.Expr, check string) []int {
	name := arg.(*ast.Ident).Name
	codes := map[string][]int{"noteOnly": {0}, "exitUsage": {2}, "exitPerson": {3}, "exitUnreachable": {5}, "exitStore": {6}}[name]
	if name == "code" { // a variable: these are its values
		codes = map[string][]int{"workflow": {0, 2}, "provider": {2, 5}}[check]
	}
	if codes == nil {
		t.Fatalf("the code of %s is %s, which this test does not know", check, name)
	}
	return codes
}
