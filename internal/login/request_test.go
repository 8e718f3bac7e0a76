package login_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"evergrant/internal/login"
	"evergrant/internal/simulator"
)

func TestNewRequest(t *testing.T) {
	t.Parallel()
	a := login.Asking{
		AuthorizeURL: "https://id.example/authorize?tenant=a%20b", ClientID: "c d", RedirectURI: "http://127.0.0.1:1/callback",
		Scope: "x y", Params: map[string]string{"prompt": "consent"},
	}
	first, second := request(t, a), request(t, a)
	u, err := url.Parse(first.URL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for name, want := range map[string]string{
		"tenant": "a b", "client_id": "c d", "redirect_uri": "http://127.0.0.1:1/callback", "scope": "x y", "prompt": "consent",
		"response_type": "code", "code_challenge_method": "S256",
	} {
		if q.Get(name) != want || len(q[name]) != 1 {
			t.Errorf("%s is %q, want %q once", name, q[name], want)
		}
	}
	if len(q.Get("state")) < 26 || len(q.Get("code_challenge")) != 43 || len(q) != 9 {
		t.Errorf("the request has %v", q)
	}
	other, _ := url.Parse(second.URL)
	if other.Query().Get("state") == q.Get("state") || other.Query().Get("code_challenge") == q.Get("code_challenge") {
		t.Error("two requests share a state or a verifier")
	}
	for _, bad := range []string{"", "http://id.example/a", "https://id.example/a#b", "https://u@id.example/a", "ftp://x/", "https://id.example/?%zz=1;2"} {
		a.AuthorizeURL = bad
		if _, err := login.NewRequest(a); err == nil || !strings.HasPrefix(err.Error(), "authorization URL ") {
			t.Errorf("%q is taken: %v", bad, err)
		}
	}
}

func TestPasted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, simulator.Config{})
	for _, c := range []struct {
		name  string
		paste func(code, state, address string) string
		check func(error) bool
	}{
		{"code and state", func(c, s, _ string) string { return c + "#" + s }, is(nil)},
		{"with what a terminal adds", func(c, s, _ string) string { return "  " + c + "#" + s + "\r\n" }, is(nil)},
		{"code alone", func(c, _, _ string) string { return c }, is(nil)},
		{"address", func(_, _, a string) string { return a }, is(nil)},
		{"address in quotes", func(_, _, a string) string { return "<" + a + ">" }, is(nil)},
		{"query", func(_, _, a string) string { return a[strings.Index(a, "?"):] }, is(nil)},
		{"query without its mark", func(_, _, a string) string { return a[strings.Index(a, "?")+1:] }, is(nil)},
		{"in the fragment", func(_, _, a string) string { return strings.Replace(a, "?", "#", 1) }, is(nil)},
		{"nothing", func(_, _, _ string) string { return " \n" }, says("nothing was pasted")},
		{"another state", func(c, _, _ string) string { return c + "#AAAA" }, is(login.ErrForeign)},
		{"empty state", func(c, _, _ string) string { return c + "#" }, is(login.ErrForeign)},
		{"address of another sign-in", func(_, s, a string) string { return strings.Replace(a, s, "AAAA", 1) }, is(login.ErrForeign)},
		{"address without an answer", func(_, _, a string) string { return a[:strings.Index(a, "?")] }, says("an address without a code")},
		{"the address that was opened", func(_, _, _ string) string { return w.url + "/authorize?client_id=x&state=y" }, says("an address without a code")},
		{"address that is none", func(_, _, _ string) string { return "http://[::1/?code=a" }, says("an address without a code")},
		{"declined", func(_, s, _ string) string {
			return "http://x/?error=access_denied&iss=" + url.QueryEscape(w.url) + "&state=" + s
		}, refused("access_denied")},
		{"another issuer", func(c, s, _ string) string { return "http://x/?code=" + c + "&state=" + s + "&iss=http://evil.example" }, is(login.ErrMixUp)},
		{"words", func(_, _, _ string) string { return "I pressed the button" }, says("no code that could be one")},
		{"much", func(_, _, _ string) string { return strings.Repeat("a", 9000) }, says("no code that could be one")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := request(t, w.asking(w.url+"/callback"))
			back := redirected(t, r.URL)
			code, state := back.Query().Get("code"), back.Query().Get("state")
			got, err := r.AcceptPasted(c.paste(code, state, back.String()))
			if !c.check(err) {
				t.Fatalf("AcceptPasted: %v", err)
			}
			if err != nil {
				if strings.Contains(err.Error(), code[:12]) {
					t.Error("the error holds the code")
				}
				return
			}
			if _, err := w.client.Exchange(t.Context(), got); err != nil {
				t.Errorf("Exchange: %v", err)
			}
		})
	}
}

// FuzzPasted: whatever is pasted, no code comes of an answer with another state,
// and no error repeats it.
func FuzzPasted(f *testing.F) {
	for _, s := range []string{"", "code#state", "?code=a&state=b", "http://127.0.0.1/callback?code=a&state=b&iss=c", "error=x&state=", "a#b#c", "://", "code=%zz", "&code=a"} {
		f.Add(s)
	}
	r, err := login.NewRequest(login.Asking{AuthorizeURL: "https://id.example/a", ClientID: "c", RedirectURI: "http://127.0.0.1:1/"})
	if err != nil {
		f.Fatal(err)
	}
	u, err := url.Parse(r.URL)
	if err != nil {
		f.Fatal(err)
	}
	state := u.Query().Get("state")
	f.Fuzz(func(t *testing.T, text string) {
		code, err := r.AcceptPasted(text)
		switch {
		case err == nil && strings.ContainsAny(text, "#?&") && !strings.Contains(text, state):
			// A code may hold "&" and "?"; then it is a code alone.
			if code.Code.Reveal() != strings.Trim(strings.TrimSpace(text), "\"'<>`") {
				t.Errorf("%q without the state gives a code", text)
			}
		case err == nil && code.Code.IsZero():
			t.Errorf("%q gives no code and no error", text)
		case err != nil && len(text) > 24 && strings.Contains(err.Error(), text[:24]) && !errors.Is(err, login.ErrForeign):
			refusal := (*login.Refusal)(nil)
			if !errors.As(err, &refusal) {
				t.Errorf("the error repeats what was pasted: %v", err)
			}
		}
	})
}
