package ghaction_test

import (
	"slices"
	"strings"
	"testing"

	"evergrant/internal/ghaction"
)

func lookup(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, set := env[name]; return v, set }
}

func TestInputsBecomeArguments(t *testing.T) {
	t.Parallel()
	const token = "--sink=github-output:access-token"
	for _, tt := range []struct {
		name string
		env  map[string]string
		want []string
	}{
		{"nothing", nil, []string{token}},
		{"empty inputs", map[string]string{"INPUT_PROVIDER": "", "INPUT_FORCE": " ", "INPUT_PARAM": "\n\n"}, []string{token}},
		{"text", map[string]string{"INPUT_PROVIDER": " claude\n", "INPUT_MIN-TTL": "30m", "INPUT_STORE": "git:"},
			[]string{"--provider=claude", "--store=git:", "--min-ttl=30m", token}},
		{"a value that begins like a flag", map[string]string{"INPUT_CLIENT-ID": "--force", "INPUT_GRANT": "--json"},
			[]string{"--client-id=--force", token, "--", "--json"}},
		{"booleans", map[string]string{"INPUT_FORCE": "TRUE", "INPUT_NO-CREATE": "True", "INPUT_SINGLE-WRITER": "false", "INPUT_BEST-EFFORT": "true"},
			[]string{"--force=true", "--best-effort=true", "--no-create=true", "--single-writer=false", token}},
		{"lists", map[string]string{"INPUT_PARAM": "host=a.example\r\n\n  tenant=b \n", "INPUT_SINK": "file:x\nclaude-file:y", "INPUT_RECIPIENT": "age1x"},
			[]string{"--param=host=a.example", "--param=tenant=b", "--recipient=age1x", "--sink=file:x", "--sink=claude-file:y", token}},
		{"exported", map[string]string{"INPUT_ENV-NAME": "API_TOKEN"}, []string{token, "--sink=github-env:API_TOKEN"}},
		{"secrets are no arguments", map[string]string{"INPUT_KEY": "# made\ncanary-key\n", "INPUT_REFRESH-TOKEN": "canary-refresh\nx", "INPUT_CLIENT-SECRET": "canary-secret\n",
			"INPUT_GITHUB-TOKEN": "canary-git", "INPUT_NOTIFY": "https://hooks.example/canary\ngithub-issue:"}, []string{"--client-secret-env=EVERGRANT_CLIENT_SECRET", token}},
		{"a grant comes last", map[string]string{"INPUT_GRANT": "acme/api", "INPUT_FORCE": "true"}, []string{"--force=true", token, "--", "acme/api"}},
		{"the job's own settings are none", map[string]string{"EVERGRANT_STORE": "file:/tmp", "EVERGRANT_PROVIDER": "x", "INPUT_CONFIG": "x", "INPUT_TIMEOUT": "1s"}, []string{token}},
	} {
		s, err := ghaction.Read(lookup(tt.env))
		if err != nil || !slices.Equal(s.Args, tt.want) {
			t.Errorf("%s: %q (%v), want %q", tt.name, s.Args, err, tt.want)
		}
	}
}

func TestBadInputs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ input, value, want string }{
		{"FORCE", "yes", "input force: must be true or false"},
		{"NO-CREATE", "tRue", "input no-create: must be true or false"},
		{"ALLOW-PUBLIC", "1", "input allow-public: must be true or false"},
		{"FORCE", "true\nfalse", "input force takes one line, and was given several"},
		{"TOKEN-URL", "https://a.example\nhttps://b.example", "input token-url takes one line, and was given several"},
		{"GRANT", "a\nb", "input grant takes one line, and was given several"},
		{"ENV-NAME", "A\rB", "input env-name takes one line, and was given several"},
		{"CLIENT-SECRET", "canary\nx", "input client-secret takes one line, and was given several"},
		{"GIT-TOKEN", "canary\nx", "input git-token takes one line, and was given several"},
		{"GITHUB-TOKEN", "canary\nx", "input github-token takes one line, and was given several"},
		{"STORE", "ghsecret:o/r/N?env=V", "input store: a ghsecret store reads a variable of the job, which the Action does not hear; use a git store, or a step that runs evergrant refresh"},
		{"SINK", "file:x\nstdout:", "input sink: stdout: would write the token into the job's log"},
	} {
		_, err := ghaction.Read(lookup(map[string]string{"INPUT_" + tt.input: tt.value}))
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v, want %s", tt.input, err, tt.want)
		}
	}
}

// TestTheJobIsNotHeard: what an earlier step can set does not reach the program.
func TestTheJobIsNotHeard(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"INPUT_KEY": "key-input", "INPUT_REFRESH-TOKEN": "refresh-input", "INPUT_CLIENT-SECRET": "secret-input\n", "INPUT_GITHUB-TOKEN": "forge-input\n",
		"INPUT_GIT-TOKEN": "me:git-input\n",
		"EVERGRANT_KEY":   "planted", "EVERGRANT_REFRESH_TOKEN": "planted", "GITHUB_TOKEN": "planted", "EVERGRANT_CLIENT_SECRET": "planted",
		"EVERGRANT_STORE": "planted", "EVERGRANT_TOKEN_URL": "planted", "EVERGRANT_PROVIDER": "planted", "EVERGRANT_CLIENT_ID": "planted",
		"EVERGRANT_GRANT": "planted", "EVERGRANT_CONFIG": "planted", "EVERGRANT_GIT_TOKEN": "planted", "EVERGRANT_BODY": "planted",
		"CLAUDE_REFRESH_TOKEN": "planted", "XDG_CONFIG_HOME": "planted", "CI": "false", "CI_JOB_TOKEN": "planted", "CI_SERVER_URL": "planted",
		"STATE_other": "planted", "ANTHROPIC_API_KEY": "planted",
		"HOME": "/home/x", "GITHUB_OUTPUT": "/out", "STATE_rescued": "w", ghaction.Names: "PATH\nANTHROPIC_API_KEY\n",
	}
	s, err := ghaction.Read(lookup(env))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"EVERGRANT_KEY": "key-input", "EVERGRANT_REFRESH_TOKEN": "refresh-input", "EVERGRANT_CLIENT_SECRET": "secret-input",
		"GITHUB_TOKEN": "forge-input", "EVERGRANT_GITHUB_TOKEN": "forge-input", "EVERGRANT_GITEA_TOKEN": "forge-input", "EVERGRANT_GIT_TOKEN": "me:git-input", "CI": "true", "GITHUB_ACTIONS": "true",
		"HOME": "/home/x", "GITHUB_OUTPUT": "/out", "STATE_rescued": "w",
	} {
		if got, set := s.Lookup(name); got != want || !set {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for name, v := range env {
		if got, set := s.Lookup(name); v == "planted" && got == v || set && got == "" {
			t.Errorf("%s reaches the program", name)
		}
	}
	if !s.Sets("ANTHROPIC_API_KEY") || s.Sets("ANTHROPIC_AUTH_TOKEN") || s.Sets("") {
		t.Error("the names of the job's variables are told wrongly")
	}
	if key, refresh := s.HasSecrets(); !key || !refresh {
		t.Error("the secrets count as missing")
	}
	if alone, err := ghaction.Read(lookup(map[string]string{"INPUT_GITHUB-TOKEN": "x", ghaction.Names: "PATH"})); err != nil || alone.HasOtherSecrets() {
		t.Errorf("the job's own token counts as another secret (%v)", err)
	}
	for name, value := range map[string]string{"INPUT_REFRESH-TOKEN": "x", "INPUT_CLIENT-SECRET": "x", "INPUT_GIT-TOKEN": "x", ghaction.Names: "EVERGRANT_KEY"} {
		if other, err := ghaction.Read(lookup(map[string]string{name: value})); err != nil || !other.HasOtherSecrets() {
			t.Errorf("with %s=%s the run counts as one without secrets (%v)", name, value, err)
		}
	}
	none, err := ghaction.Read(lookup(map[string]string{"INPUT_KEY": " \n", "EVERGRANT_KEY": "x"}))
	if key, refresh := none.HasSecrets(); err != nil || key || refresh {
		t.Errorf("secrets that are empty count as given (%v)", err)
	}
}

func TestSecretsAreLines(t *testing.T) {
	t.Parallel()
	var got []string
	for _, s := range ghaction.Secrets(lookup(map[string]string{
		"INPUT_KEY": "# made 2026\n# recipient: age1x\r\ncanary-key\n\n", "INPUT_REFRESH-TOKEN": " canary-refresh\n", "INPUT_CLIENT-SECRET": "#a\nb",
		"INPUT_GITHUB-TOKEN": "canary-git", "INPUT_GIT-TOKEN": "canary-other-git", "INPUT_PROVIDER": "claude", "INPUT_NOTIFY": "github-issue:\n https://hooks.example/canary-hook\n",
	})) {
		got = append(got, s.Reveal())
	}
	want := []string{"canary-refresh", "#a", "b", "canary-key", "canary-git", "canary-other-git", "https://hooks.example/canary-hook"}
	if !slices.Equal(got, want) {
		t.Errorf("to be masked: %q, want %q", got, want)
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for _, tt := range [][2]string{
		{"add --single-writer if nothing else ever writes this store", "add input single-writer if nothing else ever writes this store"},
		{"allow more time with --timeout", "allow more time with --timeout"}, // it is no input
		{"the newline at the end of the variable EVERGRANT_REFRESH_TOKEN was left out", "the newline at the end of input refresh-token was left out"},
		{"--client-secret-env: the variable EVERGRANT_CLIENT_SECRET is empty", "input client-secret is empty"},
		{"say so once: evergrant repair GRANT --rebind --store git:", "say so once: evergrant repair GRANT --rebind --store git:"},
		{"evergrant providers lists them; without a preset give --token-url and --client-id", "evergrant providers lists them; without a preset give input token-url and input client-id"},
		{"use --no-create-x or --no-create", "use --no-create-x or input no-create"},
		{"in CI a sealing key is needed: pass it as EVERGRANT_KEY or with --key-env or --key-file", "in CI a sealing key is needed: pass it as input key"},
		{"it is sealed to another key; give the key that it was sealed to with EVERGRANT_KEY or --key-file", "it is sealed to another key; give the key that it was sealed to as input key"},
		{"no token: set GITHUB_TOKEN for the step, or name a variable that holds one with --git-token-env", "no token: look whether input github-token is valid; a store on another forge takes input git-token"},
		{"give --client-secret-env VAR or --client-secret-file PATH", "give input client-secret"},
		{"EVERGRANT_TOKEN_URL, EVERGRANT_CONFIG, --from-env VAR, --key-file PATH, --git-token-env", "input token-url, EVERGRANT_CONFIG, input refresh-token, input key, input git-token"},
		{"give key: ${{ secrets.EVERGRANT_KEY }} under with:", "give key: ${{ secrets.EVERGRANT_KEY }} under with:"},
		{"seal it once: evergrant key rotate --new-key-env VAR with the key in VAR", "seal it once: evergrant key rotate --new-key-env VAR with the key in VAR"},
		{"--param VAR", "--param VAR"},
		{"the variable EVERGRANT_NOTIFY: the URL must be https", "input notify: the URL must be https"},
		{"elsewhere name a URL: --notify-env VAR", "elsewhere name a URL: input notify"},
		{"", ""},
	} {
		if got := ghaction.Words(tt[0]); got != tt[1] {
			t.Errorf("%q, want %q", got, tt[1])
		}
	}
}

func TestFlagsAreInputs(t *testing.T) {
	t.Parallel()
	all := ghaction.Inputs()
	for _, f := range ghaction.Flags() {
		if !slices.Contains(all, f) {
			t.Errorf("%s is a flag and no input", f)
		}
	}
	for _, name := range all {
		if strings.ToLower(name) != name || strings.Contains(name, "_") {
			t.Errorf("input %s is not written in small letters with hyphens", name)
		}
	}
}
