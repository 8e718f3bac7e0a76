package cli

import "github.com/spf13/cobra"

// helpGroup is a title and the names below it, in their order.
type helpGroup struct {
	title string
	names []string
}

// commandGroups order the commands by what a person wants of them.
func commandGroups() []helpGroup {
	return []helpGroup{
		{"Every day", []string{"refresh", "token", "run", "helper", "status"}},
		{"Sign in and out", []string{"login", "import", "logout"}},
		{"When something is wrong", []string{"doctor", "repair", "rescue"}},
		{"Set up", []string{"init", "key", "providers"}},
		{"Try it without an account", []string{"demo", "simulate"}},
		{"Of the program", []string{"version", "completion"}},
	}
}

// flagGroups order the flags of a command that has many. One that is in no group
// belongs to the first, which is the command's own.
func flagGroups() []helpGroup {
	return []helpGroup{
		{"What is asked for", []string{"host", "user", "min-ttl", "force", "after", "from-env", "all", "wait", "timeout", "best-effort", "no-revoke-running"}},
		{"Who is asked", []string{"provider", "token-url", "issuer", "authorize-url", "device-url", "revoke-url", "client-id", "redirect-uri", "scope", "param", "body"}},
		{"How the client proves itself", []string{"client-secret-env", "client-secret-file", "client-auth", "client-key-env", "client-key-file", "client-key-id"}},
		{"Where the grant is kept", []string{"store", "key-env", "key-file", "recipient", "no-create", "min-generation", "single-writer", "git-token-env", "github-token-env", "gitea-token-env", "allow-public", "config"}},
		{"Where the token goes, and who is told", []string{"sink", "env-name", "token-file", "token-socket", "keep-env", "json", "notify", "notify-env", "notify-format"}},
	}
}

// exemplify gives each command its examples.
func exemplify(cmd *cobra.Command) {
	cmd.Example = examples(cmd.CommandPath())
	for _, sub := range cmd.Commands() {
		exemplify(sub)
	}
}

// examples of a command, by its path. No line is wider than a terminal usually is.
func examples(path string) string {
	switch path {
	case "evergrant":
		return `  evergrant demo
  evergrant login acme/gitlab --provider gitlab --client-id APPLICATION_ID
  TOKEN=$(evergrant token acme/gitlab --provider gitlab --client-id ID)`
	case "evergrant refresh":
		return `  evergrant refresh acme/gitlab --provider gitlab --client-id APPLICATION_ID
  evergrant refresh acme/gitlab --min-ttl 1h --sink dotenv:.env#GITLAB_TOKEN
  evergrant refresh --all --json`
	case "evergrant token":
		return `  TOKEN=$(evergrant token acme/gitlab --provider gitlab --client-id ID)
  TOKEN=$(evergrant token acme/api --issuer https://id.example --client-id ID)
  TOKEN=$(evergrant token acme/api --after 7)   # the API refused the seventh`
	case "evergrant run":
		return `  evergrant run acme/gitlab --env-name GITLAB_TOKEN -- ./deploy
  evergrant run acme/api --token-file api.token -- ./long-job
  evergrant run acme/api --env-name TOKEN -- sh -c 'echo ${#TOKEN} bytes'`
	case "evergrant status":
		return `  evergrant status
  evergrant status acme/gitlab
  evergrant status --warn 72h --json`
	case "evergrant login":
		return `  evergrant login acme/gitlab --provider gitlab --client-id APPLICATION_ID
  evergrant login acme/gitlab --provider gitlab --client-id ID --device
  evergrant login acme/api --issuer https://id.example.com --client-id ID`
	case "evergrant logout":
		return `  evergrant logout acme/gitlab --provider gitlab --client-id APPLICATION_ID
  evergrant logout acme/api --keep-remote`
	case "evergrant import":
		return `  evergrant import claude --take-over
  evergrant import rclone:drive acme/drive --take-over
  evergrant import file:tokens.json acme/gitlab --provider gitlab --client-id ID`
	case "evergrant doctor":
		return `  evergrant doctor
  evergrant doctor acme/gitlab --provider gitlab --client-id APPLICATION_ID`
	case "evergrant repair":
		return `  evergrant repair acme/gitlab --adopt --from-env NEW_REFRESH_TOKEN
  evergrant repair acme/api --rebind --issuer https://id.example.com
  evergrant repair acme/api --retry-in-doubt`
	case "evergrant rescue":
		return `  evergrant rescue --store git:https://forge.example/acme/store <job.log
  evergrant rescue --raw acme/api --out answer.json`
	case "evergrant providers":
		return `  evergrant providers
  evergrant providers gitlab
  evergrant providers ./my-provider.yaml`
	case "evergrant simulate":
		return `  evergrant simulate --as gitlab --for 1h
  evergrant simulate --fault drop,acted,times=2 --access-life 2m
  evergrant simulate --fault slow,before=20s,times=5`
	}
	return moreExamples(path)
}

// moreExamples are those of the commands that have a parent, and of the small ones.
func moreExamples(path string) string {
	switch path {
	case "evergrant helper git-credential":
		return `  git config credential.https://gitlab.example.helper \
    '!evergrant helper git acme/gitlab --host gitlab.example'`
	case "evergrant helper docker-credential":
		return `  # the file docker-credential-evergrant, which docker's config.json names
  exec evergrant helper docker acme/registry --host registry.example "$@"`
	case "evergrant helper kubectl":
		return `  kubectl config set-credentials me --exec-command=evergrant \
    --exec-api-version=client.authentication.k8s.io/v1 \
    --exec-arg=helper --exec-arg=kubectl --exec-arg=acme/cluster`
	case "evergrant helper claude":
		return `  # apiKeyHelper in Claude Code's settings.json
  evergrant helper claude acme/claude`
	case "evergrant helper curl":
		return `  evergrant helper curl acme/api | curl --config - https://api.example/`
	case "evergrant key new":
		return `  evergrant key new --out ~/evergrant.key
  export EVERGRANT_KEY="$(evergrant key new)"`
	case "evergrant key show-recipient":
		return `  evergrant key show-recipient --key-file ~/evergrant.key`
	case "evergrant key rotate":
		return `  evergrant key new --out new.key
  evergrant key rotate --key-file old.key --new-key-file new.key`
	case "evergrant init github":
		return `  evergrant init github --action OWNER/evergrant@COMMIT
  evergrant init github --template bash --provider gitlab --client-id ID --print
  evergrant init github --template scheduled-reader
  evergrant init github --check`
	case "evergrant demo":
		return `  evergrant demo`
	case "evergrant version":
		return `  evergrant version`
	}
	return ""
}
