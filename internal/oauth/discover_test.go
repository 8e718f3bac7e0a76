package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"evergrant/internal/oauth"
)

// issuerServer publishes what documents holds, with $O for its own address, and
// notes what was asked.
type issuerServer struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
}

func newIssuer(t *testing.T, secure bool, documents map[string]string) (*issuerServer, oauth.DiscoverConfig) {
	t.Helper()
	s := &issuerServer{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r.URL.EscapedPath())
		s.mu.Unlock()
		if r.Method != "GET" || r.ContentLength != 0 || r.Header.Get("User-Agent") != "evergrant/1" {
			t.Errorf("asked by %s as %s", r.Method, r.Header.Get("User-Agent"))
		}
		doc, ok := documents[r.URL.EscapedPath()]
		switch {
		case !ok:
			http.NotFound(w, r)
		case strings.HasPrefix(doc, "/"):
			http.Redirect(w, r, doc, http.StatusFound)
		default:
			io.WriteString(w, strings.ReplaceAll(doc, "$O", s.URL))
		}
	}))
	s.Config.ErrorLog = quiet()
	cfg := oauth.DiscoverConfig{UserAgent: "evergrant/1"}
	if secure {
		s.StartTLS()
		cfg.TLS = trust(s.Server)
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s, cfg
}

func TestDiscover(t *testing.T) {
	t.Parallel()
	const rfc, oidc = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"
	good := `{"issuer":"$O","token_endpoint":"$O/token","token_endpoint_auth_methods_supported":["none","private_key_jwt"],
		"device_authorization_endpoint":"$O/device","scopes_supported":7}`
	at := func(path string) string { return strings.Replace(good, `"$O"`, `"$O`+path+`"`, 1) }
	for name, tc := range map[string]struct {
		path      string // of the issuer
		documents map[string]string
		asked     []string
		err       string
	}{
		"RFC 8414":              {"", map[string]string{rfc: good, oidc: "{}"}, []string{rfc}, ""},
		"OpenID":                {"", map[string]string{oidc: good}, []string{rfc, oidc}, ""},
		"path, RFC 8414":        {"/a/b", map[string]string{rfc + "/a/b": at("/a/b")}, []string{rfc + "/a/b"}, ""},
		"path, OpenID":          {"/a/b", map[string]string{"/a/b" + oidc: at("/a/b")}, []string{rfc + "/a/b", "/a/b" + oidc}, ""},
		"slash at the end":      {"/a/", map[string]string{"/a" + oidc: at("/a/")}, []string{rfc + "/a", "/a" + oidc}, ""},
		"escaped path":          {"/a%2Fb", map[string]string{rfc + "/a%2Fb": at("/a%2Fb")}, []string{rfc + "/a%2Fb"}, ""},
		"page, then OpenID":     {"", map[string]string{rfc: "<html>canary", oidc: good}, []string{rfc, oidc}, ""},
		"redirect, then OpenID": {"", map[string]string{rfc: "/other", "/other": good, oidc: good}, []string{rfc, oidc}, ""},
		"byte order mark":       {"", map[string]string{rfc: "\xef\xbb\xbf" + good}, []string{rfc}, ""},
		"nothing":               {"", nil, []string{rfc, oidc}, "publishes no metadata"},
		"redirects only":        {"", map[string]string{rfc: "/other", oidc: "/other", "/other": good}, []string{rfc, oidc}, "answered HTTP 302"},
		"another issuer":        {"", map[string]string{rfc: `{"issuer":"https://other.example","token_endpoint":"$O/t"}`, oidc: good}, []string{rfc}, `names the issuer "https://other.example"`},
		"almost the issuer":     {"", map[string]string{rfc: at("/")}, []string{rfc}, "equal to the letter"},
		"no issuer":             {"", map[string]string{rfc: `{"token_endpoint":"$O/t"}`}, []string{rfc}, `names the issuer ""`},
		"ISSUER":                {"", map[string]string{rfc: `{"ISSUER":"$O","token_endpoint":"$O/t"}`}, []string{rfc}, `names the issuer ""`},
		"no token endpoint":     {"", map[string]string{rfc: `{"issuer":"$O"}`}, []string{rfc}, "names no token endpoint"},
		"http elsewhere":        {"", map[string]string{rfc: `{"issuer":"$O","token_endpoint":"http://example.com/"}`}, []string{rfc}, "token endpoint in the metadata is http to another machine"},
		"user in the endpoint":  {"", map[string]string{rfc: `{"issuer":"$O","token_endpoint":"https://canary@example.com/"}`}, []string{rfc}, "user name"},
		"broken JSON":           {"", map[string]string{rfc: `{"issuer":"canary`}, []string{rfc}, "no valid JSON"},
		"too large":             {"", map[string]string{rfc: `{"pad":"` + strings.Repeat("x", oauth.MaxReply) + `"}`}, []string{rfc}, "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, cfg := newIssuer(t, name == "RFC 8414", tc.documents)
			meta, err := oauth.Discover(t.Context(), s.URL+tc.path, cfg)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "\n") {
					t.Errorf("error is %v", err)
				}
			} else if err != nil {
				t.Error(err)
			} else if meta.Issuer != s.URL+tc.path || meta.TokenEndpoint != s.URL+"/token" || meta.DeviceAuthorizationEndpoint != s.URL+"/device" ||
				!slices.Equal(meta.AuthMethods, []string{"none", "private_key_jwt"}) || meta.Scopes != nil {
				t.Errorf("metadata %+v", meta)
			}
			if !slices.Equal(s.asked, tc.asked) {
				t.Errorf("asked %q", s.asked)
			}
		})
	}
}

func TestDiscoverHoldsToHTTPS(t *testing.T) {
	t.Parallel()
	s, cfg := newIssuer(t, true, map[string]string{
		"/.well-known/oauth-authorization-server": `{"issuer":"$O","token_endpoint":"http://127.0.0.1/token"}`,
	})
	if _, err := oauth.Discover(t.Context(), s.URL, cfg); err == nil || !strings.Contains(err.Error(), "is http although the issuer is https") {
		t.Errorf("error is %v", err)
	}
	for issuer, want := range map[string]string{
		"http://example.com":    "issuer is http to another machine",
		"https://example.com?a": "issuer has a query",
		"https://example.com/?": "issuer has a query",
		"https://example.com#a": "issuer has a fragment",
		"https://canary@a.b":    "issuer holds a user name",
		"":                      "issuer is empty",
		"accounts.example":      "issuer must start with https://",
	} {
		if _, err := oauth.Discover(t.Context(), issuer, cfg); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: error is %v", issuer, err)
		}
	}
}

func TestDiscoverNetworkErrors(t *testing.T) {
	t.Parallel()
	for words, reply := range map[string]string{
		"connection was closed":      "",
		"the answer is not HTTP/1.1": "canary\r\n\r\n",
		"framing is not valid":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ncanary\r\n",
	} {
		s := answering(t, reply)
		_, err := oauth.Discover(t.Context(), "http://"+s.Addr().String(), oauth.DiscoverConfig{})
		if err == nil || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "canary") || s.connections.Load() != 1 {
			t.Errorf("after %d connections: %v", s.connections.Load(), err)
		}
	}
	silent := newRawServer(t, nil, func(_ *rawServer, c net.Conn) { io.Copy(io.Discard, c) })
	issuer := "http://" + silent.Addr().String()
	_, err := oauth.Discover(t.Context(), issuer, oauth.DiscoverConfig{RequestTimeout: 20 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "no whole answer within 20ms") {
		t.Errorf("error is %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	waiting := newRawServer(t, nil, func(s *rawServer, c net.Conn) {
		s.request(c)
		cancel(fmt.Errorf("stop"))
		io.Copy(io.Discard, c)
	})
	_, err = oauth.Discover(ctx, "http://"+waiting.Addr().String(), oauth.DiscoverConfig{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}
