package cli_test

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"evergrant/internal/cli"
	"evergrant/internal/ghworkflow"
	"evergrant/templates"
)

const (
	testAction  = "acme/evergrant@0123456789abcdef0123456789abcdef01234567"
	officialUse = "anthropics/claude-code-action"
	otherUse    = "nimishchaudhari/claude-code-action-max-sub"
)

// ghStep, ghJob and ghFile are what the tests read of a workflow.
type ghStep struct {
	Name, ID, Uses, Run, Shell string
	Env                        map[string]string
	With                       map[string]any
}

type ghJob struct {
	If             string
	Needs, Outputs any
	Environment    any
	Concurrency    any
	Permissions    map[string]string
	TimeoutMinutes int `yaml:"timeout-minutes"`
	Env            map[string]string
	Steps          []ghStep
}

// keeper is the step of the Action.
func (j ghJob) keeper(t *testing.T) ghStep {
	t.Helper()
	at := slices.IndexFunc(j.Steps, func(s ghStep) bool { return s.ID == "evergrant" })
	if at < 0 {
		t.Fatal("no step has the id evergrant")
	}
	return j.Steps[at]
}

type ghFile struct {
	On          map[string]any
	Env         map[string]string
	Permissions any
	Concurrency any
	Jobs        map[string]ghJob
}

// initPrint is init github --print; it wants success.
func initPrint(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	args = append([]string{"init", "github", "--print"}, args...)
	if code := cli.Main(args, func(string) (string, bool) { return "", false }, strings.NewReader(""), &stdout, &stderr); code != 0 {
		t.Fatalf("%q: exit %d\n%s", args, code, stderr.String())
	}
	return stdout.String()
}

func parsed(t *testing.T, text string) ghFile {
	t.Helper()
	var f ghFile
	if err := yaml.Unmarshal([]byte(text), &f); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return f
}

// variants are command lines of init github for every template.
func variants(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, name := range templates.Names() {
		words, err := templates.Words(name)
		if err != nil {
			t.Fatal(err)
		}
		takes := func(w string) bool { return slices.Contains(words, w) }
		args := []string{"--template", name}
		if takes("ACTION") {
			args = append(args, "--action", testAction)
		}
		switch {
		case takes("CONSUMER"):
			for _, c := range templates.Consumers() {
				all[name+" for "+c] = append(slices.Clone(args), "--consumer", c)
			}
			if takes("TOKEN_URL") {
				all[name+" elsewhere"] = append(slices.Clone(args), "--token-url", "http://127.0.0.1:4000/token", "--client-id", "ci")
				if takes("GRANT") {
					all[name+" elsewhere"] = append(all[name+" elsewhere"], "--grant", "acme/claude")
				}
			}
		case takes("BODY"):
			all[name+" for claude"] = append(slices.Clone(args), "--provider", "claude")
			all[name+" for gitlab"] = append(slices.Clone(args), "--provider", "gitlab", "--client-id", "${{ vars.GITLAB_APPLICATION_ID }}")
			all[name+" by address"] = append(slices.Clone(args), "--token-url", "https://id.example.com/token", "--client-id", "a: 'b' # c", "--branch", "trunk")
		case takes("PROVIDER"):
			all[name+" for gitlab"] = append(slices.Clone(args), "--provider", "gitlab", "--client-id", "${{ vars.GITLAB_APPLICATION_ID }}")
			if takes("TOKEN_URL") {
				all[name+" by address"] = append(slices.Clone(args), "--token-url", "https://id.example.com/token", "--client-id", "a: 'b' # c")
				all[name+" with everything"] = append(slices.Clone(args), "--provider", "auth0", "--client-id", "true", "--with-client-secret", "--grant", "acme/api",
					"--param", "domain=example.eu.auth0.com", "--param", "audience=it's \"here\"")
			}
			if takes("ACTION") {
				all[name+" for claude"] = append(slices.Clone(args), "--provider", "claude")
			}
		default:
			all[name] = args
		}
	}
	return all
}

// TestWorkflowsAreSound: whatever init writes parses, has no finding that is an
// error or a warning, asks for least permissions, and pins what it uses.
func TestWorkflowsAreSound(t *testing.T) {
	t.Parallel()
	inputs := actionInputs(t)
	for name, args := range variants(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := initPrint(t, args...)
			for _, f := range ghworkflow.Check("w.yml", []byte(text), ghworkflow.Known{}) {
				if template := args[1]; f.Level != ghworkflow.Note || slices.Contains([]string{"comment", "generic", "reusable"}, template) {
					t.Errorf("%s: %s", f, f.Why)
				}
			}
			w := parsed(t, text)
			if fmt.Sprint(w.Permissions) != "map[]" || len(w.Env) > 0 {
				t.Errorf("the workflow gives every job permissions %v and variables %v", w.Permissions, w.Env)
			}
			for id, job := range w.Jobs {
				if len(job.Permissions) == 0 || job.Outputs != nil || len(job.Env) > 0 || job.TimeoutMinutes == 0 {
					t.Errorf("job %s: permissions %v, outputs %v, variables %v, %d minutes", id, job.Permissions, job.Outputs, job.Env, job.TimeoutMinutes)
				}
				for _, s := range job.Steps {
					checkStep(t, s, inputs)
				}
			}
		})
	}
}

// checkStep: no expression in a script, a shell that is named, pinned actions,
// and inputs that our Action has.
func checkStep(t *testing.T, s ghStep, inputs []string) {
	t.Helper()
	pinned := regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40}$`)
	switch {
	case s.Uses != "" && !pinned.MatchString(s.Uses):
		t.Errorf("step %q uses %s", s.Name, s.Uses)
	case s.Run != "" && (strings.Contains(s.Run, "${{") || s.Shell == ""):
		t.Errorf("step %q pastes an expression into its script, or names no shell", s.Name)
	}
	if !strings.HasPrefix(s.Uses, "acme/evergrant@") {
		return
	}
	for name := range s.With {
		if !slices.Contains(inputs, name) {
			t.Errorf("step %q has the input %s, which action.yml has not", s.Name, name)
		}
	}
	if _, ok := s.With["no-create"]; !ok || s.ID != "evergrant" {
		t.Errorf("step %q has no line for no-create, or the id %q", s.Name, s.ID)
	}
}

// actionInputs are the inputs that action.yml declares.
func actionInputs(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("../../action.yml")
	if err != nil {
		t.Fatal(err)
	}
	var action struct{ Inputs, Outputs map[string]any }
	if err := yaml.Unmarshal(b, &action); err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{"access-token", "expires-at-ms"} {
		if _, ok := action.Outputs[out]; !ok {
			t.Errorf("action.yml has no output %s", out)
		}
	}
	var names []string
	for name := range action.Inputs {
		names = append(names, name)
	}
	return names
}

// TestCommentWorkflow: who starts it, what is asked before a secret is used, and
// what each consumer gets.
func TestCommentWorkflow(t *testing.T) {
	t.Parallel()
	for _, consumer := range templates.Consumers() {
		text := initPrint(t, "--action", testAction, "--consumer", consumer)
		w := parsed(t, text)
		for _, event := range []string{"issue_comment", "pull_request_review_comment"} {
			if got := fmt.Sprint(w.On[event]); got != "map[types:[created]]" {
				t.Errorf("%s: %s", event, got)
			}
		}
		job := w.Jobs["claude"]
		if len(w.On) != 2 || len(w.Jobs) != 1 || w.Concurrency != nil || job.Concurrency != nil {
			t.Errorf("%d events, %d jobs, concurrency %v %v", len(w.On), len(w.Jobs), w.Concurrency, job.Concurrency)
		}
		for _, part := range []string{"contains(github.event.comment.body, '@claude') &&", `fromJSON('["OWNER", "MEMBER", "COLLABORATOR"]'), github.event.comment.author_association)`} {
			if !strings.Contains(job.If, part) || strings.Contains(job.If, "||") {
				t.Errorf("the condition %q lacks %q, or has a way around it", job.If, part)
			}
		}
		if got := fmt.Sprint(job.Permissions); got != "map[contents:write issues:write pull-requests:write]" {
			t.Errorf("permissions: %s", got)
		}
		if gate := job.Steps[0]; !strings.Contains(gate.Run, "/permission") || strings.Contains(fmt.Sprint(gate.Env), "secrets.") {
			t.Errorf("the first step is %q", gate.Name)
		}
		checkConsumer(t, consumer, job.Steps, text)
	}
}

func checkConsumer(t *testing.T, consumer string, steps []ghStep, text string) {
	t.Helper()
	last, keeper := steps[len(steps)-1], steps[len(steps)-2]
	if !strings.HasPrefix(last.Uses, consumer+"@") || keeper.With["provider"] != "claude" {
		t.Fatalf("the last steps are %q and %q", keeper.Uses, last.Uses)
	}
	want := map[string]any{"claude_code_oauth_token": "${{ steps.evergrant.outputs.access-token }}", "github_token": "${{ github.token }}"}
	if consumer == otherUse {
		want = map[string]any{
			"use_oauth": true, "claude_access_token": "${{ env.CLAUDE_ACCESS_TOKEN }}", "claude_expires_at": "${{ steps.evergrant.outputs.expires-at-ms }}",
			"claude_refresh_token": "kept-by-evergrant", "github_token": "${{ github.token }}",
		}
		if keeper.With["env-name"] != "CLAUDE_ACCESS_TOKEN" {
			t.Errorf("env-name is %v", keeper.With["env-name"])
		}
	} else if _, ok := keeper.With["env-name"]; ok {
		t.Error("the token is exported to every step for no reason")
	}
	if fmt.Sprint(last.With) != fmt.Sprint(want) {
		t.Errorf("the consumer gets %v, want %v", last.With, want)
	}
	if strings.Count(text, "secrets.CLAUDE_REFRESH_TOKEN") != 1 {
		t.Error("the refresh token is used in more than one place")
	}
	if setup, terms := strings.Index(text, "setup-token"), strings.Index(text, "legal-and-compliance"); setup < 0 || terms < setup {
		t.Error("the head does not have the first-party ways, and the terms after them")
	}
}

// TestOtherWorkflows: what flags put into the workflows for any provider.
func TestOtherWorkflows(t *testing.T) {
	t.Parallel()
	params := []string{"--provider", "auth0", "--client-id", "yes", "--with-client-secret", "--grant", "acme/api", "--param", "domain=example.eu.auth0.com", "--param", "audience=it's \"here\""}
	generic := parsed(t, initPrint(t, append([]string{"--template", "generic", "--action", testAction, "--branch", "trunk"}, params...)...))
	if got := fmt.Sprint(generic.On["push"], generic.On["workflow_dispatch"]); got != "map[branches:[trunk]] <nil>" {
		t.Errorf("it starts for %s", got)
	}
	job := generic.Jobs["work"]
	keeper, work := job.keeper(t), job.Steps[len(job.Steps)-1]
	for name, want := range map[string]any{
		"grant": "acme/api", "provider": "auth0", "client-id": "yes", "client-secret": "${{ secrets.AUTH0_CLIENT_SECRET }}",
		"param": "domain=example.eu.auth0.com\naudience=it's \"here\"", "refresh-token": "${{ secrets.AUTH0_REFRESH_TOKEN }}",
		"key": "${{ secrets.EVERGRANT_KEY }}", "no-create": false,
	} {
		if keeper.With[name] != want {
			t.Errorf("%s is %#v, want %#v", name, keeper.With[name], want)
		}
	}
	if work.Env["AUTH0_ACCESS_TOKEN"] != "${{ steps.evergrant.outputs.access-token }}" || job.Steps[0].With["persist-credentials"] != false {
		t.Errorf("the work gets %v, the checkout %v", work.Env, job.Steps[0].With)
	}
	reusable := parsed(t, initPrint(t, "--template", "reusable", "--action", testAction, "--token-url", "https://id.example.com/token", "--client-id", "7"))
	call, ok := reusable.On["workflow_call"].(map[string]any)
	if !ok || len(reusable.On) != 1 || fmt.Sprint(call["outputs"]) != "<nil>" {
		t.Fatalf("it starts for %v", reusable.On)
	}
	work = reusable.Jobs["work"].Steps[len(reusable.Jobs["work"].Steps)-1]
	if work.Run != `bash -euo pipefail -c "$COMMAND"` || work.Env["COMMAND"] != "${{ inputs.command }}" || work.Env["ACCESS_TOKEN"] == "" {
		t.Errorf("the command: %q with %v", work.Run, work.Env)
	}
	if got := reusable.Jobs["work"].keeper(t).With; got["client-id"] != "7" || got["grant"] != "${{ inputs.grant }}" || got["client-secret"] != nil {
		t.Errorf("the Action gets %v", got)
	}
}

// TestSettingsArriveAsTheyAre: YAML reads back what was given, whatever it looks like.
func TestSettingsArriveAsTheyAre(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		"abc", "x", "7", "007", "1e3", "0x1F", "1_000", "-1", ".5", "true", "No", "null", "~", "y", "nan", ".inf", "2026-01-02", "12:30", "- a", "a: b", "a:", ":a", "a #b", "#b",
		"'", "''", "\"", "it's \"here\"", "*a", "&a", "!a", "%a", "@a", "`a", "|", ">", "[a]", "{a: b}", "a, b", "é ü", " a", "a ", "a\\nb", "${x}", "}}", "https://a.example/b?c=d#e", "a@b.example", "<<", "=", "---",
	} {
		for _, template := range []string{"generic", "reusable"} {
			w := parsed(t, initPrint(t, "--template", template, "--action", "./x", "--token-url", "https://id.example.com/token", "--client-id="+value))
			if got := w.Jobs["work"].keeper(t).With["client-id"]; got != value {
				t.Errorf("%s: %q arrives as %#v", template, value, got)
			}
		}
	}
	w := parsed(t, initPrint(t, "--template", "generic", "--action", "./x", "--provider", "gitlab", "--client-id", "${{ vars.GITLAB_ID }}"))
	if got := w.Jobs["work"].keeper(t).With["client-id"]; got != "${{ vars.GITLAB_ID }}" {
		t.Errorf("a variable arrives as %v", got)
	}
}

// TestBeforeTheAction: what the Action needs from the steps before it: Go while
// nothing is released, and for a copy inside the repository a checkout, which
// leaves no credentials unless the consumer wants them.
func TestBeforeTheAction(t *testing.T) {
	t.Parallel()
	for name, args := range variants(t) {
		at := slices.Index(args, testAction)
		if at < 0 {
			continue
		}
		for _, action := range []string{testAction, "./tools/evergrant"} {
			t.Run(name+" as "+action, func(t *testing.T) {
				t.Parallel()
				args := slices.Clone(args)
				args[at] = action
				text := initPrint(t, args...)
				for _, f := range ghworkflow.Check("w.yml", []byte(text), ghworkflow.Known{}) {
					if f.Level != ghworkflow.Note {
						t.Errorf("%s: %s", f, f.Why)
					}
				}
				for _, job := range parsed(t, text).Jobs {
					checkBefore(t, job, args[1], action != testAction)
				}
			})
		}
	}
}

func checkBefore(t *testing.T, job ghJob, template string, local bool) {
	t.Helper()
	var goes, fetches []ghStep
	for _, s := range job.Steps {
		switch name, _, _ := strings.Cut(s.Uses, "@"); {
		case s.ID == "evergrant":
			if want := map[bool]int{true: 0, false: 1}[templates.Released]; len(goes) != want {
				t.Errorf("%d steps with actions/setup-go stand before the Action, want %d", len(goes), want)
			}
			if want := local || template != "scheduled"; len(fetches) > 1 || want != (len(fetches) == 1) {
				t.Errorf("%d checkouts stand before the Action", len(fetches))
			}
		case name == "actions/setup-go":
			goes = append(goes, s)
			if s.With["cache"] != false || fmt.Sprint(s.With["go-version"]) == "" {
				t.Errorf("Go is set up with %v", s.With)
			}
		case name == "actions/checkout":
			fetches = append(fetches, s)
			if s.With["persist-credentials"] != (template == "comment") {
				t.Errorf("the checkout leaves credentials: %v", s.With)
			}
		}
	}
}

// TestStepsCanBePasted: with --print each command stands alone on its line, the
// key is named after the repository and lies outside it, and a token that is not
// found becomes no secret.
func TestStepsCanBePasted(t *testing.T) {
	t.Parallel()
	steps := func(args ...string) string {
		var stdout, stderr bytes.Buffer
		args = append([]string{"init", "github", "--print", "--action", testAction}, args...)
		if code := cli.Main(args, func(string) (string, bool) { return "", false }, strings.NewReader(""), &stdout, &stderr); code != 0 {
			t.Fatalf("%q: exit %d\n%s", args, code, stderr.String())
		}
		return stderr.String()
	}
	text := regexp.MustCompile(`/evergrant-[\w.-]+\.key"`).ReplaceAllString(steps(), `/evergrant-FOLDER.key"`)
	for _, line := range []string{
		`CLAUDE_CONFIG_DIR="$HOME/.claude-evergrant" claude    # then /login, and leave`,
		`t=$(jq -er .claudeAiOauth.refreshToken "$HOME/.claude-evergrant/.credentials.json") && printf %s "$t" | gh secret set CLAUDE_REFRESH_TOKEN`,
		`security dump-keychain | grep 'Claude Code-credentials-'`,
		`evergrant key new --out "$HOME/evergrant-FOLDER.key"`,
		`gh secret set EVERGRANT_KEY < "$HOME/evergrant-FOLDER.key"`,
		`rm -r "$HOME/.claude-evergrant"    # on macOS also: security delete-generic-password -s 'Claude Code-credentials-…'`,
	} {
		if !strings.Contains(text, "\n     "+line+"\n") {
			t.Errorf("the steps lack the line %s\n%s", line, text)
		}
	}
	if strings.Index(text, "After the first green run") > strings.Index(text, "rm -r") {
		t.Errorf("the folder goes before a run was green\n%s", text)
	}
	for _, part := range []string{"accept with allow-public: true", "Settings, Actions, General, Access", "actions/setup-go"} {
		if !strings.Contains(text, part) {
			t.Errorf("the steps lack %q", part)
		}
	}
	if text := steps("-q"); text != "" {
		t.Errorf("-q says %q", text)
	}
}
