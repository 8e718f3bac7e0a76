package oauth_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/oauth"
)

func TestRequestOnTheWire(t *testing.T) {
	t.Parallel()
	base := map[string]string{"grant_type": "refresh_token", "refresh_token": presented}
	with := func(pairs ...string) map[string]string {
		m := maps.Clone(base)
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	id := "client:/+% ü"
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("client%3A%2F%2B%25+%C3%BC:canary%3A%2F%2B%25+secret-%C3%BC"))
	for name, tc := range map[string]struct {
		cfg    oauth.Config
		params map[string]string
		auth   string
	}{
		"public":     {oauth.Config{}, with("client_id", id), ""},
		"scope":      {oauth.Config{Scope: "a b"}, with("client_id", id, "scope", "a b"), ""},
		"parameters": {oauth.Config{Params: map[string]string{"audience": "x&y=z"}}, with("client_id", id, "audience", "x&y=z"), ""},
		"basic":      {oauth.Config{Auth: oauth.ClientSecretBasic, Secret: grant.NewSecret(secret)}, base, basic},
		"post": {oauth.Config{Auth: oauth.ClientSecretPost, Secret: grant.NewSecret(secret)},
			with("client_id", id, "client_secret", secret), ""},
	} {
		for _, body := range []oauth.Body{oauth.BodyForm, oauth.BodyJSON} {
			t.Run(name+" "+body.String(), func(t *testing.T) {
				t.Parallel()
				var got map[string]string
				var req *http.Request
				srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					req, got = r, readParams(t, r)
					tokenHandler().ServeHTTP(w, r)
				}))
				defer srv.Close()
				cfg := tc.cfg
				cfg.TokenURL, cfg.ClientID, cfg.Body = srv.URL+"/token?tenant=a%2Fb", id, body
				cfg.UserAgent, cfg.Headers = "evergrant/1.2", map[string]string{"Notion-Version": "2022-06-28"}
				set, f := refresh(t, newClient(t, cfg))
				wantTokens(t, set, f)
				if !maps.Equal(got, tc.params) {
					t.Errorf("parameters are %v", slices.Sorted(maps.Keys(got)))
				}
				for header, want := range map[string]string{
					"Authorization": tc.auth, "User-Agent": "evergrant/1.2", "Accept": "application/json",
					"Accept-Encoding": "identity", "Notion-Version": "2022-06-28", "Expect": "",
				} {
					if req.Header.Get(header) != want {
						t.Errorf("header %s is not as wanted", header)
					}
				}
				if req.Method != "POST" || req.Proto != "HTTP/1.1" || !req.Close || req.RequestURI != "/token?tenant=a%2Fb" || len(req.TransferEncoding) > 0 {
					t.Errorf("request is %s %s %s, close %v, %v", req.Method, req.RequestURI, req.Proto, req.Close, req.TransferEncoding)
				}
			})
		}
	}
}

func readParams(t *testing.T, r *http.Request) map[string]string {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	got := map[string]string{}
	if r.Header.Get("Content-Type") == "application/json" {
		if err := json.Unmarshal(body, &got); err != nil {
			t.Error(err)
		}
		return got
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		t.Errorf("body is no form: %v", err)
	}
	for k, v := range form {
		got[k] = strings.Join(v, "\x00")
	}
	return got
}

// writes counts the calls that reach the socket.
type writes struct {
	net.Conn
	n *atomic.Int64
}

func (w writes) Write(b []byte) (int, error) {
	w.n.Add(1)
	return w.Conn.Write(b)
}

func TestRequestIsOneWrite(t *testing.T) {
	t.Parallel()
	s := answering(t, httpReply("200 OK", "", tokenReply()))
	c := newClient(t, oauth.Config{TokenURL: s.url()})
	var n atomic.Int64
	oauth.SetDial(c, func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return writes{conn, &n}, err
	})
	conn, err := c.Connect(t.Context())
	if err != nil || n.Load() != 0 {
		t.Fatalf("connect: %v after %d writes", err, n.Load())
	}
	set, err := conn.Refresh(t.Context(), credential(), open)
	if err != nil {
		t.Fatal(err)
	}
	wantTokens(t, set, nil)
	if n.Load() != 1 {
		t.Errorf("the request took %d writes", n.Load())
	}
}

func TestLivesCountFromTheStartOfTheRequest(t *testing.T) {
	t.Parallel()
	s := answering(t, httpReply("200 OK", "", tokenReply()))
	start := time.Date(2031, 5, 1, 12, 0, 0, 0, time.UTC)
	gated := false
	c := newClient(t, oauth.Config{TokenURL: s.url(), Now: func() time.Time {
		if gated {
			return start
		}
		return start.Add(-time.Hour)
	}})
	conn, err := c.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	set, err := conn.Refresh(t.Context(), credential(), func() error { gated = true; return nil })
	if err != nil || !set.ObtainedAt.Equal(start) || !set.Access.Expiry.Equal(start.Add(time.Hour)) {
		t.Errorf("obtained %v, expires %v, error %v", set.ObtainedAt, set.Access.Expiry, err)
	}
}

func TestConfigErrors(t *testing.T) {
	t.Parallel()
	sec := grant.NewSecret(secret)
	for want, cfg := range map[string]oauth.Config{
		"token URL is empty":                        {TokenURL: "-"},
		"basic or post":                             {Secret: sec},
		"client_secret_basic needs a client secret": {Auth: oauth.ClientSecretBasic},
		"client_secret_post needs a client secret":  {Auth: oauth.ClientSecretPost},
		"private_key_jwt needs a private key":       {Auth: oauth.PrivateKeyJWT},
		"client_secret_post needs a client id":      {Auth: oauth.ClientSecretPost, Secret: sec, ClientID: "-"},
		"number 9 is unknown":                       {Auth: 9},
		"refresh_token is set by evergrant":         {Params: map[string]string{"refresh_token": "x"}},
		"has no name":                               {Params: map[string]string{"": "x"}},
		"given twice":                               {Scope: "a", Params: map[string]string{"scope": "b"}},
		"Authorization is set by evergrant":         {Headers: map[string]string{"authorization": "x"}},
		"\"X-A\" is not a valid header":             {Headers: map[string]string{"X-A": "a\r\nX-B: c"}},
		"\"X A\" is not a valid header":             {Headers: map[string]string{"X A": "a"}},
		"user agent is not a valid":                 {UserAgent: "a\nb"},
		"timeout is negative":                       {ConnectTimeout: -1},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			for _, p := range []struct {
				v   *string
				def string
			}{{&cfg.TokenURL, "https://example.com/"}, {&cfg.ClientID, "client"}} {
				if *p.v == "-" {
					*p.v = ""
				} else {
					*p.v = p.def
				}
			}
			_, err := oauth.New(cfg)
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "canary") {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestParseNames(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]oauth.AuthMethod{
		"none": oauth.AuthNone, "basic": oauth.ClientSecretBasic, "client_secret_basic": oauth.ClientSecretBasic,
		"post": oauth.ClientSecretPost, "client_secret_post": oauth.ClientSecretPost, "private_key_jwt": oauth.PrivateKeyJWT,
	} {
		if got, err := oauth.ParseAuthMethod(in); err != nil || got != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
		if got, err := oauth.ParseAuthMethod(want.String()); err != nil || got != want {
			t.Errorf("%v does not read its own name", want)
		}
	}
	for in, want := range map[string]oauth.Body{"form": oauth.BodyForm, "json": oauth.BodyJSON} {
		if got, err := oauth.ParseBody(in); err != nil || got != want || got.String() != in {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	if _, err := oauth.ParseAuthMethod("Basic"); err == nil {
		t.Error("an unknown method passes")
	}
	if _, err := oauth.ParseBody(""); err == nil {
		t.Error("an unknown body passes")
	}
}

func TestValidateTokenURL(t *testing.T) {
	t.Parallel()
	for _, good := range []string{
		"https://example.com", "https://example.com/oauth/token?x=y", "https://[2001:db8::1]:8443/t", "https://10.0.0.1/t",
		"http://localhost/t", "http://LOCALHOST:8080/t", "http://127.0.0.1:1/", "http://127.9.9.9/", "http://[::1]:8080/t",
		"http://[::ffff:127.0.0.1]/",
	} {
		if err := oauth.ValidateTokenURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for bad, want := range map[string]string{
		"":                                 "is empty",
		"example.com/token":                "must start with https",
		"ftp://example.com/":               "must start with https",
		"mailto:a@example.com":             "not a valid URL",
		"https:///token":                   "names no host",
		"https://" + presented + "@host/":  "user name",
		"https://a:" + presented + "@host": "user name",
		"https://example.com/#x":           "fragment",
		"https://example.com/#":            "fragment",
		"https://example.com:0/":           "port",
		"https://example.com:70000/":       "port",
		"https://example.com:/":            "port",
		"https://exämple.com/":             "xn--",
		"http://example.com/t":             "http to another machine (example.com); use https",
		"http://localhost.example.com/":    "http to another machine",
		"http://127.0.0.1.example.com/":    "http to another machine",
		"http://0.0.0.0/":                  "http to another machine",
		"http://127.1/":                    "http to another machine",
		"https://a b/" + presented:         "not a valid URL",
		"%zz" + presented:                  "not a valid URL",
	} {
		err := oauth.ValidateTokenURL(bad)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: error is %v, want %q", bad, err, want)
		}
	}
}
