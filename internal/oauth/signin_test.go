package oauth_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/oauth"
)

// asked is a request as the server saw it.
type asked struct {
	form   url.Values
	header http.Header
	times  int
}

// replying serves one answer for every request, and notes the last request.
func replying(t *testing.T, status int, body string) (string, *asked) {
	t.Helper()
	seen := &asked{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		form, perr := url.ParseQuery(string(b))
		if err != nil || perr != nil {
			t.Errorf("the request cannot be read: %v, %v", err, perr)
		}
		seen.form, seen.header, seen.times = form, r.Header, seen.times+1
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, seen
}

func code() oauth.Code {
	return oauth.Code{Code: grant.NewSecret(presented), Verifier: grant.NewSecret(secret), RedirectURI: "http://127.0.0.1:1/callback", Issuer: "https://id.example"}
}

// stepFailure holds an error to the rule that nothing secret shows.
func stepFailure(t *testing.T, err error) *oauth.StepError {
	t.Helper()
	failed := (*oauth.StepError)(nil)
	if !errors.As(err, &failed) {
		t.Fatalf("error %v is no StepError", err)
	}
	for _, s := range []string{presented, issued, access, secret} {
		if strings.Contains(err.Error(), s[:12]) {
			t.Errorf("the error holds a secret: %v", err)
		}
	}
	return failed
}

func TestExchange(t *testing.T) {
	t.Parallel()
	at, seen := replying(t, 200, `{"access_token":"`+access+`","refresh_token":"`+issued+`","expires_in":60,"scope":"a b"}`)
	c := newClient(t, oauth.Config{TokenURL: at + "/token", Auth: oauth.ClientSecretPost, Secret: grant.NewSecret(secret), Scope: "not sent", Params: map[string]string{"audience": "api"}})
	got, err := c.Exchange(t.Context(), code())
	if err != nil {
		t.Fatal(err)
	}
	if got.Tokens.Refresh.Reveal() != issued || got.Tokens.Access.Value.Reveal() != access || got.Tokens.Access.Expiry.Sub(got.Tokens.ObtainedAt) != time.Minute {
		t.Errorf("the token set is %+v", got.Tokens)
	}
	want := url.Values{
		"grant_type": {"authorization_code"}, "code": {presented}, "code_verifier": {secret}, "redirect_uri": {"http://127.0.0.1:1/callback"},
		"client_id": {"client"}, "client_secret": {secret}, "audience": {"api"},
	}
	if seen.form.Encode() != want.Encode() || seen.times != 1 {
		t.Errorf("the server was asked %d times, for %v", seen.times, seen.form)
	}
}

func TestExchangeFails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		status int
		body   string
		fate   grant.Fate
		code   string
	}{
		{"spent", 400, `{"error":"invalid_grant","error_description":"` + presented + `"}`, grant.Rejected, "invalid_grant"},
		{"client", 401, `{"error":"invalid_client"}`, grant.Refused, "invalid_client"},
		{"redirect", 400, `{"error":"invalid_request"}`, grant.Refused, "invalid_request"},
		{"error with 200", 200, `{"error":"bad_verification_code"}`, grant.InDoubt, "bad_verification_code"},
		{"page", 403, `<html>`, grant.Refused, ""},
		{"later", 503, `{}`, grant.InDoubt, ""},
		{"busy", 429, `{}`, grant.Unspent, ""},
		{"nothing", 200, `{}`, grant.InDoubt, ""},
		{"code as error", 400, `{"error":"` + presented + `"}`, grant.Refused, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			at, seen := replying(t, c.status, c.body)
			_, err := newClient(t, oauth.Config{TokenURL: at}).Exchange(t.Context(), code())
			if f := stepFailure(t, err); f.Fate != c.fate || f.Code != c.code || f.Status != c.status || seen.times != 1 {
				t.Errorf("%v (fate %v, code %q), asked %d times", err, f.Fate, f.Code, seen.times)
			}
		})
	}
	t.Run("refused connection", func(t *testing.T) {
		t.Parallel()
		at, _ := replying(t, 200, "")
		_, err := newClient(t, oauth.Config{TokenURL: strings.Replace(at, "http://127.0.0.1:", "http://127.0.0.2:", 1)}).Exchange(t.Context(), code())
		if f := stepFailure(t, err); f.Fate != grant.Unspent || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("%v", err)
		}
	})
}

// token makes an ID token. Nobody looks at its signature.
func idToken(claims string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"RS256"}`)) + "." + enc([]byte(claims)) + "." + enc([]byte("signature"))
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	const good = `"iss":"https://id.example","aud":"client"`
	for _, c := range []struct {
		name, members string
		want          oauth.Identity
	}{
		{"nothing", ``, oauth.Identity{}},
		{"ID token", `,"id_token":"` + idToken(`{`+good+`,"sub":"248","email":"ada@id.example","name":"Ada"}`) + `"`, oauth.Identity{Account: grant.Account{ID: "sub:248", Name: "ada@id.example"}, From: "id_token"}},
		{"ID token of many audiences", `,"id_token":"` + idToken(`{"iss":"https://id.example","aud":["x","client"],"sub":"248","preferred_username":"ada"}`) + `"`, oauth.Identity{Account: grant.Account{ID: "sub:248", Name: "ada"}, From: "id_token"}},
		{"another issuer's", `,"id_token":"` + idToken(`{"iss":"https://evil.example","aud":"client","sub":"248"}`) + `"`, oauth.Identity{Mismatch: true}},
		{"another client's", `,"id_token":"` + idToken(`{"iss":"https://id.example","aud":"other","sub":"248"}`) + `"`, oauth.Identity{Mismatch: true}},
		{"ID token that is none", `,"id_token":"a.b.c","user":{"id":7}`, oauth.Identity{Account: grant.Account{ID: "user:7"}, From: "answer"}},
		{"ID token without a subject", `,"id_token":"` + idToken(`{`+good+`}`) + `","account_id":"dbid:AA"`, oauth.Identity{Account: grant.Account{ID: "account:dbid:AA"}, From: "answer"}},
		{"account", `,"account":{"uuid":"a-1","email_address":"ada@id.example"}`, oauth.Identity{Account: grant.Account{ID: "account:a-1", Name: "ada@id.example"}, From: "answer"}},
		{"workspace", `,"workspace_id":"w","workspace_name":"Acme"`, oauth.Identity{Account: grant.Account{ID: "account:w", Name: "Acme"}, From: "answer"}},
		{"name that forges a line", `,"account":{"uuid":"a-1","email":"ada\nevergrant: all is well"}`, oauth.Identity{Account: grant.Account{ID: "account:a-1"}, From: "answer"}},
		{"name that colours", `,"account":{"id":"\u001b[31m","email":"\u202eada"}`, oauth.Identity{}},
		{"name without end", `,"account":{"id":"` + strings.Repeat("x", 300) + `"}`, oauth.Identity{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			at, _ := replying(t, 200, `{"access_token":"`+access+`","refresh_token":"`+issued+`"`+c.members+`}`)
			got, err := newClient(t, oauth.Config{TokenURL: at}).Exchange(t.Context(), code())
			if err != nil || got.Identity != c.want {
				t.Errorf("%+v, %v; want %+v", got.Identity, err, c.want)
			}
		})
	}
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		status int
		body   string
		ok     bool
		fate   grant.Fate
		code   string
	}{
		{"done", 200, ``, true, 0, ""},
		{"done with words", 200, `{"status":"success"}`, true, 0, ""},
		{"done without content", 204, ``, true, 0, ""},
		{"dead before", 400, `{"error":"invalid_token"}`, true, 0, ""},
		{"spent before", 400, `{"error":"invalid_grant"}`, true, 0, ""},
		{"client", 401, `{"error":"invalid_client"}`, false, grant.Refused, "invalid_client"},
		{"kind", 400, `{"error":"unsupported_token_type"}`, false, grant.Refused, "unsupported_token_type"},
		{"error with 200", 200, `{"ok":false,"error":"not_allowed"}`, false, grant.Refused, "not_allowed"},
		{"wrong address", 404, ``, false, grant.Refused, ""},
		{"moved", 302, ``, false, grant.Refused, ""},
		{"broken", 500, ``, false, grant.InDoubt, ""},
		{"busy", 429, ``, false, grant.Unspent, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			at, seen := replying(t, c.status, c.body)
			client := newClient(t, oauth.Config{Auth: oauth.ClientSecretBasic, Secret: grant.NewSecret(secret), Body: oauth.BodyJSON, Params: map[string]string{"audience": "api"}})
			err := client.Revoke(t.Context(), at+"/revoke", grant.NewSecret(presented))
			if want := (url.Values{"token": {presented}, "token_type_hint": {"refresh_token"}}); seen.form.Encode() != want.Encode() || seen.times != 1 || !strings.HasPrefix(seen.header.Get("Authorization"), "Basic ") {
				t.Errorf("the server was asked %d times, for %v", seen.times, seen.form)
			}
			if c.ok {
				if err != nil {
					t.Errorf("Revoke: %v", err)
				}
				return
			}
			if f := stepFailure(t, err); f.Fate != c.fate || f.Code != c.code {
				t.Errorf("%v (fate %v, code %q)", err, f.Fate, f.Code)
			}
		})
	}
	client := newClient(t, oauth.Config{})
	for _, bad := range []string{"http://id.example/revoke", "https://id.example/#x", "", "https://u:p@id.example/"} {
		if f := stepFailure(t, client.Revoke(t.Context(), bad, grant.NewSecret(presented))); f.Fate != grant.Unspent {
			t.Errorf("%q: %v", bad, f)
		}
	}
}

func TestUserinfo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		body   string
		want   grant.Account
		ok     bool
	}{
		{200, `{"sub":"248","email":"ada@id.example"}`, grant.Account{ID: "sub:248", Name: "ada@id.example"}, true},
		{200, `{}`, grant.Account{}, true},
		{401, `{"sub":"248"}`, grant.Account{}, false},
		{200, `<html>`, grant.Account{}, false},
		{302, `{"sub":"248"}`, grant.Account{}, false},
	} {
		at, seen := replying(t, c.status, c.body)
		got, err := newClient(t, oauth.Config{}).Userinfo(t.Context(), at+"/me?x=y", grant.NewSecret(access))
		if got.Account != c.want || (err == nil) != c.ok || seen.header.Get("Authorization") != "Bearer "+access {
			t.Errorf("%d %s: %+v, %v", c.status, c.body, got, err)
		}
		if err != nil && strings.Contains(fmt.Sprint(err), access[:12]) {
			t.Errorf("the error holds the token: %v", err)
		}
	}
	if _, err := newClient(t, oauth.Config{}).Userinfo(t.Context(), "http://id.example/me", grant.NewSecret(access)); err == nil {
		t.Error("a token goes over plain http")
	}
}
