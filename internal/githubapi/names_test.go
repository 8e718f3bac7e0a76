package githubapi_test

import (
	"net/http"
	"strings"
	"testing"

	"evergrant/internal/githubapi"
	"evergrant/internal/grant"
)

func TestParseSecret(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ path, environment, place string }{
		{"acme/widgets/TOKEN", "", "api.github.com/acme/widgets/TOKEN"},
		{"Acme/Widgets.js/Token_2", "", "api.github.com/acme/widgets.js/TOKEN_2"},
		{"a_b/w/_T", "Prod/eu west", "api.github.com/a_b/w/prod%2Feu%20west/_T"},
	} {
		s, err := githubapi.ParseSecret(tt.path, tt.environment)
		if err != nil || s.Place("") != tt.place {
			t.Errorf("%s: %q, %v, want %q", tt.path, s.Place(""), err, tt.place)
		}
		again, err := githubapi.ParseSecret(strings.ToLower(tt.path), strings.ToUpper(tt.environment))
		if err != nil || !s.Same(again) || s.Same(s.Probe()) {
			t.Errorf("%s in other letters is another secret, or is its probe", tt.path)
		}
	}
	for path, says := range map[string]string{
		"": "OWNER/REPO/NAME", "acme": "OWNER/REPO/NAME", "acme/widgets": "OWNER/REPO/NAME", "acme/widgets/a/b": "OWNER/REPO/NAME",
		"/widgets/T": "owner", "ac me/widgets/T": "owner", "acme//T": "name of the repository", "acme/../T": "name of the repository",
		"acme/w?x/T": "name of the repository", "acme/widgets/": "name of a secret", "acme/widgets/1T": "no digit", "acme/widgets/A-B": "name of a secret",
		"acme/widgets/GITHUB_TOKEN": "GITHUB_", "acme/widgets/github_x": "GITHUB_", "acme/widgets/T\n": "name of a secret",
		"acme/widgets/" + strings.Repeat("T", 300): "at most 255",
	} {
		_, err := githubapi.ParseSecret(path, "")
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %q", path, err, says)
		}
	}
	if _, err := githubapi.ParseSecret("acme/widgets/T", "a\nb"); err == nil {
		t.Error("an environment with a line break was taken")
	}
	if _, err := githubapi.ParseSecret("acme/widgets/T", strings.Repeat("e", 256)); err == nil {
		t.Error("an environment with too long a name was taken")
	}
}

func TestParseAPI(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"": "https://api.github.com", "https://API.github.com:443/": "https://api.github.com",
		"https://ghe.example/api/v3/": "https://ghe.example/api/v3", "http://127.0.0.1:80/x": "http://127.0.0.1:80/x", "http://[::1]:8": "http://[::1]:8",
	} {
		if got, err := githubapi.ParseAPI(raw); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", raw, got, err, want)
		}
	}
	for raw, says := range map[string]string{
		"http://ghe.example": "https", "http://127.0.0.1.example": "https", "ftp://x": "https", "api.github.com": "not a URL", "https://": "not a URL",
		"https://u:canary@x": "user name", "https://x?canary": "query", "https://x/#canary": "fragment", "https://x/a b": "not a URL",
		"https://x/\r\nX: y": "not a URL", "canary:opaque": "not a URL",
	} {
		_, err := githubapi.ParseAPI(raw)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %q", raw, err, says)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []githubapi.Config{
		{Transport: http.DefaultTransport},
		{Token: grant.NewSecret(canary)},
		{Token: grant.NewSecret("canary \n"), Transport: http.DefaultTransport},
		{Token: grant.NewSecret(canary), Transport: http.DefaultTransport, API: "http://ghe.example"},
	} {
		if _, err := githubapi.New(c); err == nil || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
