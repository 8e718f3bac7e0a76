package simulator_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"evergrant/internal/grant"
	"evergrant/internal/simulator"
)

const hardSecret = `a:b/c+d%e f&g=h`

func basic(id, secret string) http.Header {
	return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))}}
}

func TestClientAuthentication(t *testing.T) {
	t.Parallel()
	p := start(t, simulator.Config{Clients: []simulator.Client{
		{ID: "public"},
		{ID: "ba:sic", Secret: grant.NewSecret(hardSecret)},
		{ID: "post", Auth: simulator.AuthPost, Secret: grant.NewSecret(hardSecret)},
	}})
	encoded := basic(url.QueryEscape("ba:sic"), url.QueryEscape(hardSecret))
	tests := []struct {
		name, client string
		header       http.Header
		pairs        []string
		code         string // "": tokens come
	}{
		{"public", "public", nil, []string{"client_id", "public"}, ""},
		{"public without client_id", "public", nil, nil, "invalid_client"},
		{"public with a secret", "public", nil, []string{"client_id", "public", "client_secret", "x"}, "invalid_client"},
		{"public by Basic", "public", basic("public", ""), nil, "invalid_client"},
		{"unknown client", "public", nil, []string{"client_id", "nobody"}, "invalid_client"},
		{"basic", "ba:sic", encoded, nil, ""},
		{"basic with its client_id", "ba:sic", encoded, []string{"client_id", "ba:sic"}, ""},
		{"basic with another client_id", "ba:sic", encoded, []string{"client_id", "public"}, "invalid_client"},
		{"basic, secret not encoded", "ba:sic", basic("ba%3Asic", hardSecret), nil, "invalid_client"},
		{"basic, only half of the marks encoded", "ba:sic", basic("ba%3Asic", "a:b/c%2Bd%25e+f%26g%3Dh"), nil, "invalid_client"},
		{"basic, wrong secret", "ba:sic", basic("ba%3Asic", "wrong"), nil, "invalid_client"},
		{"basic, bad base64", "ba:sic", http.Header{"Authorization": {"Basic !!!"}}, nil, "invalid_client"},
		{"basic, no colon", "ba:sic", http.Header{"Authorization": {"Basic YQ=="}}, nil, "invalid_client"},
		{"another scheme", "ba:sic", http.Header{"Authorization": {"Bearer x"}}, nil, "invalid_client"},
		{"basic client by post", "ba:sic", nil, []string{"client_id", "ba:sic", "client_secret", hardSecret}, "invalid_client"},
		{"basic client without secret", "ba:sic", nil, []string{"client_id", "ba:sic"}, "invalid_client"},
		{"post", "post", nil, []string{"client_id", "post", "client_secret", hardSecret}, ""},
		{"post, wrong secret", "post", nil, []string{"client_id", "post", "client_secret", "wrong"}, "invalid_client"},
		{"post client by basic", "post", basic("post", url.QueryEscape(hardSecret)), nil, "invalid_client"},
		{"both at once", "ba:sic", encoded, []string{"client_id", "ba:sic", "client_secret", hardSecret}, "invalid_request"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r, err := p.IssueFamily(tc.client)
			if err != nil {
				t.Fatal(err)
			}
			pairs := append([]string{"grant_type", "refresh_token", "refresh_token", r.Refresh.Reveal()}, tc.pairs...)
			g := p.do(t, http.MethodPost, "/token", formType, formBody(pairs...), tc.header)
			if g.text("error") != tc.code || (g.status == http.StatusOK) != (tc.code == "") {
				t.Errorf("answers %d %q, want %q", g.status, g.text("error"), tc.code)
			}
			if shown := len(p.Presentations(r.Refresh.Digest())); (shown == 1) != (tc.code == "") {
				t.Errorf("the ledger has %d presentations", shown)
			}
			challenged := g.header.Get("WWW-Authenticate") != ""
			if challenged != (tc.code == "invalid_client" && tc.header != nil) {
				t.Errorf("WWW-Authenticate present: %v", challenged)
			}
		})
	}
}

func TestClientAssertion(t *testing.T) {
	t.Parallel()
	key, other := newKey(t), newKey(t)
	now := time.Now()
	p := start(t, simulator.Config{
		Clients: []simulator.Client{{ID: "jwt", Verify: verifiedBy(key)}, {ID: "public"}},
		Now:     func() time.Time { return now },
	})
	good := func() jwt.Claims {
		return jwt.Claims{
			Issuer: "jwt", Subject: "jwt", Audience: jwt.Audience{p.url + "/token"}, ID: rand.Text(),
			IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Minute)),
		}
	}
	tests := []struct {
		name   string
		key    *ecdsa.PrivateKey
		change func(*jwt.Claims)
		pairs  []string
		ok     bool
	}{
		{"token endpoint as audience", key, func(*jwt.Claims) {}, nil, true},
		{"issuer as audience", key, func(c *jwt.Claims) { c.Audience = jwt.Audience{p.url} }, nil, true},
		{"with client_id", key, func(*jwt.Claims) {}, []string{"client_id", "jwt"}, true},
		{"with another client_id", key, func(*jwt.Claims) {}, []string{"client_id", "public"}, false},
		{"another key", other, func(*jwt.Claims) {}, nil, false},
		{"another audience", key, func(c *jwt.Claims) { c.Audience = jwt.Audience{"https://example.com/token"} }, nil, false},
		{"another issuer", key, func(c *jwt.Claims) { c.Issuer = "public" }, nil, false},
		{"another subject", key, func(c *jwt.Claims) { c.Subject = "public" }, nil, false},
		{"over", key, func(c *jwt.Claims) { c.Expiry = jwt.NewNumericDate(now.Add(-2 * time.Minute)) }, nil, false},
		{"for too long", key, func(c *jwt.Claims) { c.Expiry = jwt.NewNumericDate(now.Add(2 * time.Hour)) }, nil, false},
		{"without end", key, func(c *jwt.Claims) { c.Expiry = nil }, nil, false},
		{"without id", key, func(c *jwt.Claims) { c.ID = "" }, nil, false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r, err := p.IssueFamily("jwt")
			if err != nil {
				t.Fatal(err)
			}
			claims := good()
			tc.change(&claims)
			pairs := append([]string{"grant_type", "refresh_token", "refresh_token", r.Refresh.Reveal(),
				"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
				"client_assertion", sign(t, tc.key, claims)}, tc.pairs...)
			g := p.form(t, "/token", pairs...)
			if (g.status == http.StatusOK) != tc.ok || !tc.ok && g.text("error") != "invalid_client" {
				t.Fatalf("answers %d %q", g.status, g.text("error"))
			}
			if !tc.ok {
				return
			}
			pairs[3] = g.text("refresh_token")
			if again := p.form(t, "/token", pairs...); again.text("error") != "invalid_client" {
				t.Errorf("a repeated assertion gets %d %q", again.status, again.text("error"))
			}
		})
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// verifiedBy holds assertions to a key by a library of others.
func verifiedBy(key *ecdsa.PrivateKey) func(string) ([]byte, error) {
	return func(assertion string) ([]byte, error) {
		signed, err := jose.ParseSigned(assertion, []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			return nil, err
		}
		return signed.Verify(key.Public())
	}
}

func sign(t *testing.T, key *ecdsa.PrivateKey, claims jwt.Claims) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestRequestsAreReadStrictly(t *testing.T) {
	t.Parallel()
	both := start(t, simulator.Config{})
	forms := start(t, simulator.Config{Wire: simulator.Wire{Body: simulator.BodyForm}})
	jsons := start(t, simulator.Config{Wire: simulator.Wire{Body: simulator.BodyJSON}})
	const form = "grant_type=refresh_token&client_id=" + simulator.DefaultClient + "&refresh_token=TOKEN"
	const object = `{"grant_type":"refresh_token","client_id":"` + simulator.DefaultClient + `","refresh_token":"TOKEN","expires_in":1}`
	tests := []struct {
		name        string
		p           peer
		method      string
		query       string
		contentType string
		body        string
		code        string
	}{
		{"form", both, "POST", "", formType, form, ""},
		{"form with charset", both, "POST", "", formType + "; charset=UTF-8", form, ""},
		{"JSON", both, "POST", "", jsonType, object, ""},
		{"form where forms are taken", forms, "POST", "", formType, form, ""},
		{"JSON where forms are taken", forms, "POST", "", jsonType, object, "invalid_request"},
		{"form where JSON is taken", jsons, "POST", "", formType, form, "invalid_request"},
		{"JSON where JSON is taken", jsons, "POST", "", jsonType, object, ""},
		{"GET", both, "GET", "?" + form, formType, "", "invalid_request"},
		{"token in the URL", both, "POST", "?refresh_token=TOKEN", formType, form, "invalid_request"},
		{"no content type", both, "POST", "", "", form, "invalid_request"},
		{"JSON called a form", both, "POST", "", formType, object, "invalid_client"},
		{"form called JSON", both, "POST", "", jsonType, form, "invalid_request"},
		{"parameter twice", both, "POST", "", formType, form + "&refresh_token=TOKEN", "invalid_request"},
		{"member twice", both, "POST", "", jsonType, strings.Replace(object, "{", `{"grant_type":"x",`, 1), "invalid_request"},
		{"two objects", both, "POST", "", jsonType, object + object, "invalid_request"},
		{"an array", both, "POST", "", jsonType, "[" + object + "]", "invalid_request"},
		{"half an object", both, "POST", "", jsonType, object[:len(object)-3], "invalid_request"},
		{"bad escape", both, "POST", "", formType, form + "&x=%zz", "invalid_request"},
		{"too large", both, "POST", "", formType, form + "&x=" + strings.Repeat("a", 64<<10), "invalid_request"},
		{"no grant type", both, "POST", "", formType, strings.Replace(form, "grant_type", "x", 1), "invalid_request"},
		{"an empty grant type", both, "POST", "", formType, strings.Replace(form, "=refresh_token&", "=&", 1), "invalid_request"},
		{"no token", both, "POST", "", formType, strings.Replace(form, "TOKEN", "", 1), "invalid_request"},
		{"unknown grant type", both, "POST", "", formType, strings.Replace(form, "=refresh_token&", "=password&", 1), "unsupported_grant_type"},
		{"more scope than granted", both, "POST", "", formType, form + "&scope=read+write", "invalid_scope"},
		{"the scope that was granted", both, "POST", "", formType, form + "&scope=read", ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, token, _ := tc.p.family(t)
			fill := func(s string) string { return strings.ReplaceAll(s, "TOKEN", token) }
			g := tc.p.do(t, tc.method, "/token"+fill(tc.query), tc.contentType, fill(tc.body), nil)
			if g.err != nil || g.text("error") != tc.code || (g.status == http.StatusOK) != (tc.code == "") {
				t.Errorf("answers %d %q (%v), want %q", g.status, g.text("error"), g.err, tc.code)
			}
			if tc.code != "" && !tc.p.Usable(grant.NewSecret(token)) {
				t.Error("the refused request spent the token")
			}
			if strings.Contains(g.body, token) && tc.code != "" {
				t.Error("the refusal repeats the token")
			}
		})
	}
}
