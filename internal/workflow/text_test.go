package workflow_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"evergrant/internal/workflow"
)

func TestSetAndSummarise(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("open"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := workflow.Set(path, workflow.Value{Name: "a", Text: "1"}, workflow.Value{Name: "b", Text: ""}); err != nil {
		t.Fatal(err)
	}
	if err := workflow.Summarise(path, "said"); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`^open\na<<(evergrant_[A-Z2-7]{26})\n1\n(evergrant_[A-Z2-7]{26})\nb<<(evergrant_[A-Z2-7]{26})\n\n(evergrant_[A-Z2-7]{26})\nsaid\n\n$`).
		FindStringSubmatch(string(b))
	if found == nil || found[1] != found[2] || found[3] != found[4] || found[1] == found[3] {
		t.Errorf("the file is %q", b)
	}
	absent := filepath.Join(t.TempDir(), "absent")
	if err := workflow.Set(absent, workflow.Value{Name: "a"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that the runner did not make was written: %v", err)
	}
	if err := workflow.Summarise(absent, "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a summary that the runner did not make was written: %v", err)
	}
}

func TestAnnotate(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	if err := workflow.Annotate(&log, workflow.Warning, "a:b,c%\n", "50% of\r\n::set-output name=x::y"); err != nil {
		t.Fatal(err)
	}
	if want := "::warning title=a%3Ab%2Cc%25%0A::50%25 of%0D%0A::set-output name=x::y\n"; log.String() != want {
		t.Errorf("%q, want %q", log.String(), want)
	}
	if workflow.Annotate(broken{}, workflow.Error, "a", "b") == nil {
		t.Error("a command that was not written counts as written")
	}
}

func TestInertAndPlain(t *testing.T) {
	t.Parallel()
	if got := workflow.Inert("x ##[set-output name=a;]b"); strings.Contains(got, "##[") {
		t.Errorf("%q is a command of the runner", got)
	}
	if got, want := workflow.Plain("a<img>&`b`|[c](d) *e* @f"), "a&lt;img&gt;&amp;&#96;b&#96;&#124;&#91;c&#93;(d) &#42;e&#42; &#64;f"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
