package simulator_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/simulator"
)

const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

func (p peer) poll(t *testing.T, code string) string {
	t.Helper()
	g := p.form(t, "/token", "grant_type", deviceGrant, "client_id", simulator.DefaultClient, "device_code", code)
	if g.status == http.StatusOK && p.opens(t, g.text("access_token")) && g.text("refresh_token") != "" {
		return "ok"
	}
	return g.text("error")
}

func (p peer) device(t *testing.T) (deviceCode, userCode string) {
	t.Helper()
	g := p.form(t, "/device_authorization", "client_id", simulator.DefaultClient, "scope", "read")
	if g.status != http.StatusOK || g.text("verification_uri") != p.url+"/device" ||
		!strings.HasSuffix(g.text("verification_uri_complete"), g.text("user_code")) {
		t.Fatalf("a device gets %d %s", g.status, g.body)
	}
	return g.text("device_code"), g.text("user_code")
}

func TestDeviceFlow(t *testing.T) {
	t.Parallel()
	type poll struct {
		after time.Duration
		want  string
		press string // what the person presses before the poll
	}
	tests := []struct {
		name   string
		config simulator.Config
		polls  []poll
	}{
		{"approved at once", simulator.Config{}, []poll{{0, "ok", ""}, {6 * time.Second, "invalid_grant", ""}}},
		{"approved after two polls", simulator.Config{DevicePolls: 2}, []poll{
			{0, "authorization_pending", ""}, {5 * time.Second, "authorization_pending", ""}, {5 * time.Second, "ok", ""}}},
		{"too fast", simulator.Config{DevicePolls: 9}, []poll{
			{0, "authorization_pending", ""}, {4 * time.Second, "slow_down", ""}, {9 * time.Second, "slow_down", ""}, {15 * time.Second, "authorization_pending", ""}}},
		{"a person approves", simulator.Config{Approve: simulator.ApproveAsk}, []poll{
			{0, "authorization_pending", ""}, {5 * time.Second, "ok", "approve"}}},
		{"a person denies", simulator.Config{Approve: simulator.ApproveAsk}, []poll{
			{0, "authorization_pending", ""}, {5 * time.Second, "access_denied", "deny"}, {5 * time.Second, "invalid_grant", ""}}},
		{"denied by configuration", simulator.Config{Approve: simulator.ApproveDeny}, []poll{{0, "access_denied", ""}}},
		{"over", simulator.Config{Approve: simulator.ApproveAsk}, []poll{
			{0, "authorization_pending", ""}, {10 * time.Minute, "expired_token", ""}}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.config.Now = func() time.Time { return epoch }
			p := start(t, tc.config)
			code, user := p.device(t)
			for i, step := range tc.polls {
				p.Advance(step.after)
				if step.press != "" {
					typed := strings.ToLower(strings.ReplaceAll(user, "-", ""))
					if g := p.form(t, "/device", "user_code", typed, "decision", step.press); g.status != http.StatusOK {
						t.Fatalf("the person's page answers %d", g.status)
					}
				}
				if got := p.poll(t, code); got != step.want {
					t.Errorf("poll %d gets %q, want %q", i, got, step.want)
				}
			}
			if p.DecideDevice("XXXX-XXXX", true) == nil {
				t.Error("an unknown user code is decided")
			}
		})
	}
	p := start(t, simulator.Config{Approve: simulator.ApproveAsk})
	_, user := p.device(t)
	if g := p.do(t, http.MethodGet, "/device?user_code="+user, "", "", nil); !strings.Contains(g.body, user) {
		t.Errorf("the page is %s", g.body)
	}
	if err := p.DecideDevice(user, true); err != nil {
		t.Error(err)
	}
	if g := p.form(t, "/device", "user_code", user, "decision", "deny"); g.status != http.StatusBadRequest {
		t.Errorf("a second decision gets %d", g.status)
	}
	if got := p.poll(t, "unknown"); got != "invalid_grant" {
		t.Errorf("an unknown device gets %q", got)
	}
	if g := p.form(t, "/device_authorization", "client_id", "nobody"); g.text("error") != "invalid_client" {
		t.Errorf("an unknown client gets %d", g.status)
	}
}

func TestRevocationAndIntrospection(t *testing.T) {
	t.Parallel()
	p := start(t, simulator.Config{
		Now: func() time.Time { return epoch }, Rules: simulator.Rules{ConsentLife: 24 * time.Hour},
		Clients: []simulator.Client{{ID: simulator.DefaultClient}, {ID: "rs", Auth: simulator.AuthPost, Secret: grant.NewSecret("s")}},
	})
	own, err := p.IssueFamily("rs", "read", "write")
	if err != nil {
		t.Fatal(err)
	}
	family, refresh, access := p.family(t)
	ask := func(token string) got {
		return p.form(t, "/introspect", "client_id", "rs", "client_secret", "s", "token", token)
	}
	exp := func(g got) float64 { n, _ := g.json["exp"].(float64); return n }
	if g := ask(own.Access.Reveal()); g.json["active"] != true || g.text("scope") != "read write" || g.text("token_type") != "Bearer" ||
		exp(g) != float64(epoch.Add(time.Hour).Unix()) {
		t.Errorf("own access token: %s", g.body)
	}
	if g := ask(own.Refresh.Reveal()); g.json["active"] != true || exp(g) != float64(epoch.Add(24*time.Hour).Unix()) || g.json["token_type"] != nil {
		t.Errorf("own refresh token: %s", g.body)
	}
	for name, token := range map[string]string{"foreign": access, "unknown": "x"} {
		if g := ask(token); g.status != http.StatusOK || g.body != `{"active":false}` {
			t.Errorf("%s token: %d %s", name, g.status, g.body)
		}
	}
	if g := p.form(t, "/introspect", "client_id", simulator.DefaultClient, "token", access); g.status != http.StatusUnauthorized {
		t.Errorf("a public client gets %d", g.status)
	}
	if g := ask(""); g.text("error") != "invalid_request" {
		t.Errorf("no token gets %d", g.status)
	}

	revoke := func(client, token string) got {
		return p.form(t, "/revoke", "client_id", client, "token", token)
	}
	foreign := p.form(t, "/revoke", "client_id", "rs", "client_secret", "s", "token", refresh)
	if foreign.status != http.StatusBadRequest || !p.Usable(grant.NewSecret(refresh)) {
		t.Errorf("a foreign revocation gets %d", foreign.status)
	}
	if g := revoke(simulator.DefaultClient, "unknown"); g.status != http.StatusOK {
		t.Errorf("an unknown token gets %d", g.status)
	}
	if g := revoke(simulator.DefaultClient, ""); g.text("error") != "invalid_request" {
		t.Errorf("no token gets %d", g.status)
	}
	if g := revoke("nobody", refresh); g.text("error") != "invalid_client" {
		t.Errorf("an unknown client gets %d", g.status)
	}
	if g := revoke(simulator.DefaultClient, access); g.status != http.StatusOK || p.opens(t, access) || !p.Usable(grant.NewSecret(refresh)) {
		t.Errorf("revoking the access token gets %d", g.status)
	}
	next := p.refresh(t, refresh)
	if g := revoke(simulator.DefaultClient, next.text("refresh_token")); g.status != http.StatusOK || p.opens(t, next.text("access_token")) {
		t.Errorf("revoking the refresh token gets %d", g.status)
	}
	if s, _ := p.Standing(family); s.Alive || s.Ended != simulator.ReasonRevoked {
		t.Errorf("standing %+v", s)
	}
}

func TestUserinfoWantsOneBearerToken(t *testing.T) {
	t.Parallel()
	p := start(t, simulator.Config{})
	family, refresh, access := p.family(t)
	for name, header := range map[string]http.Header{
		"none":          {},
		"basic":         basic("a", access),
		"refresh token": {"Authorization": {"Bearer " + refresh}},
		"twice":         {"Authorization": {"Bearer " + access, "Bearer " + access}},
		"empty":         {"Authorization": {"Bearer "}},
	} {
		g := p.do(t, http.MethodGet, "/userinfo", "", "", header)
		if g.status != http.StatusUnauthorized || !strings.HasPrefix(g.header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: %d", name, g.status)
		}
	}
	g := p.do(t, http.MethodGet, "/userinfo", "", "", http.Header{"Authorization": {"bearer " + access}})
	if g.status != http.StatusOK || g.text("sub") != family || g.text("scope") != "read" {
		t.Errorf("userinfo answers %d %s", g.status, g.body)
	}
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		config simulator.Config
		path   string // below the host
		issuer string // "": the true one; "-": no document
	}{
		{"RFC 8414", simulator.Config{}, "/.well-known/oauth-authorization-server", ""},
		{"OpenID", simulator.Config{}, "/.well-known/openid-configuration", ""},
		{"RFC 8414 with a path", simulator.Config{Path: "/t"}, "/.well-known/oauth-authorization-server/t", ""},
		{"OpenID with a path", simulator.Config{Path: "/t"}, "/t/.well-known/openid-configuration", ""},
		{"the two ways of a path are not one", simulator.Config{Path: "/t"}, "/t/.well-known/oauth-authorization-server", "-"},
		{"no RFC 8414", simulator.Config{NoRFC8414: true}, "/.well-known/oauth-authorization-server", "-"},
		{"no OpenID", simulator.Config{NoOpenID: true}, "/.well-known/openid-configuration", "-"},
		{"another issuer", simulator.Config{Issuer: "https://other.example"}, "/.well-known/openid-configuration", "https://other.example"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, tc.config)
			issuer := p.url
			p.url = strings.TrimSuffix(p.url, tc.config.Path)
			g := p.do(t, http.MethodGet, tc.path, "", "", nil)
			if tc.issuer == "-" {
				if g.status != http.StatusNotFound {
					t.Errorf("answers %d", g.status)
				}
				return
			}
			want := issuer
			if tc.issuer != "" {
				want = tc.issuer
			}
			if g.status != http.StatusOK || g.text("issuer") != want || g.text("token_endpoint") != issuer+"/token" {
				t.Errorf("answers %d %s", g.status, g.body)
			}
			if g := p.do(t, http.MethodPost, tc.path, formType, "", nil); g.status != http.StatusMethodNotAllowed {
				t.Errorf("POST gets %d", g.status)
			}
		})
	}
}

func TestHandlerFollowsTheHost(t *testing.T) {
	t.Parallel()
	s := peerless(t)
	own := httptest.NewTLSServer(s.Handler())
	t.Cleanup(own.Close)
	p := peer{s, own.URL, own.Client()}
	if g := p.do(t, http.MethodGet, "/.well-known/openid-configuration", "", "", nil); g.text("issuer") != own.URL {
		t.Errorf("issuer %q", g.text("issuer"))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if g := p.do(t, http.MethodGet, "/userinfo", "", "", nil); g.status != http.StatusServiceUnavailable {
		t.Errorf("after Close: %d", g.status)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	p := start(t, simulator.Config{TLS: true})
	if !strings.HasPrefix(p.url, "https://127.0.0.1:") {
		t.Fatalf("started at %s", p.url)
	}
	_, token, _ := p.family(t)
	stranger := p.refresh(t, token)
	if unknown := new(x509.UnknownAuthorityError); !errors.As(stranger.err, unknown) {
		t.Errorf("without the authority: %v", stranger.err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(p.CA()) {
		t.Fatal("the authority is not PEM")
	}
	p.client.Transport = &http.Transport{
		DisableKeepAlives: true, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool},
	}
	if g := p.refresh(t, token); g.status != http.StatusOK {
		t.Errorf("with the authority: %d, %v", g.status, g.err)
	}
	if err := p.SetFaults(simulator.Fault{Kind: simulator.FaultHalf}); err != nil {
		t.Fatal(err)
	}
	if g := p.refresh(t, token); g.err == nil || g.status != http.StatusBadRequest {
		t.Errorf("half an answer: %d, %v", g.status, g.err)
	}
	u, err := url.Parse(p.url)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = "localhost:" + u.Port()
	p.url = u.String()
	if g := p.do(t, http.MethodGet, "/userinfo", "", "", nil); g.status != http.StatusUnauthorized {
		t.Errorf("by the name localhost: %d, %v", g.status, g.err)
	}
}
