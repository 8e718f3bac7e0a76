package cli_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"evergrant/internal/cli"
)

// TestScriptWorkflows: what a script is told, where its login lives, and that
// only one of its jobs runs at a time and none is cancelled.
func TestScriptWorkflows(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args         []string
		url, id      string
		body, secret string
		access       string
		step         int
	}{
		"bash for Claude":  {[]string{"--template", "bash", "--provider", "claude"}, "https://platform.claude.com/v1/oauth/token", "9d1c250a-e61b-44d9-88ed-5944d1962f5e", "json", "CLAUDE_REFRESH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN", 1},
		"node for GitLab":  {[]string{"--template", "node", "--provider", "gitlab", "--client-id", "${{ vars.GITLAB_ID }}"}, "https://gitlab.com/oauth/token", "${{ vars.GITLAB_ID }}", "form", "GITLAB_REFRESH_TOKEN", "GITLAB_ACCESS_TOKEN", 1},
		"its own GitLab":   {[]string{"--template", "bash", "--provider", "gitlab", "--client-id", "7", "--param", "host=git.example.com"}, "https://git.example.com/oauth/token", "7", "form", "GITLAB_REFRESH_TOKEN", "GITLAB_ACCESS_TOKEN", 1},
		"bash for Codex":   {[]string{"--template", "bash", "--provider", "codex"}, "https://auth.openai.com/oauth/token", "app_EMoamEEZ73f0CkXaXp7hrann", "json", "CODEX_REFRESH_TOKEN", "", 1},
		"by address":       {[]string{"--template", "node", "--token-url", "https://id.example/t?a=b", "--client-id", "x: y"}, "https://id.example/t?a=b", "x: y", "form", "EVERGRANT_REFRESH_TOKEN", "ACCESS_TOKEN", 1},
		"inline":           {[]string{"--template", "inline-python"}, "", "", "", "CLAUDE_REFRESH_TOKEN", "", 2},
		"inline elsewhere": {[]string{"--template", "inline-python", "--token-url", "https://id.example/t", "--client-id", "x"}, "https://id.example/t", "x", "", "CLAUDE_REFRESH_TOKEN", "", 2},
	} {
		w := parsed(t, initPrint(t, c.args...))
		for id, job := range w.Jobs {
			if fmt.Sprint(job.Environment) != "evergrant" || fmt.Sprint(job.Concurrency) != "map[cancel-in-progress:false group:"+c.secret+"]" || w.Concurrency != nil {
				t.Errorf("%s: job %s has environment %v and concurrency %v", name, id, job.Environment, job.Concurrency)
			}
			step := job.Steps[c.step]
			token := "EVERGRANT_REFRESH_TOKEN"
			if strings.HasPrefix(name, "inline") {
				token = "CLAUDE_REFRESH_TOKEN"
			}
			want := map[string]string{
				token: "${{ secrets." + c.secret + " }}", "EVERGRANT_TOKEN_URL": c.url, "EVERGRANT_CLIENT_ID": c.id, "EVERGRANT_BODY": c.body,
				"EVERGRANT_WRITE_BACK": "ghsecret:${{ github.repository }}/" + c.secret + "?environment=evergrant", "GH_TOKEN": "${{ secrets.EVERGRANT_GITHUB_TOKEN }}",
			}
			for variable, value := range want {
				if step.Env[variable] != value {
					t.Errorf("%s: %s is %q, want %q", name, variable, step.Env[variable], value)
				}
			}
			if last := job.Steps[len(job.Steps)-1]; c.access != "" && last.Env[c.access] != "${{ steps.evergrant.outputs.access-token }}" {
				t.Errorf("%s: the work gets %v", name, last.Env)
			}
		}
	}
}

// TestScriptWorkflowsRefuse: what a script cannot do is said at once.
func TestScriptWorkflowsRefuse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"--template", "bash"}, "no provider: give --provider PRESET, or --token-url and --client-id"},
		{[]string{"--template", "bash", "--token-url", "https://id.example/t"}, "--client-id"},
		{[]string{"--template", "node", "--provider", "auth0", "--client-id", "x", "--param", "domain=e.eu.auth0.com", "--with-client-secret"}, "sends no client secret"},
		{[]string{"--template", "node", "--provider", "slack", "--client-id", "x"}, "sends no client secret"},
		{[]string{"--template", "node", "--token-url", "https://id.example/t", "--client-id", "x", "--param", "audience=y"}, "neither further parameters or headers"},
		{[]string{"--template", "bash", "--provider", "twitch", "--client-id", "x"}, "does not understand how this provider says that a login has ended"},
		{[]string{"--template", "node", "--provider", "zoom", "--client-id", "x"}, "does not understand how"},
		{[]string{"--template", "node", "--provider", "x", "--client-id", "x"}, "does not understand how"},
		{[]string{"--template", "bash", "--provider", "linear", "--client-id", "x"}, "does not understand how"},
		{[]string{"--template", "bash", "--provider", "dex", "--client-id", "x", "--param", "host=dex.example.com"}, "does not understand how"},
		{[]string{"--template", "bash", "--provider", "claude", "--grant", "x"}, "template bash takes no --grant"},
		{[]string{"--template", "bash", "--provider", "claude", "--action", testAction}, "template bash takes no --action"},
		{[]string{"--template", "bash", "--provider", "claude", "--action", testAction}, "its script stands in the place of the Action"},
		{[]string{"--template", "scheduled-reader", "--action", testAction}, "only reads the secret that a workflow of template scheduled writes"},
		{[]string{"--template", "bash", "--token-url", "http://id.example/t", "--client-id", "x"}, "https"},
		{[]string{"--template", "inline-python", "--provider", "gitlab", "--client-id", "x"}, "--template generic is for other providers"},
		{[]string{"--template", "scheduled-reader", "--provider", "claude"}, "template scheduled-reader takes no --provider"},
	} {
		var stdout, stderr bytes.Buffer
		args := append([]string{"init", "github", "--print"}, c.args...)
		code := cli.Main(args, func(string) (string, bool) { return "", false }, strings.NewReader(""), &stdout, &stderr)
		if code != 2 || stdout.Len() > 0 || !strings.Contains(stderr.String(), c.says) {
			t.Errorf("%q: exit %d, want 2 and %q\n%s", c.args, code, c.says, stderr.String())
		}
	}
}

// TestScheduledWorkflow: one writer, which publishes what a reader needs, and a
// reader that has nothing else.
func TestScheduledWorkflow(t *testing.T) {
	t.Parallel()
	writer := parsed(t, initPrint(t, "--template", "scheduled", "--provider", "claude", "--action", testAction))
	job := writer.Jobs["refresh"]
	if len(writer.On) != 2 || writer.On["schedule"] == nil || len(job.Steps) > 2 || fmt.Sprint(job.Concurrency) != "map[cancel-in-progress:false group:evergrant-scheduled]" {
		t.Fatalf("it starts for %v, has %d steps, concurrency %v", writer.On, len(job.Steps), job.Concurrency)
	}
	if fmt.Sprint(job.Environment) != "evergrant" {
		t.Errorf("the writer runs in environment %v", job.Environment)
	}
	for name, want := range map[string]any{
		"sink": "ghsecret:${{ github.repository }}/EVERGRANT_ACCESS_TOKEN?environment=evergrant-token", "github-token": "${{ secrets.EVERGRANT_GITHUB_TOKEN }}",
		"refresh-token": "${{ secrets.CLAUDE_REFRESH_TOKEN }}", "key": "${{ secrets.EVERGRANT_KEY }}", "no-create": false, "min-ttl": "150m",
	} {
		if job.keeper(t).With[name] != want {
			t.Errorf("%s is %v, want %v", name, job.keeper(t).With[name], want)
		}
	}
	text := initPrint(t, "--template", "scheduled-reader", "--branch", "trunk")
	reader := parsed(t, text).Jobs["work"]
	if work := reader.Steps[len(reader.Steps)-1]; fmt.Sprint(work.Env) != "map[ACCESS_TOKEN:${{ secrets.EVERGRANT_ACCESS_TOKEN }}]" || fmt.Sprint(reader.Environment) != "evergrant-token" {
		t.Errorf("the work gets %v, in environment %v", work.Env, reader.Environment)
	}
	if strings.Count(text, "secrets.") != 1 || reader.Concurrency != nil || !strings.Contains(text, "branches: [trunk]") {
		t.Error("the reader has more than the access token, or waits for others")
	}
}

// TestScriptSteps: secrets go into the environment, the script is copied, and
// nobody is told to write a secret that a workflow writes.
func TestScriptSteps(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args      []string
		has, lack []string
	}{
		"bash": {[]string{"--template", "bash", "--provider", "claude"},
			[]string{"environments/evergrant", "default branch only", "gh secret set CLAUDE_REFRESH_TOKEN --env evergrant", "gh secret set EVERGRANT_GITHUB_TOKEN --env evergrant", "with Environments: write.", "cp EVERGRANT/scripts/refresh.sh .github/evergrant/"},
			[]string{"EVERGRANT_KEY", "no-create", "Contents: write"}},
		"inline": {[]string{"--template", "inline-python"}, []string{"gh secret set CLAUDE_REFRESH_TOKEN --env evergrant", "setup-token"}, []string{"default branch only", "scripts/refresh", "< FILE"}},
		"scheduled": {[]string{"--template", "scheduled", "--provider", "gitlab", "--client-id", "x", "--action", testAction},
			[]string{"gh secret set EVERGRANT_KEY --env evergrant", "gh secret set GITLAB_REFRESH_TOKEN --env evergrant", "Contents: write, for the record, and Environments: write", "no-create: true",
				"/environments/evergrant'", "/environments/evergrant-token'", "runs every quarter of an hour: 96 runs a day", "ends the token before it, here every 1h 30m or so"}, []string{"EVERGRANT_ACCESS_TOKEN", "scripts/refresh", "--env evergrant-token"}},
		"reader":  {[]string{"--template", "scheduled-reader"}, []string{"template scheduled, whose first run writes the secret EVERGRANT_ACCESS_TOKEN"}, []string{"gh secret set", "environments/"}},
		"generic": {[]string{"--template", "generic", "--provider", "claude", "--action", testAction}, []string{"gh secret set EVERGRANT_KEY <"}, []string{"--env", "environments/"}},
	} {
		var stdout, stderr bytes.Buffer
		args := append([]string{"init", "github", "--print"}, c.args...)
		if code := cli.Main(args, func(string) (string, bool) { return "", false }, strings.NewReader(""), &stdout, &stderr); code != 0 {
			t.Fatalf("%s: exit %d\n%s", name, code, stderr.String())
		}
		for _, part := range c.has {
			if !strings.Contains(stderr.String(), part) {
				t.Errorf("%s: the steps lack %q\n%s", name, part, stderr.String())
			}
		}
		for _, part := range c.lack {
			if strings.Contains(stderr.String(), part) {
				t.Errorf("%s: the steps have %q\n%s", name, part, stderr.String())
			}
		}
	}
}
