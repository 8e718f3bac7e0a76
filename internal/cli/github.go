package cli

import (
	"net/http"
	"strings"
	"time"

	"evergrant/internal/githubapi"
	"evergrant/internal/grant"
	"evergrant/internal/oauth"
	"evergrant/internal/sink/giteasecret"
	"evergrant/internal/store"
)

// githubTimeout bounds one request to GitHub's API.
const githubTimeout = 10 * time.Second

// githubTransport reaches GitHub's API, and another forge's.
func githubTransport() http.RoundTripper {
	return oauth.NewTransport(oauth.DiscoverConfig{RequestTimeout: githubTimeout, UserAgent: userAgent})
}

// githubToken reads the token that writes GitHub secrets.
func (o *storeOptions) githubToken(env environment) (grant.Secret, error) {
	const hint = "make a fine-grained personal access token, or take the token of a GitHub App, with Secrets: write for that repository (Environments: write for a secret of an environment); keep it as a secret and put it into the variable EVERGRANT_GITHUB_TOKEN"
	name := o.githubTokenEnv
	if name == "" {
		name = "EVERGRANT_GITHUB_TOKEN"
		if env.get(name) == "" {
			return grant.Secret{}, usagef("a GitHub secret is written with a token that may do so, and there is none in EVERGRANT_GITHUB_TOKEN").
				hint(hint, "a job's own GITHUB_TOKEN can never write secrets")
		}
	}
	s, err := env.secretVariable("--github-token-env", name)
	if err != nil {
		return grant.Secret{}, err
	}
	token := strings.TrimRight(s.Reveal(), "\r\n")
	switch {
	case token == "":
		return grant.Secret{}, usagef("--github-token-env: the variable %s is empty", showName(name)).
			hint("in CI a secret is empty when this run may not see it (a fork, Dependabot), or when its name is misspelt")
	case strings.HasPrefix(token, "ghs_") && name == "GITHUB_TOKEN":
		return grant.Secret{}, usagef("the token in %s is the job's own GITHUB_TOKEN, which can never write secrets, whatever its permissions say", showName(name)).
			hint(hint)
	}
	return grant.NewSecret(token), nil
}

// surroundSecret adds what a store in a GitHub secret takes from the environment.
func (o *storeOptions) surroundSecret(env environment, loc store.Location, around *store.Surroundings) (err error) {
	name := loc.Variable()
	if name == "" {
		return nil
	}
	if _, set := env(name); !set && !o.blind {
		return usagef("store ghsecret: the variable %s, which the secret is read from, is not set", showName(name)).
			hint("fill it in the workflow: env: " + showName(name) + ": ${{ secrets.NAME }}")
	}
	around.Transport = githubTransport()
	around.GitHubToken, err = o.githubToken(env)
	return err
}

// githubClient is for sinks that are GitHub secrets.
func (a *app) githubClient(o *storeOptions) func(api string) (*githubapi.Client, error) {
	return func(api string) (*githubapi.Client, error) {
		token, err := o.githubToken(a.env)
		if err != nil {
			return nil, err
		}
		return githubapi.New(githubapi.Config{API: api, Token: token, Transport: githubTransport(), Now: a.now})
	}
}

// giteaAccess is for sinks that are secrets of Gitea. Their token has a variable of
// its own, so that one forge never gets what another one trusts.
func (a *app) giteaAccess(o *storeOptions) func() (giteasecret.Access, error) {
	return func() (giteasecret.Access, error) {
		name := or(o.giteaTokenEnv, "EVERGRANT_GITEA_TOKEN")
		if o.giteaTokenEnv == "" && a.env.get(name) == "" {
			return giteasecret.Access{}, usagef("a secret of Gitea is written with a token that may do so, and there is none in EVERGRANT_GITEA_TOKEN").
				hint("an owner of the repository makes one under Settings, Applications, with the scope write:repository; keep it as a secret and put it into the variable EVERGRANT_GITEA_TOKEN", "a job's own token can never write secrets")
		}
		s, err := a.env.secretVariable("--gitea-token-env", name)
		if err != nil {
			return giteasecret.Access{}, err
		}
		token := strings.TrimRight(s.Reveal(), "\r\n")
		if token == "" {
			return giteasecret.Access{}, usagef("--gitea-token-env: the variable %s is empty", showName(name)).
				hint("in CI a secret is empty when this run may not see it, or when its name is misspelt")
		}
		return giteasecret.Access{Token: grant.NewSecret(token), Transport: githubTransport()}, nil
	}
}
