package store_test

import (
	"net/http"
	"strings"
	"testing"

	"evergrant/internal/grant"
	"evergrant/internal/record"
	"evergrant/internal/store"
)

// A GitHub secret's place is where it is, however it is written, and takes its API
// from the job.
func TestGitHubInAJob(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		url     string
		env     map[string]string
		place   string
		refused string
		token   string
	}{
		"github.com":  {url: "ghsecret:Acme/Widgets/grant?env=VAR", place: "ghsecret:api.github.com/acme/widgets/GRANT"},
		"enterprise":  {url: "ghsecret:acme/widgets/GRANT?env=VAR", env: map[string]string{"GITHUB_API_URL": "https://ghe.example/api/v3"}, place: "ghsecret:ghe.example/api/v3/acme/widgets/GRANT"},
		"by its URL":  {url: "ghsecret:acme/widgets/GRANT?env=VAR&api=https://api.github.com", env: map[string]string{"GITHUB_API_URL": "https://ghe.example/api/v3"}, place: "ghsecret:api.github.com/acme/widgets/GRANT"},
		"environment": {url: "ghsecret:acme/widgets/GRANT?env=VAR&environment=Prod", place: "ghsecret:api.github.com/acme/widgets/prod/GRANT"},
		"a liar":      {url: "ghsecret:acme/widgets/GRANT?env=VAR", env: map[string]string{"GITHUB_API_URL": "http://u:pw@ghe.example"}, refused: "GITHUB_API_URL"},
		"no token":    {url: "ghsecret:acme/widgets/GRANT?env=VAR", token: "-", refused: "no GitHub token"},
		"half a one":  {url: "ghsecret:acme/widgets/GRANT?env=VAR", token: "pw\npw", refused: "line break"},
	} {
		l, err := store.Parse(tt.url)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		token := grant.NewSecret("pw")
		switch tt.token {
		case "":
		case "-":
			token = grant.Secret{}
		default:
			token = grant.NewSecret(tt.token)
		}
		l, err = l.In(store.Surroundings{Getenv: func(n string) string { return tt.env[n] }, GitHubToken: token, Transport: http.DefaultTransport})
		switch {
		case tt.refused == "" && (err != nil || l.Place() != tt.place || l.Variable() != "VAR"):
			t.Errorf("%s: %s in %s, %v, want %s", name, l.Place(), l.Variable(), err, tt.place)
		case tt.refused != "" && (err == nil || !strings.Contains(err.Error(), tt.refused) || strings.Contains(err.Error(), "pw") || strings.Contains(err.Error(), "\n")):
			t.Errorf("%s: %v, want a refusal with %q and without the token", name, err, tt.refused)
		}
	}
}

// The snapshot is a start while it is a bare token.
func TestGitHubSeed(t *testing.T) {
	t.Parallel()
	for value, bare := range map[string]bool{"": false, "canary-token": true, `{"evergrant":1}`: false} {
		l, err := store.Parse("ghsecret:acme/widgets/GRANT?env=VAR")
		if err != nil {
			t.Fatal(err)
		}
		l, err = l.In(store.Surroundings{
			Getenv: func(n string) string { return map[string]string{"VAR": value}[n] }, GitHubToken: grant.NewSecret("pw"), Transport: http.DefaultTransport,
		})
		if err != nil {
			t.Fatal(err)
		}
		if !l.Seed().IsZero() != bare || bare && !l.Seed().Equal(grant.NewSecret(value)) {
			t.Errorf("%q: a start: %v, want %v", value, !l.Seed().IsZero(), bare)
		}
		plain, err := record.NewCodec(grant.Secret{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Open(plain); err == nil {
			t.Error("a store that seals nothing was opened")
		}
	}
}
