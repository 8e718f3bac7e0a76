package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"evergrant/internal/atomicfile"
)

// longestWorkflow bounds a file that is compared with a workflow, in bytes.
const longestWorkflow = 1 << 20

// printWorkflow writes the workflow to standard output and the steps that
// remain to standard error. Their commands stand there without the program's name,
// so that they can be pasted.
func (a *app) printWorkflow(w *workflowDraft, text string) error {
	if _, err := fmt.Fprint(a.stdout, text); err != nil {
		return fmt.Errorf("writing the workflow: %w", err)
	}
	for line := range strings.Lines(w.remaining(text)) {
		switch line = strings.TrimRight(line, "\n"); {
		case line == "" || a.quiet:
		case strings.HasPrefix(line, commandIndent):
			fmt.Fprintln(a.console, line)
		default:
			a.console.notef("%s", line)
		}
	}
	return nil
}

// writeWorkflow writes the workflow to its file, unless something else is
// there, and the steps that remain to standard output.
func (a *app) writeWorkflow(w *workflowDraft, text string) error {
	if w.local != "" {
		a.warnOfLocalAction(w, text)
	}
	did := "is written"
	switch same, err := sameFile(w.path, []byte(text)); {
	case err != nil:
		return err
	case same:
		did = "is there already, as it would be written"
	default:
		if err := createWorkflow(w, text); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(a.stdout, "%s %s. What remains, in a clone of the repository:\n\n%s", w.path, did, w.remaining(text))
	if err != nil {
		return fmt.Errorf("writing the steps that remain: %w", err)
	}
	return nil
}

// sameFile reports that a path has exactly that content already. Anything else
// that is there is an error: it is somebody's.
func sameFile(path string, content []byte) (bool, error) {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, usagef("%s: %v", shownPath(path), atomicfile.Bare(err))
	case !st.Mode().IsRegular():
		return false, usagef("%s is there and no regular file, so it is left alone", shownPath(path)).hint("give another --out PATH")
	}
	b, _, err := atomicfile.ReadRegular(path, longestWorkflow)
	if err != nil || !bytes.Equal(b, content) {
		return false, usagef("%s is there and different, and a workflow is never overwritten", shownPath(path)).
			hint("--print writes to standard output, for a comparison; --out PATH writes another file; or remove this one first")
	}
	return true, nil
}

func createWorkflow(w *workflowDraft, text string) error {
	folder := filepath.Dir(w.path)
	if filepath.ToSlash(folder) == filepath.ToSlash(filepath.Join(w.root, ".github", "workflows")) {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return usagef("%s: %v", shownPath(folder), atomicfile.Bare(err))
		}
	}
	if st, err := os.Stat(folder); err != nil || !st.IsDir() {
		return usagef("--out: there is no folder %s", shownPath(folder))
	}
	if err := atomicfile.Write(w.path, []byte(text), 0o644); err != nil {
		if gone := (*atomicfile.ReplacedError)(nil); errors.As(err, &gone) {
			return err
		}
		return usagef("%v", err)
	}
	return nil
}

// warnOfLocalAction: a copy inside the repository is found in the checkout of
// whoever runs the workflow, and a workflow may be written before it is there.
func (a *app) warnOfLocalAction(w *workflowDraft, text string) {
	if strings.Contains(text, "workflow_call:") {
		a.console.warnf("--action: a repository that calls this workflow must have %s too, because it is looked for there", w.local)
	}
	for _, name := range []string{"action.yml", "action.yaml"} {
		if _, err := os.Stat(filepath.Join(w.root, filepath.FromSlash(w.local), name)); err == nil {
			return
		}
	}
	a.console.warnf("--action: there is no action.yml in %s yet; the workflow fails until it is there", w.local)
}
