package simulator_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/simulator"
)

const (
	verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636 appendix B
	redirect = "http://127.0.0.1:43210/callback"
)

// challenge is derived here and not taken from the server's code.
func challenge(v string) string {
	sum := sha256.Sum256([]byte(v))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// authorize opens /authorize with a good request, changed by pairs; an empty
// value removes a parameter.
func (p peer) authorize(t *testing.T, pairs ...string) got {
	t.Helper()
	q := url.Values{
		"response_type": {"code"}, "client_id": {simulator.DefaultClient}, "redirect_uri": {redirect}, "state": {"s t&te"},
		"scope": {"read write"}, "code_challenge": {challenge(verifier)}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(pairs); i += 2 {
		q.Del(pairs[i])
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return p.do(t, http.MethodGet, "/authorize?"+q.Encode(), "", "", nil)
}

// returned reads what the browser takes back to the client.
func (g got) returned(t *testing.T) url.Values {
	t.Helper()
	u, err := url.Parse(g.header.Get("Location"))
	if g.status != http.StatusFound || err != nil {
		t.Fatalf("no redirect but %d: %s", g.status, g.body)
	}
	return u.Query()
}

func (p peer) code(t *testing.T, code string, pairs ...string) got {
	t.Helper()
	v := map[string]string{
		"grant_type": "authorization_code", "client_id": simulator.DefaultClient, "code": code, "redirect_uri": redirect, "code_verifier": verifier,
	}
	for i := 0; i < len(pairs); i += 2 {
		v[pairs[i]] = pairs[i+1]
	}
	var flat []string
	for name, value := range v {
		flat = append(flat, name, value)
	}
	return p.form(t, "/token", flat...)
}

func TestCodeFlow(t *testing.T) {
	t.Parallel()
	p := start(t, simulator.Config{})
	back := p.authorize(t).returned(t)
	if back.Get("state") != "s t&te" || back.Get("iss") != p.url || back.Get("error") != "" {
		t.Fatalf("the browser takes back %v", back)
	}
	g := p.code(t, back.Get("code"))
	if g.status != http.StatusOK || g.text("scope") != "read write" || !p.opens(t, g.text("access_token")) {
		t.Fatalf("the code gets %d %s", g.status, g.body)
	}
	next := p.refresh(t, g.text("refresh_token"))
	if next.status != http.StatusOK {
		t.Errorf("the refresh token gets %d", next.status)
	}
	if again := p.code(t, back.Get("code")); again.text("error") != "invalid_grant" {
		t.Errorf("the code comes twice and gets %d", again.status)
	}
	if p.Usable(grant.NewSecret(next.text("refresh_token"))) || p.opens(t, next.text("access_token")) {
		t.Error("a code that comes twice does not end its family")
	}
}

func TestCodeIsRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		pairs []string
		late  time.Duration
		code  string
		spent bool // a good request afterwards fails too
	}{
		{"wrong verifier", []string{"code_verifier", strings.Repeat("a", 43)}, 0, "invalid_grant", true},
		{"short verifier", []string{"code_verifier", "short"}, 0, "invalid_grant", true},
		{"no verifier", []string{"code_verifier", ""}, 0, "invalid_request", false},
		{"no code", []string{"code", ""}, 0, "invalid_request", false},
		{"unknown code", []string{"code", "x"}, 0, "invalid_grant", false},
		{"another redirect", []string{"redirect_uri", "http://127.0.0.1:1/callback"}, 0, "invalid_grant", true},
		{"another client", []string{"client_id", "other"}, 0, "invalid_grant", false},
		{"too late", nil, time.Minute, "invalid_grant", true},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, simulator.Config{Now: func() time.Time { return epoch }, Clients: []simulator.Client{
				{ID: simulator.DefaultClient, Redirects: []string{"http://127.0.0.1/callback"}}, {ID: "other"}}})
			code := p.authorize(t).returned(t).Get("code")
			p.Advance(tc.late)
			if g := p.code(t, code, tc.pairs...); g.text("error") != tc.code {
				t.Errorf("gets %d %q, want %q", g.status, g.text("error"), tc.code)
			}
			if g := p.code(t, code); (g.status == http.StatusOK) == tc.spent {
				t.Errorf("afterwards the code gets %d", g.status)
			}
		})
	}
}

func TestAuthorizeRefuses(t *testing.T) {
	t.Parallel()
	p := start(t, simulator.Config{Clients: []simulator.Client{{ID: simulator.DefaultClient, Scope: []string{"read", "write"},
		Redirects: []string{"http://127.0.0.1/callback", "http://[::1]/callback", "http://localhost:1/callback", "https://app.example/cb?x=1", "/callback"}}}})
	tests := []struct {
		name        string
		redirect    string
		pairs       []string
		page        bool   // told to the person
		code        string // told to the client; "": it works
		destination string
	}{
		{"another port", "http://127.0.0.1:9/callback", nil, false, "", "127.0.0.1:9"},
		{"no port", "http://127.0.0.1/callback", nil, false, "", "127.0.0.1"},
		{"version 6", "http://[::1]:9/callback", nil, false, "", "[::1]:9"},
		{"registered exactly", "https://app.example/cb?x=1", nil, false, "", "app.example"},
		{"the page for pasting", p.url + "/callback", nil, false, "", strings.TrimPrefix(p.url, "http://")},
		{"the name localhost has no free port", "http://localhost:2/callback", nil, true, "", ""},
		{"another path", "http://127.0.0.1:9/elsewhere", nil, true, "", ""},
		{"another host", "https://evil.example/cb?x=1", nil, true, "", ""},
		{"a port where none is free", "https://app.example:9/cb?x=1", nil, true, "", ""},
		{"user in the address", "http://127.0.0.1@evil.example/callback", nil, true, "", ""},
		{"no redirect", "", nil, true, "", ""},
		{"unknown client", redirect, []string{"client_id", "nobody"}, true, "", ""},
		{"implicit flow", redirect, []string{"response_type", "token"}, false, "unsupported_response_type", ""},
		{"no challenge", redirect, []string{"code_challenge", ""}, false, "invalid_request", ""},
		{"plain challenge", redirect, []string{"code_challenge_method", "plain"}, false, "invalid_request", ""},
		{"no challenge method", redirect, []string{"code_challenge_method", ""}, false, "invalid_request", ""},
		{"too much scope", redirect, []string{"scope", "read admin"}, false, "invalid_scope", ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := p.authorize(t, append([]string{"redirect_uri", tc.redirect}, tc.pairs...)...)
			if tc.page {
				if g.status != http.StatusBadRequest || g.header.Get("Location") != "" {
					t.Errorf("gets %d to %q", g.status, g.header.Get("Location"))
				}
				return
			}
			back := g.returned(t)
			if back.Get("error") != tc.code || (back.Get("code") != "") != (tc.code == "") || back.Get("state") == "" {
				t.Errorf("takes back %v", back)
			}
			if u, err := url.Parse(g.header.Get("Location")); err != nil || tc.destination != "" && u.Host != tc.destination {
				t.Errorf("goes to %q", u.Host)
			}
		})
	}
	if g := p.do(t, http.MethodDelete, "/authorize", "", "", nil); g.status != http.StatusMethodNotAllowed {
		t.Errorf("DELETE gets %d", g.status)
	}
	if g := p.do(t, http.MethodGet, "/authorize?state=a&state=b", "", "", nil); g.status != http.StatusBadRequest {
		t.Errorf("a repeated parameter gets %d", g.status)
	}
}

func TestAPersonDecides(t *testing.T) {
	t.Parallel()
	p := start(t, simulator.Config{Approve: simulator.ApproveAsk})
	form := regexp.MustCompile(`name="request" value="([^"]+)"`)
	for decision, want := range map[string]string{"approve": "code", "deny": "error"} {
		g := p.authorize(t, "scope", `<script>`)
		m := form.FindStringSubmatch(g.body)
		if g.status != http.StatusOK || m == nil || strings.Contains(g.body, "<script>") {
			t.Fatalf("the page answers %d: %s", g.status, g.body)
		}
		back := p.form(t, "/authorize", "request", m[1], "decision", decision)
		if v := back.returned(t); v.Get(want) == "" || want == "error" && v.Get("error") != "access_denied" {
			t.Errorf("%s takes back %v", decision, v)
		}
		if again := p.form(t, "/authorize", "request", m[1], "decision", decision); again.status != http.StatusBadRequest {
			t.Errorf("the form is answered twice and gets %d", again.status)
		}
	}
	denied := start(t, simulator.Config{Approve: simulator.ApproveDeny})
	if v := denied.authorize(t).returned(t); v.Get("error") != "access_denied" {
		t.Errorf("a provider that denies takes back %v", v)
	}
}

func TestCallbackShowsTheCode(t *testing.T) {
	t.Parallel()
	p := start(t, simulator.Config{})
	at := p.url + "/callback"
	back := p.authorize(t, "redirect_uri", at)
	g := p.do(t, http.MethodGet, strings.TrimPrefix(back.header.Get("Location"), p.url), "", "", nil)
	m := regexp.MustCompile(`<pre id="code">([^#]+)#([^<]*)</pre>`).FindStringSubmatch(g.body)
	if m == nil || m[2] != "s t&amp;te" {
		t.Fatalf("the page is %s", g.body)
	}
	if a := p.code(t, m[1], "redirect_uri", at); a.status != http.StatusOK {
		t.Errorf("the pasted code gets %d", a.status)
	}
	if g := p.do(t, http.MethodGet, "/callback?error=%3Cb%3E", "", "", nil); !strings.Contains(g.body, "&lt;b&gt;") {
		t.Errorf("the page is %s", g.body)
	}
}
