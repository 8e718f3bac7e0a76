package ghworkflow_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"evergrant/internal/ghworkflow"
)

// known is a provider that does not rotate, and a host that has moved.
func known() ghworkflow.Known {
	return ghworkflow.Known{
		Rotates: func(preset string) bool { return preset != "google" },
		Retired: map[string]string{"console.anthropic.com": "https://platform.claude.com/v1/oauth/token"},
	}
}

// expected are the marks "#= level rule, level rule" of a file, each with its
// line; a mark on a comment line of a script is of the line after it.
func expected(text string) []string {
	mark, comment := regexp.MustCompile(`#= (.*)$`), regexp.MustCompile(`^ +# .*#=`)
	var want []string
	for i, line := range strings.Split(text, "\n") {
		if m := mark.FindStringSubmatch(line); m != nil {
			at := i + 1
			if comment.MatchString(line) {
				at++
			}
			for w := range strings.SplitSeq(m[1], ", ") {
				want = append(want, fmt.Sprintf("%d %s", at, w))
			}
		}
	}
	slices.Sort(want)
	return want
}

// TestWorkflows: each file has the findings that its marks say, and no other.
func TestWorkflows(t *testing.T) {
	t.Parallel()
	found, err := filepath.Glob("testdata/workflows/*.yml")
	if err != nil || len(found) < 6 {
		t.Fatalf("%d workflows (%v)", len(found), err)
	}
	for _, path := range found {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range ghworkflow.Check(path, b, known()) {
				got = append(got, fmt.Sprintf("%d %s %s", f.Line, f.Level, f.Rule))
				if f.File != path || f.Column < 1 || f.What == "" || f.Why == "" || f.Do == "" {
					t.Errorf("incomplete: %+v", f)
				}
			}
			slices.Sort(got)
			if want := expected(string(b)); !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// TestPlaces: a finding inside a block of text has the place in the file.
func TestPlaces(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/workflows/foreign.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range ghworkflow.Check("x.yml", b, known()) {
		if f.Rule == "foreign-text" && strings.Contains(f.What, "comment.body") {
			line := strings.Split(string(b), "\n")[f.Line-1]
			if !strings.HasPrefix(line[f.Column-1:], "${{ github.event.comment.body }}") {
				t.Errorf("%s points at %q", f, line[f.Column-1:])
			}
			return
		}
	}
	t.Error("no finding")
}

// TestMalformed: what is no workflow is one finding, on one line, with its
// place where it has one.
func TestMalformed(t *testing.T) {
	t.Parallel()
	deepMap := strings.Builder{}
	for i := range 100 {
		deepMap.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	aliases := "on: push\nx0: &x0 {run: a}\n"
	for i := range 40 {
		aliases += fmt.Sprintf("x%d: &x%d [%s*x%d]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*x%d, ", i), 9), i)
	}
	steps := "on: push\na: &a [" + strings.Repeat("{run: b},", 1500) + "]\njobs:\n  x: {steps: *a}\n  y: {steps: *a}\n"
	for _, c := range []struct{ name, text, what, place string }{
		{"empty", "", "the file is empty", ""},
		{"only a comment", "# nothing\n", "the file is empty", ""},
		{"open bracket", "on: push\njobs: [\n", "it is not YAML", "2:"},
		{"a tab", "on: push\njobs:\n\ta: b\n", "it is not YAML", "3:"},
		{"a key twice", "on: push\non: pull_request\njobs: {}\n", "it is not YAML", "2:1"},
		{"no map", "- a\n- b\n", "it is no workflow", "1:1"},
		{"a text", "hello\n", "it is no workflow", "1:1"},
		{"no jobs", "on: push\n", "it is no workflow", "1:"},
		{"jobs is a list", "on: push\njobs: [a]\n", "it is no workflow", "1:"},
		{"a job is a text", "on: push\njobs:\n  a: b\n", "job a has nothing in it", "3:3"},
		{"two documents", "on: push\njobs: {}\n---\non: push\n", "a second document", "4:"},
		{"not UTF-8", "on: push\njobs: \xff\n", "no text in UTF-8", ""},
		{"zero byte", "on: push\x00", "no text in UTF-8", ""},
		{"too large", strings.Repeat("# x\n", ghworkflow.MaxFile/4+1), "at most", ""},
		{"deep brackets", strings.Repeat("[", 100000), "nested too deep", "1:1"},
		{"deep brackets on lines", strings.Repeat("[\n", 100000), "nested too deep", "501:1"},
		{"deep dashes", strings.Repeat("- ", 50000), "nested too deep", "1:1"},
		{"deep lists", strings.Repeat("- ", 400) + "a", "nested too deep", "1:"},
		{"deep keys", strings.Repeat("? ", 400) + "a", "", "1:"},
		{"deep maps", deepMap.String(), "nested too deep", ""},
		{"an alias of nothing", "on: *a\njobs: {}\n", "", "1:"},
		{"an alias of itself", "on: push\njobs: &a\n  x: *a\n", "", ""},
		{"too many steps", steps, "more than 2000 steps", "5:3"},
		{"aliases without end", aliases + "jobs: {a: {steps: *x40}}\n", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			found := ghworkflow.Check("w.yml", []byte(c.text), known())
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
			if c.name == "aliases without end" {
				return // it is well formed; that it ends is the test
			}
			if len(found) != 1 || found[0].Rule != "yaml" || found[0].Level != ghworkflow.Error {
				t.Fatalf("found %v, want one finding of rule yaml", found)
			}
			line := found[0].String()
			if !strings.HasPrefix(line, "w.yml:"+c.place) || !strings.Contains(line, c.what) || strings.ContainsAny(line, "\n\r\t") {
				t.Errorf("the line is %q, want %q at %q", line, c.what, c.place)
			}
		})
	}
}

// TestManyWays: jobs that wait for each other by more ways than can be walked.
func TestManyWays(t *testing.T) {
	t.Parallel()
	text := strings.Builder{}
	text.WriteString("on: issue_comment\npermissions: {}\njobs:\n")
	const n = 300
	for i := range n {
		fmt.Fprintf(&text, "  j%d: {needs: [j%d, j%d, j%d], env: {K: \"${{ secrets.K }}\"}}\n", i, i+1, i+2, i+3)
	}
	fmt.Fprintf(&text, "  j%d: {if: github.actor == 'alice'}\n", n+2)
	var open int
	for _, f := range ghworkflow.Check("w.yml", []byte(text.String()), known()) {
		if f.Rule == "author-gate" {
			open++
		}
	}
	if open != 0 {
		t.Errorf("%d of %d jobs are open, and all wait for one that is not", open, n)
	}
}

// TestManyOccasions: long conditions and scripts that aliases multiply, for each
// type of each event, are judged in seconds.
func TestManyOccasions(t *testing.T) {
	t.Parallel()
	text := strings.Builder{}
	text.WriteString("on: [issues, discussion, pull_request_target, issue_comment, workflow_run, pull_request_review, watch, fork]\npermissions: {}\n")
	text.WriteString("x: &if \"" + strings.Repeat("github.event.issue.user.login == 'a' && github.actor != 'b' || ", 320) + "true\"\n")
	text.WriteString("y: &run \"" + strings.Repeat("collaborators/", 20) + "\"\n")
	text.WriteString("z: &steps [" + strings.Repeat("{run: *run, env: {K: '${{ secrets.K }}'}}, ", 4) + "]\njobs:\n")
	const n = 400
	for i := range n {
		fmt.Fprintf(&text, "  j%d: {if: *if, steps: *steps}\n", i)
	}
	start, open := time.Now(), 0
	for _, f := range ghworkflow.Check("w.yml", []byte(text.String()), known()) {
		if f.Rule == "author-gate" {
			open++
		}
	}
	if took := time.Since(start); open != 3*n || took > 20*time.Second {
		t.Errorf("%d findings of %d, in %v", open, 3*n, took)
	}
}

// TestNamesAreBounded: names of the file cannot forge lines, and values are not
// repeated.
func TestNamesAreBounded(t *testing.T) {
	t.Parallel()
	text := "on: issue_comment\njobs:\n  \"a\\n::error::\\e" + strings.Repeat("x", 500) + "\":\n    steps:\n" +
		"      - uses: a/b@0123456789abcdef0123456789abcdef01234567\n        with: {refresh-token: canary-canary-canary-canary, x: '${{ secrets.K }}'}\n"
	found := ghworkflow.Check("w.yml", []byte(text), known())
	if len(found) < 3 {
		t.Fatalf("found %v", found)
	}
	for _, f := range found {
		if s := f.String(); strings.ContainsAny(s+f.Why+f.Do, "\n\x1b") || len(s) > 300 || strings.Contains(s, "canary") {
			t.Errorf("the line is %q", s)
		}
	}
}

// FuzzCheck: whatever comes, Check ends, and each finding is one whole line.
func FuzzCheck(f *testing.F) {
	seeds, err := filepath.Glob("testdata/workflows/*.yml")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range seeds {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("on: push\njobs: {a: {if: \"${{ contains(fromJSON('[1]'), x[y].z.*) || !(a) }}\", steps: [{uses: a@b}]}}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, finding := range ghworkflow.Check("w.yml", b, known()) {
			if s := finding.String(); strings.ContainsAny(s, "\n\r\x00") || finding.Rule == "" || finding.Line < 0 {
				t.Errorf("a finding is %q", s)
			}
		}
	})
}
