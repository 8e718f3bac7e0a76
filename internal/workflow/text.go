package workflow

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// Value is one name of an environment file with a value that is no secret.
type Value struct{ Name, Text string }

// Set adds values to an environment file (GITHUB_OUTPUT, GITHUB_STATE), all in
// one write, between delimiters that nobody can guess.
func Set(path string, values ...Value) error {
	var blocks strings.Builder
	for _, v := range values {
		blocks.WriteString(block(v.Name, v.Text))
	}
	return add(path, blocks.String())
}

// Summarise adds a paragraph to the step's summary (GITHUB_STEP_SUMMARY). It is
// Markdown: text from outside goes through [Plain].
func Summarise(path, paragraph string) error { return add(path, paragraph+"\n\n") }

// Plain keeps Markdown and HTML from reading anything into a text.
func Plain(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '&':
			b.WriteString("&amp;")
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case strings.ContainsRune("\\`*_[]|~#!@", r):
			fmt.Fprintf(&b, "&#%d;", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Level is how much an annotation matters.
type Level string

// The levels that GitHub knows.
const (
	Error   Level = "error"
	Warning Level = "warning"
	Notice  Level = "notice"
)

// Annotate writes the command that shows a line beside the job's result, and in
// its log.
func Annotate(w io.Writer, level Level, title, line string) error {
	inTitle := strings.NewReplacer(":", "%3A", ",", "%2C").Replace(escape(title))
	_, err := fmt.Fprintf(w, "::%s title=%s::%s\n", level, inTitle, escape(line))
	return err
}

// Inert takes from a line what the runner takes for a command wherever it
// stands: the older form, ##[name]. The newer one, ::name::, counts at the
// beginning of a line only (actions/runner, ActionCommand.cs).
func Inert(line string) string { return strings.ReplaceAll(line, "##[", "## [") }

// add appends a text to a file of the runner in one write, on a line of its own.
func add(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if unfinished(f) {
		// An earlier step left a line without its end; ours must not be glued to it.
		text = "\n" + text
	}
	_, err = f.WriteString(text)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
