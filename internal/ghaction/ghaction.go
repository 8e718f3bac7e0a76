// Package ghaction reads one step of the GitHub Action in the program's own
// terms: its inputs become arguments of refresh, so that there is one parser of
// flags, and the variables by which refresh takes secrets.
//
// A step's environment is full of what others put there: the job's env, and
// GITHUB_ENV, which every earlier step can write. The program sees none of it
// through [Step.Lookup] but what is listed here. What a runner sets for a step,
// it sets last: INPUT_* for every input of action.yml, GITHUB_* and RUNNER_*.
//
// Sources: GitHub Docs, "Metadata syntax for GitHub Actions" (INPUT_ variables),
// "Default environment variables", "Workflow commands" (STATE_ variables).
package ghaction

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"evergrant/internal/grant"
)

// kind says how an input is written.
type kind uint8

const (
	text   kind = iota // one line, the flag's value
	list               // one value of the flag a line
	yes                // true or false
	secret             // no flag: a variable that the program reads
	other              // neither: see Read
)

type input struct {
	name string
	kind kind
	as   string // of a secret: the variable
}

// clientSecret is the variable that --client-secret-env names.
const clientSecret = "EVERGRANT_CLIENT_SECRET"

// notifyVar is the variable with the receivers of notices, one a line.
const notifyVar = "EVERGRANT_NOTIFY"

func inputs() []input {
	return []input{
		{"grant", other, ""}, {"provider", text, ""}, {"refresh-token", secret, "EVERGRANT_REFRESH_TOKEN"},
		{"token-url", text, ""}, {"issuer", text, ""}, {"client-id", text, ""}, {"client-secret", secret, clientSecret},
		{"client-auth", text, ""}, {"body", text, ""}, {"scope", text, ""}, {"param", list, ""}, {"store", text, ""},
		{"key", secret, "EVERGRANT_KEY"}, {"recipient", list, ""}, {"min-ttl", text, ""}, {"after", text, ""}, {"force", yes, ""},
		{"wait", text, ""}, {"best-effort", yes, ""}, {"no-revoke-running", yes, ""}, {"no-create", yes, ""},
		{"min-generation", text, ""}, {"single-writer", yes, ""}, {"allow-public", yes, ""},
		// As the job's own token it goes to the job's own forge, and nowhere else.
		{"github-token", secret, "GITHUB_TOKEN"}, {"git-token", secret, "EVERGRANT_GIT_TOKEN"}, {"sink", list, ""}, {"env-name", other, ""},
		{"notify", secret, notifyVar}, {"notify-format", text, ""},
		{"keep-fresh", other, ""}, {"keep-fresh-for", other, ""},
	}
}

// Inputs returns the names of the inputs of action.yml.
func Inputs() []string {
	var names []string
	for _, in := range inputs() {
		names = append(names, in.name)
	}
	return names
}

// Flags returns the inputs that are flags of refresh, by the same name.
func Flags() []string {
	var names []string
	for _, in := range inputs() {
		if in.kind == text || in.kind == list || in.kind == yes {
			names = append(names, in.name)
		}
	}
	return names
}

// Outputs returns the names of the outputs of action.yml.
func Outputs() []string {
	return []string{"access-token", "token-type", "expires-at", "expires-at-ms", "expires-in", "generation", "action", "rotated",
		"consent-ends-at", "state", "token-file", "token-socket", "program"}
}

// Names is the variable in which the Action's shim gives the names, one a line,
// of the variables that are set in the job and that it hands on neither by name
// nor by value.
const Names = "EVERGRANT_ACTION_NAMES"

// Rescued is the state by which the main step tells the post step which records
// have a rescue block in its log: the Writer of each, one a line.
const Rescued = "rescued"

// passed are the variables that the program reads as they are.
func passed() []string {
	return []string{"HOME", "XDG_STATE_HOME", "LOCALAPPDATA", // where marks are kept
		"GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_API_URL", "GITHUB_EVENT_PATH", "GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT",
		"GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_STATE", "GITHUB_STEP_SUMMARY", "RUNNER_TEMP", "STATE_" + Rescued, "STATE_" + Keeper}
}

// Step is one use of the Action.
type Step struct {
	// Args are the arguments of refresh.
	Args []string
	// Keep is how long a process in the background may keep the token alive; 0:
	// there is to be none.
	Keep time.Duration

	env func(string) (string, bool)
	set map[string]bool // what the job's other variables are called
}

// Read translates the inputs. The error is one line for a user; it repeats no
// value that could be a secret.
func Read(env func(name string) (string, bool)) (Step, error) {
	s := Step{env: env, set: map[string]bool{}}
	names, _ := env(Names)
	for name := range strings.SplitSeq(names, "\n") {
		s.set[name] = true
	}
	for _, in := range inputs() {
		raw := value(env, in.name)
		v := strings.TrimSpace(raw)
		several := strings.ContainsAny(v, "\r\n")
		switch {
		case v == "":
		case several && in.kind != list && in.name != "key" && in.name != "refresh-token" && in.name != "notify":
			return Step{}, fmt.Errorf("input %s takes one line, and was given several", in.name)
		case in.kind == text:
			s.Args = append(s.Args, "--"+in.name+"="+v)
		case in.kind == yes:
			said, err := boolean(v)
			if err != nil {
				return Step{}, fmt.Errorf("input %s: %w", in.name, err)
			}
			s.Args = append(s.Args, fmt.Sprintf("--%s=%v", in.name, said))
		case in.kind == list:
			for line := range strings.FieldsFuncSeq(v, newline) {
				if line = strings.TrimSpace(line); line != "" {
					s.Args = append(s.Args, "--"+in.name+"="+line)
				}
			}
		}
	}
	var err error
	if s.Keep, err = keep(env); err != nil {
		return Step{}, err
	}
	if s.given("client-secret") {
		s.Args = append(s.Args, "--client-secret-env="+clientSecret)
	}
	s.Args = append(s.Args, "--sink=github-output:access-token")
	if name := strings.TrimSpace(value(env, "env-name")); name != "" {
		s.Args = append(s.Args, "--sink=github-env:"+name)
	}
	for _, arg := range s.Args {
		switch {
		case strings.HasPrefix(arg, "--sink=stdout:"):
			return Step{}, errors.New("input sink: stdout: would write the token into the job's log")
		case strings.HasPrefix(arg, "--store=ghsecret:"):
			return Step{}, errors.New("input store: a ghsecret store reads a variable of the job, which the Action does not hear; use a git store, or a step that runs evergrant refresh")
		}
	}
	if name := strings.TrimSpace(value(env, "grant")); name != "" {
		s.Args = append(s.Args, "--", name)
	}
	return s, nil
}

func (s Step) given(input string) bool { return strings.TrimSpace(value(s.env, input)) != "" }

// HasOtherSecrets reports whether the step was given a secret besides the token
// that every job has, or the job has a sealing key where the Action does not read
// it: then it is no run that GitHub gives none.
func (s Step) HasOtherSecrets() bool {
	return s.given("key") || s.given("refresh-token") || s.given("client-secret") || s.given("git-token") || s.Sets("EVERGRANT_KEY")
}

// HasSecrets reports whether the step was given a key, and a refresh token.
func (s Step) HasSecrets() (key, refreshToken bool) { return s.given("key"), s.given("refresh-token") }

// Lookup is the environment that the program sees.
func (s Step) Lookup(name string) (string, bool) {
	switch {
	case name == "CI" || name == "GITHUB_ACTIONS": // whatever an earlier step made of CI
		return "true", true
	case slices.Contains(passed(), name):
		return s.env(name)
	case name == "EVERGRANT_GITHUB_TOKEN" || name == "EVERGRANT_GITEA_TOKEN":
		name = "GITHUB_TOKEN"
	}
	for _, in := range inputs() {
		if in.kind != secret || in.as != name {
			continue
		}
		v := value(s.env, in.name)
		if in.name == "github-token" || in.name == "git-token" || in.name == "client-secret" {
			v = strings.Trim(v, "\r\n")
		}
		return v, v != ""
	}
	return "", false
}

// Sets reports whether the job has set the variable, whatever its value is.
func (s Step) Sets(name string) bool { return name != "" && s.set[name] }

// Secrets returns every line of the inputs that are secrets, to be masked before
// anything else is written. Comments in the file of a sealing key are none, and
// neither is a receiver of notices that has no address, github-issue:.
func Secrets(env func(name string) (string, bool)) []grant.Secret {
	var lines []grant.Secret
	for _, in := range inputs() {
		if in.kind != secret {
			continue
		}
		for line := range strings.FieldsFuncSeq(value(env, in.name), newline) {
			line = strings.TrimSpace(line)
			if line != "" && !(in.name == "key" && strings.HasPrefix(line, "#")) && !(in.name == "notify" && !strings.Contains(line, "/")) {
				lines = append(lines, grant.NewSecret(line))
			}
		}
	}
	return lines
}

// value is an input as the runner hands it over: the name in capitals, with its
// hyphens.
func value(env func(string) (string, bool), input string) string {
	v, _ := env("INPUT_" + strings.ToUpper(input))
	return v
}

func newline(r rune) bool { return r == '\n' || r == '\r' }

// boolean reads the spellings of YAML 1.2's core schema, as GitHub's own toolkit
// does (actions/toolkit, core.getBooleanInput).
func boolean(s string) (bool, error) {
	switch s {
	case "true", "True", "TRUE":
		return true, nil
	case "false", "False", "FALSE":
		return false, nil
	}
	return false, errors.New("must be true or false")
}
