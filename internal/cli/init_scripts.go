package cli

import (
	"regexp"
	"slices"
	"strings"

	"evergrant/internal/grant"
	"evergrant/internal/pattern"
	"evergrant/internal/provider"
)

// Names of templates whose secrets are those of an environment, because such
// secrets are read when a job starts and not when it is queued.
const (
	secretsEnvironment = "evergrant"
	writerSecret       = "EVERGRANT_GITHUB_TOKEN" // may write secrets, which a job's own token never can
	publishedSecret    = "EVERGRANT_ACCESS_TOKEN" // written by template scheduled, read by its readers
)

// bodyWord is a word of templates whose script knows no presets: it is told
// the endpoint, the client and the form of the request.
const bodyWord = "BODY"

// fillScript turns a preset and flags into what a script is told. What a script
// cannot do is refused: it has no client secret, no signing key, no further
// parameters or headers.
func (w *workflowDraft) fillScript(o initOptions, params map[string]string) error {
	if err := w.unused("grant", "GRANT", o.grant); err != nil {
		return err
	}
	const generic = "--template generic, with the Action, can do that"
	if o.clientSecret || w.preset.Client.Secret == provider.SecretRequired {
		return usagef("template %s runs a script that sends no client secret", w.template).hint(generic)
	}
	e, err := w.preset.Resolve(provider.Settings{TokenURL: o.tokenURL, ClientID: o.clientID, Params: params})
	if err != nil {
		return usagef("%v", err)
	}
	if e.Auth != provider.AuthNone || len(e.Params) > 0 || len(e.Headers) > 0 {
		return usagef("template %s runs a script that can send this provider neither further parameters or headers nor a client's proof", w.template).hint(generic)
	}
	if w.deaf() {
		return usagef("template %s runs a script that does not understand how this provider says that a login has ended", w.template).hint(generic)
	}
	if e.ClientID == "" {
		return usagef("--token-url without a preset needs --client-id too")
	}
	for _, f := range []struct{ flag, word, value string }{
		{"token-url", "TOKEN_URL", e.TokenURL}, {"client-id", "CLIENT_ID", e.ClientID}, {"body", bodyWord, e.Body},
	} {
		if err := w.setting(f.flag, f.word, f.value); err != nil {
			return err
		}
	}
	return w.fillSecrets(false)
}

// deaf reports that the provider tells that a login has ended, or may have, in
// a way that the scripts know nothing of: they would call it a refusal of the
// request, with nothing spent.
func (w *workflowDraft) deaf() bool {
	known := map[grant.Fate][]string{
		grant.Rejected: {"invalid_grant", "refresh_token_expired", "refresh_token_reused", "refresh_token_invalidated", "token_expired", "interaction_required"},
		grant.InDoubt:  {"server_error", "internal_error", "internal_server_error", "temporarily_unavailable"},
	}
	for code, fate := range w.preset.Codes() {
		if (fate == grant.Rejected || fate == grant.InDoubt) && !slices.Contains(known[fate], code) {
			return true
		}
	}
	for _, fate := range w.preset.Statuses() {
		if fate == grant.Rejected || fate == grant.InDoubt {
			return true
		}
	}
	return false
}

// scriptOfWorkflow matches a script that a workflow runs out of its repository.
var scriptOfWorkflow = regexp.MustCompile(`\.github/evergrant/(refresh\.\w+)`)

// inEnvironment matches a job whose secrets are those of the environment.
var inEnvironment = pattern.Of(`(?m)^    environment: ` + secretsEnvironment + `(?: |$)`)

// environmentOf is the flag by which gh sets a secret of the workflow's
// environment; "" if its secrets are the repository's.
func environmentOf(text string) string {
	if inEnvironment.MatchString(text) {
		return " --env " + secretsEnvironment
	}
	return ""
}

// branchesOf says whether the environment can be kept for the default branch: a
// comment on a pull request starts its job for a ref of that pull request.
func branchesOf(text string) string {
	if strings.Contains(text, "pull_request_review_comment:") {
		return ""
	}
	return " Let it admit your default branch only, if you can."
}

// permissionOf is what the token that writes secrets must be allowed to do.
func permissionOf(text string) string {
	if strings.Contains(text, "github-token: ${{ secrets."+writerSecret+" }}") {
		return "Contents: write, for the record, and Environments: write"
	}
	return "Environments: write"
}
