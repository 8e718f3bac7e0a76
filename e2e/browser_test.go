//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// login is a consent fresh from the server: the refresh token that evergrant
// starts from, and one that was spent before, for provoking a revocation.
type login struct {
	Refresh string `json:"refresh"`
	Access  string `json:"access"`
	Spent   string `json:"spent"`
}

// consent signs in as a person would, with a real authorization code flow and
// PKCE, and lets openid-client redeem the code and refresh once.
func (s *authServer) consent(t *testing.T, c client) login {
	t.Helper()
	verifier := rand.Text() + rand.Text()
	sum := sha256.Sum256([]byte(verifier))
	callback := s.walk(t, s.issuer+"/auth?"+url.Values{
		"client_id": {c.id}, "response_type": {"code"}, "prompt": {"consent"},
		"scope": {"openid offline_access email"}, "redirect_uri": {redirectURL},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}.Encode())

	ask, err := json.Marshal(map[string]string{
		"issuer": s.issuer, "client": c.id, "auth": c.auth, "secret": clientSecret,
		"privateKey": s.privateKey, "kid": s.kid, "callback": callback, "verifier": verifier,
	})
	must(t, err)
	cmd := exec.CommandContext(t.Context(), "node", "peer.mjs")
	cmd.Dir = opDir(t)
	cmd.Env = append(os.Environ(), "NODE_NO_WARNINGS=1", "NODE_EXTRA_CA_CERTS="+s.caFile)
	cmd.Stdin = bytes.NewReader(ask)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openid-client as %s: %v\n%s", c.id, err, stderr.String())
	}
	var l login
	must(t, json.Unmarshal(out, &l))
	if l.Refresh == "" || l.Refresh == l.Spent {
		t.Fatalf("openid-client as %s: the server did not rotate", c.id)
	}
	s.expect(t, "code flow and refresh by openid-client",
		counts{requests: 2, granted: 2, saved: 2, consumed: 1})
	return l
}

var (
	formAction = regexp.MustCompile(`<form[^>]* action="([^"]+)"`)
	formPrompt = regexp.MustCompile(`name="prompt" value="([^"]+)"`)
)

// walk follows the server's redirects with a cookie jar, posts the login and
// the consent form, and returns the address that it is sent back to.
func (s *authServer) walk(t *testing.T, address string) string {
	t.Helper()
	web := s.httpClient(t)
	var err error
	web.Jar, err = cookiejar.New(nil)
	must(t, err)
	form := url.Values(nil)
	for range 20 {
		method, body := http.MethodGet, ""
		if form != nil {
			method, body = http.MethodPost, form.Encode()
		}
		req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
		must(t, err)
		if form != nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		res, err := web.Do(req)
		must(t, err)
		page, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
		must(t, err)
		must(t, res.Body.Close())

		if next, err := res.Location(); err == nil {
			address, form = next.String(), nil
			if strings.HasPrefix(address, redirectURL) {
				return address
			}
			continue
		}
		action, prompt := formAction.FindSubmatch(page), formPrompt.FindSubmatch(page)
		if action == nil || prompt == nil {
			t.Fatalf("sign-in: HTTP %d without the expected form", res.StatusCode)
		}
		address = html.UnescapeString(string(action[1]))
		form = url.Values{"prompt": {string(prompt[1])}, "login": {"ada"}, "password": {"any"}}
	}
	t.Fatal("sign-in: no end after 20 steps")
	return ""
}

// httpClient stops at redirects and trusts the server's private CA, if any.
func (s *authServer) httpClient(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	if s.caFile != "" {
		pem, err := os.ReadFile(s.caFile)
		must(t, err)
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			t.Fatal("the CA file holds no certificate")
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// present sends a refresh token as the public client with a plain request, as
// a careless second program would. It returns the HTTP status.
func (s *authServer) present(ctx context.Context, t *testing.T, refreshToken string) int {
	t.Helper()
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}, "client_id": {publicClient.id}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.tokenURL(), strings.NewReader(form.Encode()))
	must(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := s.httpClient(t).Do(req)
	must(t, err)
	defer res.Body.Close()
	return res.StatusCode
}
