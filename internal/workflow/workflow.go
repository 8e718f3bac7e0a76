// Package workflow speaks the two channels by which a step talks to the GitHub
// Actions runner: workflow commands in the log, and environment files.
//
// Source: GitHub Docs, "Workflow commands for GitHub Actions" (masking a value
// in a log; environment files; multiline strings).
package workflow

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"evergrant/internal/grant"
)

// Masker asks the runner to hide values in the job's log. It must have
// returned before a value is written anywhere, because the runner masks from
// the moment at which it has read the command. It is safe for concurrent use.
type Masker struct {
	w    io.Writer
	mu   sync.Mutex
	done map[string]bool // digests of the values masked so far
}

// NewMasker returns a Masker that writes its commands to w, which the runner
// must read: standard error, so that standard output stays the caller's.
func NewMasker(w io.Writer) *Masker { return &Masker{w: w, done: map[string]bool{}} }

// Mask hides s and each of its lines; a value is announced once. The only
// error is that of writing the command, and then s must not be delivered.
func (m *Masker) Mask(s grant.Secret) error {
	if s.IsZero() {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.done[s.Digest()] {
		return nil
	}
	var b strings.Builder
	value := s.Reveal()
	fmt.Fprintf(&b, "::add-mask::%s\n", escape(value))
	if lines := strings.FieldsFunc(value, func(r rune) bool { return r == '\n' || r == '\r' }); len(lines) > 1 {
		for _, line := range lines {
			fmt.Fprintf(&b, "::add-mask::%s\n", escape(line))
		}
	}
	if _, err := io.WriteString(m.w, b.String()); err != nil {
		return fmt.Errorf("masking the token in the job's log: %w", err)
	}
	m.done[s.Digest()] = true
	return nil
}

// escape keeps a value on its line, as the runner's own toolkit does.
func escape(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

// Append adds NAME and its value to an environment file (GITHUB_ENV,
// GITHUB_OUTPUT) in one write, between delimiters that nobody can guess: a
// value that held a known delimiter could set variables of its own choosing.
func Append(path, name string, s grant.Secret) error {
	return add(path, block(name, s.Reveal()))
}

func block(name, value string) string {
	delimiter := "evergrant_" + rand.Text()
	return name + "<<" + delimiter + "\n" + value + "\n" + delimiter + "\n"
}

func unfinished(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return false
	}
	last := make([]byte, 1)
	_, err = f.ReadAt(last, info.Size()-1)
	return err == nil && last[0] != '\n'
}

// CheckFile reports, in words for a user, why the environment file named by a
// variable cannot be appended to. The runner creates it before each step.
func CheckFile(variable, path string) error {
	if path == "" {
		return fmt.Errorf("%s is not set: this works only in a step of GitHub Actions", variable)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("the file of %s cannot be written: %w", variable, err)
	}
	return f.Close()
}

// ValidVariable reports, in words for a user, why name may not be exported to
// later steps. Variables that the runner owns, and those that make a program
// load code, are refused: a token in one of them breaks the job or worse.
func ValidVariable(name string) error {
	if !identifier(name, false) {
		return fmt.Errorf("%q is not the name of a variable: letters, digits and _ only, not starting with a digit", name)
	}
	upper := strings.ToUpper(name)
	for _, prefix := range []string{"GITHUB_", "RUNNER_", "ACTIONS_", "INPUT_", "LD_", "DYLD_"} {
		if strings.HasPrefix(upper, prefix) {
			return fmt.Errorf("variable %s is refused: names that start with %s belong to the runner or the system", name, prefix)
		}
	}
	switch upper {
	case "CI", "PATH", "HOME", "SHELL", "ENV", "BASH_ENV", "IFS", "PROMPT_COMMAND", "NODE_OPTIONS", "NODE_PATH",
		"PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "PERL5OPT", "PERL5LIB", "RUBYOPT", "RUBYLIB", "JAVA_TOOL_OPTIONS",
		"GIT_SSH_COMMAND", "GIT_CONFIG_PARAMETERS", "GODEBUG", "TMPDIR", "TEMP", "TMP":
		return fmt.Errorf("variable %s is refused: it steers the job itself", name)
	}
	return nil
}

// ValidOutput reports, in words for a user, why name cannot be a step's output.
func ValidOutput(name string) error {
	if !identifier(name, true) {
		return fmt.Errorf("%q is not the name of an output: letters, digits, _ and - only, starting with a letter or _", name)
	}
	return nil
}

func identifier(s string, hyphen bool) bool {
	for i, r := range s {
		switch {
		case r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z':
		case i > 0 && (r >= '0' && r <= '9' || hyphen && r == '-'):
		default:
			return false
		}
	}
	return s != ""
}
