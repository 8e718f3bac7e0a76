package sink_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"evergrant/internal/githubapi"
	"evergrant/internal/githubapi/double"
	"evergrant/internal/grant"
	"evergrant/internal/oauth"
	"evergrant/internal/sink"
)

// TestGitHubSecret: the URL names the secret that gets the token, at the job's API
// or at the one that the URL names.
func TestGitHubSecret(t *testing.T) {
	t.Parallel()
	github, err := double.New(double.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer github.Close()
	if err := github.AddRepository("acme/widgets", "prod"); err != nil {
		t.Fatal(err)
	}
	github.Allow("canary-github", double.Write)
	deps := sink.Deps{
		Getenv: func(n string) string { return map[string]string{"GITHUB_API_URL": github.URL}[n] },
		GitHub: func(api string) (*githubapi.Client, error) {
			return githubapi.New(githubapi.Config{API: api, Token: grant.NewSecret("canary-github"), Transport: oauth.NewTransport(oauth.DiscoverConfig{})})
		},
	}
	for url, where := range map[string]string{
		"ghsecret:acme/widgets/api_token":                  "acme/widgets",
		"ghsecret:acme/widgets/API_TOKEN?environment=prod": "acme/widgets:prod",
		"ghsecret:acme/widgets/other?api=" + github.URL:    "acme/widgets",
	} {
		s, err := sink.Open(url, deps)
		if err != nil {
			t.Fatalf("%s: %v", url, err)
		}
		if err := s.Deliver(t.Context(), grant.AccessToken{Value: grant.NewSecret(canary)}); err != nil {
			t.Fatalf("%s: %v", url, err)
		}
		name := "API_TOKEN"
		if strings.Contains(url, "other") {
			name = "OTHER"
		}
		if got, ok := github.Value(where, name); !ok || got != canary {
			t.Errorf("%s: the secret %s of %s is there: %v", url, name, where, ok)
		}
	}
	for _, v := range github.Violations() {
		t.Errorf("GitHub's description: %s", v)
	}
}

// TestGitHubSecretOfTheStore: an access token is never put over the record.
func TestGitHubSecretOfTheStore(t *testing.T) {
	t.Parallel()
	deps := sink.Deps{
		Getenv: func(string) string { return "" }, Store: "ghsecret:api.github.com/acme/widgets/GRANT",
		GitHub: func(api string) (*githubapi.Client, error) {
			return githubapi.New(githubapi.Config{API: api, Token: grant.NewSecret("canary"), Transport: http.DefaultTransport})
		},
	}
	for url, says := range map[string]string{
		"ghsecret:Acme/Widgets/grant":                       "keeps the record",
		"ghsecret:acme/widgets/GRANT_evergrant_probe":       "proves that it can write",
		"ghsecret:acme/widgets/GRANT_2":                     "",
		"ghsecret:acme/widgets/GRANT?environment=prod":      "",
		"ghsecret:acme/widgets/GRANT?api=https://x.example": "",
	} {
		_, err := sink.Open(url, deps)
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", url, err, says)
		}
	}
	refused := errors.New("no token for you")
	deps.GitHub = func(string) (*githubapi.Client, error) { return nil, refused }
	if _, err := sink.Open("ghsecret:acme/widgets/OTHER", deps); !errors.Is(err, refused) {
		t.Errorf("%v, want why there is no client", err)
	}
}
