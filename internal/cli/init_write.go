package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"evergrant/internal/atomicfile"
	"evergrant/internal/pattern"
)

// longestWorkflow bounds a file that is compared with a workflow, in bytes.
const longestWorkflow = 1 << 20

// printWorkflow writes the workflow to standard output and the steps that
// remain to standard error.
func (a *app) printWorkflow(w *workflowDraft, text string) error {
	if _, err := fmt.Fprint(a.stdout, text); err != nil {
		return fmt.Errorf("writing the workflow: %w", err)
	}
	for line := range strings.Lines(w.remaining(text)) {
		if line = strings.TrimRight(line, "\n"); line != "" {
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

// secretOfWorkflow matches the secrets that a workflow of ours reads.
var secretOfWorkflow = pattern.Of(`\$\{\{ secrets\.([A-Z][A-Z0-9_]*) \}\}`)

// sealingKey is the name of the secret that holds the sealing key.
const sealingKey = "EVERGRANT_KEY"

// secretsOf are the names of the secrets that a workflow reads.
func secretsOf(text string) (secrets []string) {
	for _, m := range secretOfWorkflow.FindAllStringSubmatch(text, -1) {
		secrets = append(secrets, m[1])
	}
	return secrets
}

// remaining are the steps between the file and a green run.
func (w *workflowDraft) remaining(text string) string {
	var b strings.Builder
	n := 0
	step := func(format string, args ...any) {
		n++
		fmt.Fprintf(&b, "%d. "+format+"\n", append([]any{n}, args...)...)
	}
	command := func(format string, args ...any) { fmt.Fprintf(&b, "     "+format+"\n", args...) }
	secrets := secretsOf(text)
	where := environmentOf(text)
	const made = "gh api --silent --method PUT 'repos/{owner}/{repo}/environments/%s'"
	if where != "" {
		step("An environment for the secrets, which are read when a job starts.%s", branchesOf(text))
		command(made, secretsEnvironment)
	}
	if publishes(text) {
		step("One for the access token alone, so that the jobs which read it get no other secret.")
		command(made, tokenEnvironment)
	}
	if refresh := w.words["REFRESH_SECRET"]; slices.Contains(secrets, refresh) {
		step("The refresh token of a sign-in of its own: one that two programs use is spent twice, and that ends the login.")
		if w.preset.Name == claude {
			command(`CLAUDE_CONFIG_DIR="$HOME/claude-ci" claude    # then /login, and leave`)
			command(`jq -r .claudeAiOauth.refreshToken "$HOME/claude-ci/.credentials.json" | tr -d '\n' | gh secret set %s%s`, refresh, where)
			command(`# on macOS, in place of jq -r … FILE: security find-generic-password -w -s 'Claude Code-credentials-…' | jq -r .claudeAiOauth.refreshToken`)
			command(`rm -r "$HOME/claude-ci"    # so that nobody uses this login a second time`)
		} else {
			command("gh secret set %s%s < refresh-token    # a file with the token and nothing else; remove it then", refresh, where)
		}
	}
	if slices.Contains(secrets, sealingKey) {
		step("The key that seals the record. Keep a copy where you keep passwords.")
		command(`evergrant key new --out "$HOME/evergrant.key"`)
		command(`gh secret set %s%s < "$HOME/evergrant.key"`, sealingKey, where)
	}
	slices.Sort(secrets)
	for _, name := range slices.Compact(secrets) {
		switch name {
		case sealingKey, w.words["REFRESH_SECRET"]:
		case publishedSecret:
			step("The workflow of template scheduled, whose first run writes the secret %s.", name)
		case writerSecret:
			step("A fine-grained token for this repository alone, with %s. A job's own token can never write secrets.", permissionOf(text))
			command("gh secret set %s%s    # it asks for the value", name, where)
		default:
			step("The other secret that the workflow names, from a file with its value and nothing else.")
			command("gh secret set %s%s < FILE", name, where)
		}
	}
	if m := scriptOfWorkflow.FindStringSubmatch(text); m != nil {
		step("The script, from the folder scripts of evergrant's source. The workflow runs it only if it is the one that it was written for.")
		command("mkdir -p .github/evergrant && cp EVERGRANT/scripts/%s .github/evergrant/ && git add .github/evergrant", m[1])
	}
	step("The file. GitHub starts it once it is on the default branch.")
	command("git add %s && git commit -m 'Keep a login alive' && git push", w.inside)
	if strings.Contains(text, "no-create: ") {
		step("After the first green run: no-create: true%s, so that a record that is missing is an error, and not a start from a spent token.",
			map[bool]string{true: " in the workflow that calls it", false: " in the file"}[strings.Contains(text, "workflow_call:")])
	}
	if w.preset.Name == claude {
		fmt.Fprintf(&b, "\n%s\n", terms(w.preset))
	}
	return b.String()
}
