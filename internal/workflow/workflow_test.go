package workflow_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"evergrant/internal/grant"
	"evergrant/internal/workflow"
)

func TestMaskEscapesAndMasksEachLine(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	m := workflow.NewMasker(&log)
	for range 2 {
		if err := m.Mask(grant.NewSecret("a%0Ab\r\nsecond")); err != nil {
			t.Fatal(err)
		}
	}
	want := "::add-mask::a%250Ab%0D%0Asecond\n::add-mask::a%250Ab\n::add-mask::second\n"
	if log.String() != want {
		t.Errorf("log %q, want %q: once, escaped, and each line", log.String(), want)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("closed") }

func TestMaskFailureIsNotRemembered(t *testing.T) {
	t.Parallel()
	m := workflow.NewMasker(broken{})
	for range 2 {
		if m.Mask(grant.NewSecret("canary")) == nil {
			t.Fatal("a mask that was not written counts as written")
		}
	}
}

func TestAppend(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(path, []byte("LEFT=open"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := workflow.Append(path, "NAME", grant.NewSecret("canary")); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	if len(lines) != 8 || lines[0] != "LEFT=open" || lines[7] != "" {
		t.Fatalf("the open line was glued or lines are missing: %d lines", len(lines))
	}
	first, second := strings.TrimPrefix(lines[1], "NAME<<"), strings.TrimPrefix(lines[4], "NAME<<")
	if first == lines[1] || lines[2] != "canary" || lines[3] != first {
		t.Errorf("the block is not NAME<<DELIMITER, value, DELIMITER")
	}
	if first == second {
		t.Error("the delimiter repeats, so a value can hold it")
	}
}

func TestAppendDoesNotCreate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "absent")
	if workflow.Append(path, "NAME", grant.NewSecret("canary")) == nil {
		t.Error("a file that the runner did not make was written")
	}
	if workflow.CheckFile("GITHUB_ENV", path) == nil || workflow.CheckFile("GITHUB_ENV", "") == nil {
		t.Error("a file that cannot be appended to passes the check")
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name             string
		variable, output bool
	}{
		{"API_TOKEN", true, true},
		{"_t1", true, true},
		{"access-token", false, true},
		{"", false, false},
		{"1A", false, false},
		{"A B", false, false},
		{"A\nB", false, false},
		{"A=B", false, false},
		{"Ä", false, false},
		{"NODE_OPTIONS", false, true},
		{"node_options", false, true},
		{"GITHUB_TOKEN", false, true},
		{"RUNNER_TEMP", false, true},
		{"ACTIONS_STEP_DEBUG", false, true},
		{"CI", false, true},
		{"PATH", false, true},
		{"LD_PRELOAD", false, true},
		{"BASH_ENV", false, true},
	} {
		if got := workflow.ValidVariable(tt.name) == nil; got != tt.variable {
			t.Errorf("variable %q allowed: %v, want %v", tt.name, got, tt.variable)
		}
		if got := workflow.ValidOutput(tt.name) == nil; got != tt.output {
			t.Errorf("output %q allowed: %v, want %v", tt.name, got, tt.output)
		}
	}
}
