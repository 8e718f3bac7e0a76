package provider_test

import (
	"maps"
	"reflect"
	"strings"
	"testing"

	"evergrant/internal/grant"
	"evergrant/internal/provider"
)

func TestResolve(t *testing.T) {
	t.Parallel()
	e, err := presets(t)["okta"].Resolve(provider.Settings{
		ClientID: "me", HasSecret: true, Auth: "post", Body: "json", Scope: "a b",
		Params: map[string]string{"domain": "example.okta.com", "server": "own", "audience": "api"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := provider.Endpoint{
		Provider: "okta", TokenURL: "https://example.okta.com/oauth2/own/v1/token", ClientID: "me",
		Auth: provider.AuthPost, Body: provider.BodyJSON, Scope: "a b", ScopeSeparator: " ",
		Params: map[string]string{"audience": "api"}, Headers: map[string]string{"Accept": "application/json"},
		Codes:    map[string]grant.Fate{"invalid_grant": grant.Rejected, "invalid_client": grant.Refused},
		Statuses: map[int]grant.Fate{},
	}
	if !reflect.DeepEqual(e, want) {
		t.Errorf("got  %+v\nwant %+v", e, want)
	}
	if got := (grant.Binding{TokenURL: want.TokenURL, ClientID: "me"}); e.Bind() != got {
		t.Errorf("bind is %+v", e.Bind())
	}
}

func TestResolveChoices(t *testing.T) {
	t.Parallel()
	all := presets(t)
	all["custom"] = provider.Custom()
	const at = "http://127.0.0.1:8080/token"
	for _, c := range []struct {
		name, preset         string
		s                    provider.Settings
		url, id, auth, scope string
	}{
		{"public client", "claude", provider.Settings{}, "https://platform.claude.com/v1/oauth/token", "9d1c250a-e61b-44d9-88ed-5944d1962f5e", "none", ""},
		{"token url wins", "claude", provider.Settings{TokenURL: at}, at, "9d1c250a-e61b-44d9-88ed-5944d1962f5e", "none", ""},
		{"own client id with a secret", "claude", provider.Settings{ClientID: "mine", HasSecret: true}, "https://platform.claude.com/v1/oauth/token", "mine", "client_secret_basic", ""},
		{"preset's method", "gitlab", provider.Settings{ClientID: "a", HasSecret: true}, "https://gitlab.com/oauth/token", "a", "client_secret_post", ""},
		{"user's method", "gitlab", provider.Settings{ClientID: "a", HasSecret: true, Auth: "basic"}, "https://gitlab.com/oauth/token", "a", "client_secret_basic", ""},
		{"no secret", "gitlab", provider.Settings{ClientID: "a"}, "https://gitlab.com/oauth/token", "a", "none", ""},
		{"key", "okta", provider.Settings{ClientID: "a", HasKey: true, Params: map[string]string{"domain": "d.example:8443"}}, "https://d.example:8443/oauth2/default/v1/token", "a", "private_key_jwt", ""},
		{"placeholder not needed", "okta", provider.Settings{ClientID: "a", TokenURL: at}, at, "a", "none", ""},
		{"custom", "custom", provider.Settings{TokenURL: at, Scope: "x"}, at, "", "none", "x"},
		{"custom with secret", "custom", provider.Settings{TokenURL: at, ClientID: "a", HasSecret: true}, at, "a", "client_secret_basic", ""},
	} {
		e, err := all[c.preset].Resolve(c.s)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if e.TokenURL != c.url || e.ClientID != c.id || e.Auth != c.auth || e.Scope != c.scope {
			t.Errorf("%s: %+v", c.name, e)
		}
	}
}

func TestResolveErrors(t *testing.T) {
	t.Parallel()
	all := presets(t)
	all["custom"] = provider.Custom()
	param := func(k, v string) map[string]string { return map[string]string{k: v} }
	for _, c := range []struct {
		preset string
		s      provider.Settings
		want   string
	}{
		{"claude", provider.Settings{TokenURL: "https://console.anthropic.com/v1/oauth/token"}, "token host console.anthropic.com is retired (it answers a refresh with HTTP 404 since June 2026): use https://platform.claude.com/v1/oauth/token, or leave --token-url out"},
		{"claude", provider.Settings{TokenURL: "https://Console.Anthropic.com.:443/v1/oauth/token"}, "token host console.anthropic.com is retired"},
		{"claude", provider.Settings{TokenURL: "http://example.com/token"}, "token URL must be https, or http on a loopback address"},
		{"claude", provider.Settings{TokenURL: "https://user@example.com/token"}, "token URL must have no user and no fragment"},
		{"claude", provider.Settings{TokenURL: "platform.claude.com"}, "token URL is no absolute URL"},
		{"claude", provider.Settings{HasSecret: true}, "preset claude is a public client and takes no client secret or key"},
		{"claude", provider.Settings{Body: "xml"}, `--body is "xml"; it must be form or json`},
		{"claude", provider.Settings{Auth: "digest"}, "--client-auth must be one of none, basic, post, private_key_jwt"},
		{"claude", provider.Settings{Params: param("refresh_token", "x")}, `--param "refresh_token" is set by the client itself`},
		{"claude", provider.Settings{Params: param("scope", "x")}, "--param scope: use --scope"},
		{"google", provider.Settings{}, "preset google has no client id of its own: give yours with --client-id"},
		{"slack", provider.Settings{ClientID: "a"}, "preset slack needs a client secret: give --client-secret-env VAR or --client-secret-file PATH"},
		{"gitlab", provider.Settings{ClientID: "a", Auth: "post"}, "client authentication client_secret_post needs a secret"},
		{"gitlab", provider.Settings{ClientID: "a", Auth: "private_key_jwt"}, "client authentication private_key_jwt needs a signing key"},
		{"gitlab", provider.Settings{ClientID: "a", Auth: "none", HasSecret: true}, "client authentication none, and yet a client secret"},
		{"gitlab", provider.Settings{ClientID: "a", HasSecret: true, HasKey: true}, "a client has a secret or a signing key, not both"},
		{"microsoft", provider.Settings{ClientID: "a"}, "preset microsoft needs tenant: add --param tenant=... (tenant id or domain of your app, or common, organizations, consumers)"},
		{"microsoft", provider.Settings{ClientID: "a", Params: param("tenant", "a/b")}, "--param tenant must be one path segment"},
		{"microsoft", provider.Settings{ClientID: "a", Params: param("tenant", "..")}, "--param tenant must be one path segment"},
		{"okta", provider.Settings{ClientID: "a"}, "preset okta needs domain: add --param domain=... (host name of your organization, such as example.okta.com)"},
		{"okta", provider.Settings{ClientID: "a", Params: param("domain", "https://example.okta.com")}, "--param domain must be a host name alone, without scheme and path"},
		{"okta", provider.Settings{ClientID: "a", Params: param("domain", "me@evil.example")}, "--param domain must be a host name such as example.com"},
		{"okta", provider.Settings{ClientID: "a", Params: param("domain", "example.com:0")}, "--param domain must be a host name, with a port"},
		{"okta", provider.Settings{ClientID: "a", Params: param("domain", "example.com#")}, "--param domain must be a host name such as"},
		{"okta", provider.Settings{ClientID: "a", Params: param("domain", "")}, "preset okta needs domain"},
		{"okta", provider.Settings{ClientID: "a", TokenURL: "https://example.com/t", Params: param("domain", "x.example")}, "--param domain has no effect beside --token-url"},
		{"custom", provider.Settings{}, "no token endpoint: give --token-url, --issuer or --provider"},
	} {
		_, err := all[c.preset].Resolve(c.s)
		switch {
		case err == nil || !strings.HasPrefix(err.Error(), c.want):
			t.Errorf("%s, %+v: %v, want %s", c.preset, c.s, err, c.want)
		case strings.Contains(err.Error(), "\n"):
			t.Errorf("%s: more than one line: %v", c.preset, err)
		}
	}
}

// TestResolveSharesNothing: what one grant's endpoint is changed to must not
// reach another's.
func TestResolveSharesNothing(t *testing.T) {
	t.Parallel()
	p := presets(t)["github-app"]
	first, err := p.Resolve(provider.Settings{ClientID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	before := maps.Clone(first.Headers)
	first.Headers["X"], first.Params["y"], first.Codes["z"] = "x", "y", grant.Unspent
	second, err := p.Resolve(provider.Settings{ClientID: "a"})
	if err != nil || !maps.Equal(second.Headers, before) || len(second.Params) != 0 || second.Codes["z"] != grant.InDoubt {
		t.Errorf("%+v, %v", second, err)
	}
}

func TestCustomIsCautious(t *testing.T) {
	t.Parallel()
	if got := provider.Custom().Behaviour(); got != (grant.Behaviour{Rotates: true}) {
		t.Errorf("%+v", got)
	}
	if got := (provider.Preset{}).Behaviour(); got != (grant.Behaviour{Rotates: true}) {
		t.Errorf("the zero preset behaves as %+v", got)
	}
}
