package provider_test

import (
	"slices"
	"strings"
	"testing"

	"evergrant/internal/provider"
)

// TestSignInEndpoints holds every embedded preset to what a sign-in needs: an
// endpoint is complete, the two presets of tools send people to the tool, and
// what the presets leave open is written down.
func TestSignInEndpoints(t *testing.T) {
	t.Parallel()
	var without, tools, loopback, device, revoke []string
	for name, p := range presets(t) {
		params := map[string]string{}
		for v, about := range p.Vars {
			params[v] = map[string]string{provider.KindHost: "sample.example", provider.KindSegment: "sample"}[about.Kind]
		}
		w, err := p.Ways(provider.Settings{Params: params})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, u := range []string{w.AuthorizeURL, w.DeviceURL, w.RevokeURL} {
			if u != "" && (!strings.HasPrefix(u, "https://") || strings.ContainsAny(u, "{} ")) {
				t.Errorf("%s: endpoint %q", name, u)
			}
		}
		for list, is := range map[*[]string]bool{
			&tools: len(w.OwnTool) > 0, &without: w.AuthorizeURL == "" && len(w.OwnTool) == 0, &loopback: w.Redirect == provider.RedirectLoopback,
			&device: w.DeviceURL != "", &revoke: w.RevokeURL != "",
		} {
			if is {
				*list = append(*list, name)
			}
		}
	}
	for _, want := range []struct {
		what  string
		got   []string
		names string
	}{
		{"sign in by their own tool", tools, "claude codex"},
		// Their pages want no PKCE, or it is not known to be taken.
		{"say nothing", without, "linkedin slack"},
		{"take any port", loopback, "google microsoft spotify"},
		{"know devices", device, "auth0 dex github-app gitlab google keycloak microsoft okta ory"},
		{"revoke", revoke, "auth0 box cognito discord gitlab google keycloak okta ory salesforce xero"},
	} {
		slices.Sort(want.got)
		if got := strings.Join(want.got, " "); got != want.names {
			t.Errorf("presets that %s: %s; want %s", want.what, got, want.names)
		}
	}
}

func TestWays(t *testing.T) {
	t.Parallel()
	p := presets(t)["gitlab"]
	w, err := p.Ways(provider.Settings{Params: map[string]string{"host": "git.example:8443"}})
	if err != nil || w.AuthorizeURL != "https://git.example:8443/oauth/authorize" || w.RevokeURL != "https://git.example:8443/oauth/revoke" {
		t.Errorf("gitlab elsewhere: %+v, %v", w, err)
	}
	// A token URL of the user's own is another server: a person must not be sent to
	// the preset's, nor a token.
	w, err = p.Ways(provider.Settings{TokenURL: "https://git.example/sub/oauth/token"})
	if err != nil || w.AuthorizeURL+w.DeviceURL+w.RevokeURL != "" {
		t.Errorf("gitlab by token URL: %+v, %v", w, err)
	}
	w, err = p.Ways(provider.Settings{TokenURL: "https://gitlab.com/oauth/token"})
	if err != nil || w.AuthorizeURL == "" {
		t.Errorf("gitlab by its own token URL: %+v, %v", w, err)
	}
	if w, _ := presets(t)["linear"].Ways(provider.Settings{}); w.Redirect != provider.RedirectFixed {
		t.Errorf("linear: %+v", w)
	}
}

func TestSignInIsChecked(t *testing.T) {
	t.Parallel()
	const head = "name: x\ntitle: X\ntoken_url: https://{host}/token\nvars: {host: {about: a, kind: host}}\nrefresh: {rotates: true}\n"
	for _, c := range []struct{ text, says string }{
		{"sign_in: {authorize_url: 'http://{host}/a'}", "sign_in.authorize_url: must be https"},
		{"sign_in: {device_url: 'https://{other}/a'}", "sign_in.device_url: is no absolute URL"},
		{"sign_in: {revoke_url: 'https://{host}/a#b'}", "sign_in.revoke_url: must have no user and no fragment"},
		{"sign_in: {redirect: anywhere}", `sign_in.redirect: must be one of "loopback", "fixed", "https"`},
		{"sign_in: {redirect_uri: 'http://localhost:1/a'}", "sign_in.redirect_uri: must be http on this machine, without a port"},
		{"sign_in: {params: {state: x}}", "sign_in.params: state is set by the client"},
		{"sign_in: {params: {client_id: x}}", "sign_in.params: client_id is set by the client"},
		{"sign_in: {own_tool: [x], device_url: 'https://{host}/a'}", "sign_in.own_tool: goes with no endpoint"},
	} {
		_, err := provider.Parse([]byte(head+c.text+"\n"), "x.yaml")
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "x.yaml:6:") {
			t.Errorf("%s: %v; want x.yaml:6:… %s", c.text, err, c.says)
		}
	}
}
