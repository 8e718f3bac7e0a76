package ghaction

import (
	"regexp"
	"slices"
	"strings"
)

// Words puts a message of the command line into the words of a workflow: flags
// and variables become the inputs that stand for them. A command that a message
// tells to run stays as it is, for it is typed elsewhere.
func Words(message string) string {
	message = phrases().Replace(message)
	return regexp.MustCompile(`evergrant [a-z][^;]*|--[a-z]+(-[a-z]+)*`).ReplaceAllStringFunc(message, func(word string) string {
		if name, flag := strings.CutPrefix(word, "--"); flag && slices.Contains(Flags(), name) {
			return "input " + name
		}
		return word
	})
}

func phrases() *strings.Replacer {
	return strings.NewReplacer(
		"pass it as EVERGRANT_KEY or with --key-env or --key-file", "pass it as input key",
		"in the variable EVERGRANT_KEY", "and pass it as input key",
		"the variable EVERGRANT_REFRESH_TOKEN", "input refresh-token",
		"--client-secret-env: the variable "+clientSecret, "input client-secret",
		"--client-secret-env, --client-key-env or --from-env", "input client-secret or refresh-token",
		"put a refresh token into a variable and name it: --from-env VAR", "give one as input refresh-token",
		"put it into the variable EVERGRANT_GITHUB_TOKEN", "pass it as input github-token",
		"--github-token-env: the variable EVERGRANT_GITHUB_TOKEN", "input github-token",
		"EVERGRANT_GITHUB_TOKEN", "input github-token",
		"put it into the variable EVERGRANT_GITEA_TOKEN", "pass it as input github-token",
		"--gitea-token-env: the variable EVERGRANT_GITEA_TOKEN", "input github-token",
		"EVERGRANT_GITEA_TOKEN", "input github-token",
		"--git-token-env", "input github-token",
	)
}
