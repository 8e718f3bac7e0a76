package oauth_test

import (
	"net/url"
	"strings"
	"testing"

	"evergrant/internal/oauth"
)

// FuzzMetadata: a discovery document is refused in one line, or names a token
// endpoint of the issuer that was asked for, to which a token may go.
func FuzzMetadata(f *testing.F) {
	const issuer = "https://issuer.example"
	const good = `{"issuer":"https://issuer.example","token_endpoint":"https://issuer.example/token","scopes_supported":["openid"]}`
	for _, s := range []string{
		"", "{}", "[]", "null", good, good[:60], good + good, strings.Replace(good, "https://issuer.example/token", "http://issuer.example/token", 1),
		strings.Replace(good, "https://issuer.example/token", "https://user:pass@issuer.example/token#x", 1),
		strings.Replace(good, `["openid"]`, `"openid"`, 1), strings.Replace(good, `["openid"]`, `[1,null,{}]`, 1),
		strings.Replace(good, "{", `{"issuer":"https://other.example",`, 1), strings.Replace(good, "issuer.example\"", "issuer.example/\"", 1),
		strings.Replace(good, "/token", `/\u0000\n`, 1), strings.Replace(good, `"https://issuer.example/token"`, `{"a":[[[[]]]]}`, 1),
	} {
		f.Add([]byte(s))
	}
	address, err := url.Parse(issuer + "/.well-known/openid-configuration")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := oauth.ParseMetadata(body, issuer, address)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r\x1b") {
				t.Errorf("not one line: %q", err)
			}
			return
		}
		u, perr := url.Parse(m.TokenEndpoint)
		if m.Issuer != issuer || perr != nil || u.Scheme != "https" || u.User != nil || u.Fragment != "" || u.Host == "" {
			t.Errorf("issuer %q, token endpoint %q", m.Issuer, m.TokenEndpoint)
		}
	})
}
