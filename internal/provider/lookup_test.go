package provider_test

import (
	"slices"
	"strings"
	"testing"

	"evergrant/internal/provider"
)

func TestLookup(t *testing.T) {
	t.Parallel()
	want := []string{
		"airtable", "atlassian", "auth0", "box", "claude", "codex", "cognito", "dex", "discord", "dropbox",
		"github-app", "gitlab", "google", "hubspot", "keycloak", "linear", "linkedin", "microsoft", "notion", "okta",
		"ory", "quickbooks", "salesforce", "slack", "spotify", "twitch", "x", "xero", "zoho", "zoom",
	}
	if got := provider.Names(); !slices.Equal(got, want) {
		t.Fatalf("Names() = %v, want %v", got, want)
	}
	for _, name := range want {
		p, err := provider.Lookup(name)
		if err != nil {
			t.Errorf("Lookup(%q): %v", name, err)
		} else if p.Name != name {
			t.Errorf("Lookup(%q) is named %q inside", name, p.Name)
		}
	}
}

func TestLookupUnknown(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, want string }{
		{"claud", `no preset "claud"; did you mean claude?`},
		{"Claude", `no preset "Claude"; did you mean claude?`},
		{"github", `no preset "github"; did you mean github-app?`},
		{"jira", `no preset "jira"; did you mean atlassian?`},
		{"openai", `no preset "openai"; did you mean codex?`},
		{"goggle", `no preset "goggle"; did you mean google?`},
		{"twitter", `no preset "twitter"; did you mean x?`},
		{"xeroo", `no preset "xeroo"; did you mean xero?`},
		{"hydra", `no preset "hydra"; did you mean ory?`},
		{"../presets/claude", `no preset "../presets/claude"; there are airtable, atlassian, `},
		{"zzz", `no preset "zzz"; there are airtable, atlassian, `},
		{"", `no preset ""; there are `},
		{"sk-ant-ort01-" + strings.Repeat("x", 60), "no preset of 73 characters; there are "},
	} {
		_, err := provider.Lookup(c.name)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("Lookup(%q) = %v, want an error that starts with %s", c.name, err, c.want)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	for b.Loop() {
		if _, err := provider.Lookup("claude"); err != nil {
			b.Fatal(err)
		}
	}
}
