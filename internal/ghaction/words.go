package ghaction

import (
	"regexp"
	"slices"
	"strings"
)

// Words puts a message of the command line into the words of a workflow: flags
// and variables become the inputs that stand for them. A command that a message
// tells to run stays as it is, for it is typed elsewhere, and so does the name of
// a secret.
func Words(message string) string {
	message = phrases().Replace(message)
	return regexp.MustCompile(`evergrant [a-z][^;]*|secrets\.\w+|--[a-z]+(-[a-z]+)*( VAR\b| PATH\b)?|\bEVERGRANT_[A-Z_]+`).ReplaceAllStringFunc(message, func(word string) string {
		if name := inputOf(word); name != "" {
			return "input " + name
		}
		return word
	})
}

// inputOf is the input that stands for a flag or a variable, or "".
func inputOf(word string) string {
	name, isFlag := strings.CutPrefix(word, "--")
	if variable, ok := strings.CutPrefix(word, "EVERGRANT_"); ok {
		name = strings.ReplaceAll(strings.ToLower(variable), "_", "-")
	} else if !isFlag {
		return ""
	}
	if stem, _, ok := strings.Cut(name, " "); ok && !strings.HasSuffix(stem, "-env") && !strings.HasSuffix(stem, "-file") {
		return ""
	}
	switch name, _, _ = strings.Cut(name, " "); name {
	case "from-env":
		return "refresh-token"
	case "gitea-token", "gitea-token-env", "github-token-env":
		return "github-token"
	case "key-env", "key-file", "client-secret-env", "client-secret-file", "git-token-env", "notify-env":
		name = strings.TrimSuffix(strings.TrimSuffix(name, "-env"), "-file")
	}
	if slices.Contains(Flags(), name) || slices.ContainsFunc(inputs(), func(in input) bool { return in.name == name && (in.kind == secret || !isFlag) }) {
		return name
	}
	return ""
}

// phrases are those that would not read well word by word. The first one that
// fits at a place is taken.
func phrases() *strings.Replacer {
	return strings.NewReplacer(
		"; elsewhere, put a refresh token into a variable and name it: --from-env VAR", "",
		"pass it as EVERGRANT_KEY or with --key-env or --key-file", "pass it as input key",
		"make a key with evergrant key new and name it with --key-env or --key-file", "make a key with evergrant key new; and pass it as input key",
		"--key-env and --key-file exclude each other", "input key was given twice",
		"give EVERGRANT_KEY, --key-env or --key-file", "give input key",
		"with EVERGRANT_KEY or --key-file", "as input key",
		"in the variable EVERGRANT_KEY", "and pass it as input key",
		"the variable EVERGRANT_REFRESH_TOKEN", "input refresh-token",
		"--client-secret-env: the variable "+clientSecret, "input client-secret",
		"--client-secret-env, --client-key-env or --from-env", "input client-secret or refresh-token",
		"--client-secret-env VAR or --client-secret-file PATH", "input client-secret",
		"--client-secret-env and --client-secret-file exclude each other", "input client-secret was given twice",
		"put a refresh token into a variable and name it: --from-env VAR", "give one as input refresh-token",
		"put it into the variable EVERGRANT_GITHUB_TOKEN", "pass it as input github-token",
		"--github-token-env: the variable EVERGRANT_GITHUB_TOKEN", "input github-token",
		"put it into the variable EVERGRANT_GITEA_TOKEN", "pass it as input github-token",
		"--gitea-token-env: the variable EVERGRANT_GITEA_TOKEN", "input github-token",
		"put the token into a variable and name that with --git-token-env", "give the token as input git-token",
		"--git-token-env: the variable EVERGRANT_GIT_TOKEN", "input git-token",
		"the variable EVERGRANT_NOTIFY", "input notify",
		"there is no token for it in GITHUB_TOKEN: add env: GITHUB_TOKEN: ${{ github.token }} to the step, and", "input github-token is empty: leave it out, and add",
		"set GITHUB_TOKEN for the step, or name a variable that holds one with --git-token-env",
		"look whether input github-token is valid; a store on another forge takes input git-token",
	)
}
