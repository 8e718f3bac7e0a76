package cli

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"evergrant/internal/atomicfile"
	"evergrant/internal/grant"
	"evergrant/internal/pattern"
	"evergrant/internal/provider"
	"evergrant/templates"
)

// workflowDraft is a workflow before it is written: what its template is told,
// and what the steps that remain must name.
type workflowDraft struct {
	template, path string // path: where it goes; "": to standard output
	inside         string // the same as its repository has it; its name if it lies elsewhere
	words          map[string]string
	preset         provider.Preset
	root           string // of the repository; "": there is none
	local          string // folder of the Action in the repository; "": it is pinned
	warned         []string
}

// claude is the preset whose vendor has first-party ways and terms that a
// workflow must name.
const claude = "claude"

func newWorkflow(o initOptions, root string) (*workflowDraft, error) {
	if err := templateNamed(o.template); err != nil {
		return nil, err
	}
	takes, err := templates.Words(o.template)
	if err != nil {
		return nil, err
	}
	w := &workflowDraft{template: o.template, root: root, words: map[string]string{}}
	for _, word := range takes {
		w.words[word] = ""
	}
	w.place(o)
	for _, fill := range []func(initOptions) error{w.fillAction, w.fillProvider, w.fillConsumer, w.fillNames, w.fillSchedule} {
		if err := fill(o); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// takes reports that the template has a word.
func (w *workflowDraft) takes(word string) bool {
	_, ok := w.words[word]
	return ok
}

// unused refuses a flag that the template would ignore.
func (w *workflowDraft) unused(flag, word, value string) error {
	if value == "" || w.takes(word) {
		return nil
	}
	err := usagef("template %s takes no --%s", w.template, flag)
	switch {
	case w.takes("REFRESH_SECRET") && flag == "action":
		return err.hint("its script stands in the place of the Action: leave --action out")
	case !w.takes("REFRESH_SECRET") && flag != "branch":
		return err.hint("it only reads the secret that a workflow of template scheduled writes: evergrant init github --template " + w.template)
	}
	return err
}

// place decides where the workflow goes.
func (w *workflowDraft) place(o initOptions) {
	name := "evergrant-" + o.template + ".yml"
	w.inside = path.Join(".github/workflows", name)
	switch {
	case o.out != "":
		w.path, w.inside = o.out, filepath.ToSlash(filepath.Clean(o.out))
		if rel, err := filepath.Rel(w.root, o.out); w.root != "" && err == nil && filepath.IsLocal(rel) {
			w.inside = filepath.ToSlash(rel)
		}
	case !o.print:
		w.path = filepath.Join(w.root, ".github", "workflows", name)
	}
	w.words["FILE"] = path.Base(w.inside)
}

// Forms of what may be named as the Action.
var (
	pinnedAction = pattern.Of(`^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(?:/[\w./-]+)?@[0-9a-f]{40}$`)
	movingAction = pattern.Of(`^[A-Za-z0-9][\w.-]*/[\w./-]+(?:@[\w./-]*)?$`)
	localAction  = pattern.Of(`^\./[\w./-]*$`)
)

func (w *workflowDraft) fillAction(o initOptions) error {
	if !w.takes(templates.Action) {
		return w.unused("action", templates.Action, o.action)
	}
	where := "fork or copy the project, read it, and name the commit that you have read: --action OWNER/NAME@COMMIT; or --action ./PATH for a copy inside the repository"
	switch {
	case o.action == "":
		return usagef("--action is missing: it names the copy of evergrant's Action that you trust").hint(where)
	case pinnedAction.MatchString(o.action):
	case localAction.MatchString(o.action) && filepath.IsLocal(strings.TrimPrefix(path.Clean(o.action), "./")):
		w.local = path.Clean(o.action)
	case movingAction.MatchString(o.action):
		return usagef("--action names no commit of 40 hexadecimal digits: a tag or branch can be moved to other code, and this code is handed your refresh token").hint(where)
	default:
		return usagef("--action is %s; it is written OWNER/NAME@COMMIT or ./PATH", shown(o.action)).hint(where)
	}
	w.words[templates.Action] = o.action
	if w.takes(templates.Local) {
		w.words[templates.Local] = w.local
	}
	if !templates.Released {
		w.words[templates.Unreleased] = "yes"
	}
	return nil
}

// fillProvider holds the flags to the preset, as refresh would.
func (w *workflowDraft) fillProvider(o initOptions) error {
	isComment := w.takes(templates.Consumer)
	switch {
	case o.provider == "" && isComment:
		o.provider = claude
	case o.provider == "" && o.tokenURL == "" && !w.takes("PROVIDER") && !w.takes(bodyWord):
		w.preset = provider.Custom()
		return w.fillSecrets(false)
	case o.provider == "" && o.tokenURL == "":
		return usagef("no provider: give --provider PRESET, or --token-url and --client-id").hint("evergrant providers lists the presets")
	case strings.ContainsAny(o.provider, `/\.`):
		return usagef("--provider must be the name of a preset here: a workflow's runner has no file of yours").hint("give --token-url and --client-id instead")
	case isComment && o.provider != claude:
		return usagef("template %s hands the token to Claude, so the provider is %s", o.template, claude).hint("--template generic is for other providers")
	}
	w.preset = provider.Custom()
	if o.provider != "" {
		var err error
		if w.preset, err = lookup(o.provider); err != nil {
			return err
		}
	}
	params, err := (&clientOptions{params: o.params}).parameters()
	if err != nil {
		return err
	}
	if w.takes(bodyWord) {
		return w.fillScript(o, params)
	}
	secret := o.clientSecret || w.preset.Client.Secret == provider.SecretRequired
	if _, err := w.preset.Resolve(provider.Settings{TokenURL: o.tokenURL, ClientID: o.clientID, HasSecret: secret, Params: params}); err != nil {
		return usagef("%v", err)
	}
	if o.provider == "" && o.clientID == "" {
		return usagef("--token-url without a preset needs --client-id too")
	}
	named := o.provider
	if isComment && !w.takes("PROVIDER") {
		named = "" // its script knows Claude by the name of the variable
	}
	for _, f := range []struct{ flag, word, value string }{
		{"provider", "PROVIDER", named}, {"token-url", "TOKEN_URL", o.tokenURL}, {"client-id", "CLIENT_ID", o.clientID},
		{"param", "PARAM", strings.Join(o.params, "\n")}, {"grant", "GRANT", o.grant},
	} {
		if err := w.setting(f.flag, f.word, f.value); err != nil {
			return err
		}
	}
	return w.fillSecrets(secret)
}

// longestSetting bounds a setting in bytes.
const longestSetting = 1024

// repositoryVariable matches the one expression that a setting may be.
var repositoryVariable = pattern.Of(`^\$\{\{ ?vars\.[A-Za-z_][A-Za-z0-9_]* ?\}\}$`)

// setting fits a value for YAML. Expressions are refused, but for the client id
// as a variable of the repository: others could put in what strangers write.
func (w *workflowDraft) setting(flag, word, value string) error {
	if err := w.unused(flag, word, value); err != nil || value == "" {
		return err
	}
	plainText := strings.ReplaceAll(value, "\n", " ")
	switch {
	case len(value) > longestSetting || strings.ContainsFunc(plainText, func(r rune) bool { return r < ' ' || r == 0x7f || r == '�' }):
		return usagef("--%s is too long, or has characters that do not belong there", flag)
	case strings.Contains(value, "${{") && (word != "CLIENT_ID" || !repositoryVariable.MatchString(value)):
		return usagef("--%s may not hold an expression", flag).hint("only --client-id may be one, of the form ${{ vars.NAME }}")
	case looksLikeToken(value):
		return usagef("--%s looks like a secret; it is refused and not repeated here", flag)
	case word == "GRANT" && opaque(value):
		return usagef("--grant looks like a secret; it is refused and not repeated here")
	}
	if word == "GRANT" {
		if _, err := grant.ParseID(value); err != nil {
			return usagef("--grant: %v", err)
		}
	}
	w.words[word] = scalar(value)
	return nil
}

// Texts that YAML reads as they stand.
var (
	plain   = pattern.Of(`^(?:https?://)?[A-Za-z][\w./@=-]*[A-Za-z0-9/]$|^\$\{\{`)
	special = pattern.Of(`(?i)^(?:y|n|yes|no|on|off|true|false|null|nan|inf)$`)
)

// scalar writes a text so that YAML reads that text.
func scalar(s string) string {
	switch {
	case plain.MatchString(s) && !special.MatchString(s):
		return s
	case strings.Contains(s, "\n"):
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

// fillSecrets names the secrets by the preset's variables.
func (w *workflowDraft) fillSecrets(clientSecret bool) error {
	refresh := or(w.preset.Env.Refresh, "EVERGRANT_REFRESH_TOKEN")
	if strings.HasPrefix(refresh, "GITHUB_") { // GitHub keeps these names for itself
		refresh = "EVERGRANT_" + refresh
	}
	w.words["REFRESH_SECRET"] = refresh
	if !clientSecret {
		return nil
	}
	name := strings.TrimSuffix(refresh, "_REFRESH_TOKEN") + "_CLIENT_SECRET"
	if err := w.unused("with-client-secret", "CLIENT_SECRET", name); err != nil {
		return err
	}
	w.words["CLIENT_SECRET"] = name
	return nil
}

func (w *workflowDraft) fillConsumer(o initOptions) error {
	if err := w.unused("consumer", templates.Consumer, o.consumer); err != nil || !w.takes(templates.Consumer) {
		return err
	}
	all := templates.Consumers()
	consumer := or(o.consumer, all[0])
	if !slices.Contains(all, consumer) {
		return usagef("--consumer is %s; it must be %s", shown(consumer), strings.Join(all, " or "))
	}
	w.words[templates.Consumer] = consumer
	if consumer != all[0] {
		w.words["ENV_NAME"] = "CLAUDE_ACCESS_TOKEN" // where people look for it with that action
	}
	return nil
}

// branchName matches the names of branches that need no quotes anywhere.
var branchName = pattern.Of(`^[A-Za-z0-9][\w./-]{0,200}$`)

func (w *workflowDraft) fillNames(o initOptions) error {
	if err := w.unused("branch", "BRANCH", o.branch); err != nil {
		return err
	}
	branch := or(o.branch, or(defaultBranch(w.root), "main"))
	if !branchName.MatchString(branch) {
		return usagef("--branch is %s, which is no name of a branch that init can write", shown(branch))
	}
	w.words["BRANCH"] = scalar(branch)
	w.words["ACCESS_ENV"] = or(w.preset.Env.Access, "ACCESS_TOKEN")
	w.words["TERMS"] = terms(w.preset)
	w.words["TITLE"] = w.preset.Title
	if u, err := url.Parse(o.tokenURL); w.preset.Name == provider.Custom().Name && err == nil {
		w.words["TITLE"] = u.Hostname()
	}
	return nil
}

// terms is what the head of a workflow says of the provider's terms.
func terms(p provider.Preset) string {
	if p.Name == claude {
		return "First look at the ways that need no refresh: workload identity federation, which stores nothing; `claude setup-token`,\n" +
			"whose token lives for a year; an API key. See https://code.claude.com/docs/en/github-actions\n" +
			"Terms: your own account, your own automation, the unmodified official Claude Code or its action. Whether a refresher that\n" +
			"you run for yourself is covered is not said; judge by " + p.Terms.URL
	}
	text := "Terms, as they were read for this preset: " + p.Terms.Summary
	if rest, unread := strings.CutPrefix(p.Terms.Summary, "Not read. "); unread {
		text = "Terms, which nobody has read for this preset: " + rest
	}
	if p.Terms.Summary == "" {
		return ""
	}
	var b strings.Builder
	width := 0
	for _, word := range strings.Fields(text + " " + p.Terms.URL) {
		switch {
		case width > 0 && width+1+len(word) > 115:
			b.WriteByte('\n')
			width = 0
		case width > 0:
			b.WriteByte(' ')
			width++
		}
		b.WriteString(word)
		width += len(word)
	}
	return b.String()
}

// repositoryRoot is the folder of the git repository around dir, or "".
func repositoryRoot(dir string) string {
	for range 100 {
		_, err := os.Lstat(filepath.Join(dir, ".git"))
		if err == nil {
			return filepath.Clean(dir)
		}
		if abs, aerr := filepath.Abs(dir); aerr != nil || abs == filepath.Dir(abs) || !errors.Is(err, fs.ErrNotExist) {
			return ""
		}
		dir = filepath.Join("..", dir)
	}
	return ""
}

// defaultBranch is the branch that a clone has as the remote's default, or "".
func defaultBranch(root string) string {
	if root == "" {
		return ""
	}
	b, _, err := atomicfile.ReadRegular(filepath.Join(root, ".git", "refs", "remotes", "origin", "HEAD"), 1024)
	if err != nil {
		return ""
	}
	name, _ := strings.CutPrefix(strings.TrimSpace(string(b)), "ref: refs/remotes/origin/")
	if !branchName.MatchString(name) {
		return ""
	}
	return name
}
