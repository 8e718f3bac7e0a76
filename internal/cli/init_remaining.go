package cli

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"evergrant/internal/atomicfile"
	"evergrant/internal/pattern"
	"evergrant/templates"
)

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

// commandIndent stands before each command of a step, and before nothing else.
const commandIndent = "     "

// stepList writes numbered steps, and below each the commands that do it. A line
// of words does not look like a command, and a command can be pasted as it is.
type stepList struct {
	strings.Builder
	n int
}

func (l *stepList) step(format string, args ...any) {
	l.n++
	fmt.Fprintf(l, "%d. "+format+"\n", append([]any{l.n}, args...)...)
}

func (l *stepList) more(format string, args ...any) { fmt.Fprintf(l, "   "+format+"\n", args...) }

func (l *stepList) command(format string, args ...any) {
	fmt.Fprintf(l, commandIndent+format+"\n", args...)
}

// remaining are the steps between the file and a green run.
func (w *workflowDraft) remaining(text string) string {
	var l stepList
	secrets := secretsOf(text)
	where := environmentOf(text)
	const made = "gh api --silent --method PUT 'repos/{owner}/{repo}/environments/%s'"
	if where != "" {
		l.step("An environment for the secrets, which are read when a job starts.%s", branchesOf(text))
		l.command(made, secretsEnvironment)
	}
	if publishes(text) {
		l.step("One for the access token alone, so that the jobs which read it get no other secret.")
		l.command(made, tokenEnvironment)
	}
	if refresh := w.words["REFRESH_SECRET"]; slices.Contains(secrets, refresh) {
		w.refreshStep(&l, refresh, where)
	}
	if slices.Contains(secrets, sealingKey) {
		key := "evergrant-" + repositoryName(w.root) + ".key"
		l.step("The key that seals the record, for this repository alone. Keep a copy where you keep passwords.")
		l.command(`evergrant key new --out "$HOME/%s"`, key)
		l.command(`gh secret set %s%s < "$HOME/%s"`, sealingKey, where, key)
	}
	slices.Sort(secrets)
	for _, name := range slices.Compact(secrets) {
		w.otherSecret(&l, name, where, text)
	}
	if m := scriptOfWorkflow.FindStringSubmatch(text); m != nil {
		l.step("The script, from the folder scripts of evergrant's source. The workflow runs it only if it is the one that it was written for.")
		l.command("mkdir -p .github/evergrant && cp EVERGRANT/scripts/%s .github/evergrant/ && git add .github/evergrant", m[1])
	}
	w.fileStep(&l, text)
	w.afterGreen(&l, text)
	if w.preset.Name == claude {
		fmt.Fprintf(&l, "\n%s\n", terms(w.preset))
	}
	return l.String()
}

// Where a sign-in of Claude Code for CI lies, and the item that macOS keeps
// instead: the dots stand for digits that depend on the folder.
const (
	claudeFolder = `"$HOME/.claude-evergrant"`
	claudeItem   = "'Claude Code-credentials-…'"
)

// refreshStep is how the refresh token gets into its secret. One that is not
// found must not become a secret, not even the word null.
func (w *workflowDraft) refreshStep(l *stepList, secret, where string) {
	l.step("The refresh token of a sign-in of its own: one that two programs use is spent twice, and that ends the login.")
	if w.preset.Name != claude {
		l.command("gh secret set %s%s < refresh-token    # a file with the token and nothing else; remove it then", secret, where)
		return
	}
	set := fmt.Sprintf(`&& printf %%s "$t" | gh secret set %s%s`, secret, where)
	l.command(`CLAUDE_CONFIG_DIR=%s claude    # then /login, and leave`, claudeFolder)
	l.command(`t=$(jq -er .claudeAiOauth.refreshToken %s) %s`, strings.TrimSuffix(claudeFolder, `"`)+`/.credentials.json"`, set)
	l.more("On macOS it is in the Keychain. The first line lists the items: the one that was not there before has eight digits of its own.")
	l.command(`security dump-keychain | grep 'Claude Code-credentials-'`)
	l.command(`t=$(security find-generic-password -w -s %s | jq -er .claudeAiOauth.refreshToken) %s`, claudeItem, set)
}

// otherSecret is a secret that is neither the login nor the key.
func (w *workflowDraft) otherSecret(l *stepList, name, where, text string) {
	switch name {
	case sealingKey, w.words["REFRESH_SECRET"]:
	case publishedSecret:
		l.step("The workflow of template scheduled, whose first run writes the secret %s.", name)
		l.command("evergrant init github --template scheduled --provider PRESET --action OWNER/evergrant@COMMIT")
	case writerSecret:
		l.step("A fine-grained token for this repository alone, with %s. A job's own token can never write secrets.", permissionOf(text))
		l.more("Make it at https://github.com/settings/personal-access-tokens/new. It expires: note the day, for the workflow fails from then on.")
		l.command("gh secret set %s%s    # it asks for the value", name, where)
	default:
		l.step("The other secret that the workflow names, from a file with its value and nothing else.")
		l.command("gh secret set %s%s < FILE", name, where)
	}
}

// fileStep is the file, and what GitHub wants to be said before it runs it.
func (w *workflowDraft) fileStep(l *stepList, text string) {
	l.step("The file. GitHub starts it once it is on the default branch.")
	if action := w.words[templates.Action]; action != "" {
		l.more("In a public repository the Action refuses: name a private one with store: git:https://… and git-token, or accept with allow-public: true.")
		if w.words[templates.Unreleased] != "" {
			l.more("The step with actions/setup-go is there because nothing is released yet: the Action builds its program, in a minute or more.")
		}
		if name, _, pinned := strings.Cut(action, "@"); pinned {
			l.more("If %s is private, open it to your other private repositories there: Settings, Actions, General, Access.", name)
		}
	}
	l.command("git add %s && git commit -m 'Keep a login alive' && git push", w.inside)
	if publishes(text) {
		l.command("evergrant init github --template scheduled-reader    # a workflow that reads the token")
	}
}

// afterGreen is what waits for the first green run.
func (w *workflowDraft) afterGreen(l *stepList, text string) {
	creates := strings.Contains(text, "no-create: ")
	if creates {
		l.step("After the first green run: no-create: true%s, so that a record that is missing is an error, and not a start from a spent token.",
			map[bool]string{true: " in the workflow that calls it", false: " in the file"}[strings.Contains(text, "workflow_call:")])
	}
	if w.preset.Name != claude {
		return
	}
	if creates {
		l.more("And nobody must use this login a second time:")
	} else {
		l.step("After the first green run: nobody must use this login a second time.")
	}
	l.command(`rm -r %s    # on macOS also: security delete-generic-password -s %s`, claudeFolder, claudeItem)
}

// Parts of a repository's configuration by which init finds its name.
var (
	originURL = pattern.Of(`(?m)^\[remote "origin"\][^\[]*?\n\s*url\s*=\s*(\S+)\s*$`)
	plainName = pattern.Of(`^[A-Za-z0-9][\w.-]{0,99}$`)
)

// repositoryName is the repository's name at its remote, else its folder's; the
// word REPO if there is none that a shell takes as it is.
func repositoryName(root string) string {
	if root == "" {
		return "REPO"
	}
	var names []string
	if b, _, err := atomicfile.ReadRegular(filepath.Join(root, ".git", "config"), 1<<20); err == nil {
		if m := originURL.FindStringSubmatch(string(b)); m != nil {
			names = append(names, strings.TrimSuffix(m[1][strings.LastIndexAny(m[1], "/:")+1:], ".git"))
		}
	}
	if abs, err := filepath.Abs(root); err == nil {
		names = append(names, filepath.Base(abs))
	}
	for _, name := range names {
		if plainName.MatchString(name) {
			return name
		}
	}
	return "REPO"
}
