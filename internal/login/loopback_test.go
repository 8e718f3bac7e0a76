package login_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"evergrant/internal/login"
	"evergrant/internal/simulator"
)

func TestBrowserComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, simulator.Config{})
	l, r, got, _ := wait(t, w, nil)
	shown := browse(r.URL)
	a := <-got
	if a.err != nil {
		t.Fatal(a.err)
	}
	issued, err := w.client.Exchange(t.Context(), a.code)
	if err != nil {
		t.Fatal(err)
	}
	if !w.srv.Usable(issued.Tokens.Refresh) || !w.srv.AccessValid(issued.Tokens.Access.Value) {
		t.Error("the tokens of the sign-in are no good")
	}
	if strings.Join(issued.Tokens.Access.Scope, " ") != "read" {
		t.Errorf("scope %q", issued.Tokens.Access.Scope)
	}
	l.Finish(login.Ending{OK: true, Title: "Signed in", Say: "All <well> & done."})
	p := <-shown
	if p.status != http.StatusOK || !strings.Contains(p.text, "<h1>Signed in</h1>") || !strings.Contains(p.text, "All &lt;well&gt; &amp; done.") {
		t.Errorf("the browser shows HTTP %d: %s", p.status, p.text)
	}
	// What the browser keeps: the page's address, without code and state.
	if u, _ := url.Parse(p.address); u == nil || u.RawQuery != "" || u.Path != "/evergrant/done" {
		t.Errorf("the browser ends at %s", p.address)
	}
	if holds(p.text+p.address, a.code.Code) || holds(p.text, issued.Tokens.Refresh) || holds(p.text, issued.Tokens.Access.Value) {
		t.Error("the page holds a secret")
	}
	for name, want := range map[string]string{"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"} {
		if p.header.Get(name) != want {
			t.Errorf("%s is %q", name, p.header.Get(name))
		}
	}
	if _, err := net.Dial("tcp", strings.TrimPrefix(strings.TrimSuffix(l.URI, "/callback"), "http://")); err == nil {
		t.Error("the port is still open")
	}
}

// TestSecondVisit: a reload while the code is redeemed, and one after it, see the
// same end and are no second answer.
func TestSecondVisit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, simulator.Config{})
	l, r, got, strange := wait(t, w, nil)
	back := redirected(t, r.URL).String()
	first := browse(back)
	if a := <-got; a.err != nil {
		t.Fatal(a.err)
	}
	second := browse(back)
	if early := visit(strings.Replace(l.URI, "/callback", "/evergrant/done", 1)); early.status != http.StatusNotFound {
		t.Errorf("the last page is there before the end: HTTP %d", early.status)
	}
	l.Finish(login.Ending{OK: true, Title: "Signed in"})
	for _, p := range []page{<-first, <-second} {
		if p.status != 0 && !strings.Contains(p.text, "Signed in") { // 0: the port was closed meanwhile
			t.Errorf("a visit ends at HTTP %d: %s", p.status, p.text)
		}
	}
	if len(strange) != 0 {
		t.Errorf("a reload counts as %v", <-strange)
	}
}

func TestStrangersChangeNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, simulator.Config{})
	l, r, got, strange := wait(t, w, nil)
	back := redirected(t, r.URL)
	with := func(change func(url.Values)) string {
		u, q := *back, back.Query()
		change(q)
		u.RawQuery = q.Encode()
		return u.String()
	}
	port := strings.TrimSuffix(l.URI, "/callback")
	for _, c := range []struct {
		name, address string
		change        func(*http.Request)
		status        int
		strange       bool
	}{
		{"wrong state", with(func(q url.Values) { q.Set("state", "AAAA") }), nil, 400, true},
		{"no state", with(func(q url.Values) { q.Del("state") }), nil, 400, true},
		{"state twice", with(func(q url.Values) { q.Add("state", q.Get("state")) }), nil, 400, true},
		{"state in pieces", with(func(q url.Values) { q.Set("state", q.Get("state")[:20]) }), nil, 400, true},
		{"error without state", l.URI + "?error=access_denied", nil, 400, true},
		{"query that is none", l.URI + "?state=%zz", nil, 400, true},
		{"nothing", l.URI, nil, 400, true},
		{"another path", port + "/favicon.ico", nil, 404, false},
		{"another method", back.String(), func(r *http.Request) { r.Method = http.MethodPost }, 405, false},
		{"look ahead", back.String(), func(r *http.Request) { r.Method = http.MethodHead }, 405, false},
		{"another name", back.String(), func(r *http.Request) { r.Host = "evil.example" }, 421, false},
	} {
		var changes []func(*http.Request)
		if c.change != nil {
			changes = append(changes, c.change)
		}
		if p := visit(c.address, changes...); p.status != c.status {
			t.Errorf("%s: HTTP %d, want %d: %s", c.name, p.status, c.status, p.text)
		}
		select {
		case err := <-strange:
			if !c.strange || !errors.Is(err, login.ErrForeign) {
				t.Errorf("%s: strange: %v", c.name, err)
			}
		default:
			if c.strange {
				t.Errorf("%s: nobody was told", c.name)
			}
		}
	}
	select {
	case a := <-got:
		t.Fatalf("a stranger ended the sign-in: %v", a.err)
	default:
	}
	shown := browse(back.String())
	if a := <-got; a.err != nil {
		t.Errorf("the true answer is not taken after that: %v", a.err)
	}
	l.Finish(login.Ending{OK: true, Title: "Signed in"})
	<-shown
}

func TestAnswersThatAreNoConsent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		cfg    simulator.Config
		asking func(*login.Asking)
		query  func(url.Values)
		check  func(error) bool
	}{
		{"declined", simulator.Config{Approve: simulator.ApproveDeny}, nil, nil, refused("access_denied")},
		{"scope", simulator.Config{Clients: []simulator.Client{{ID: simulator.DefaultClient, Redirects: []string{login.DefaultRedirect}, Scope: []string{"other"}}}}, nil, nil, refused("invalid_scope")},
		{"another issuer", simulator.Config{}, nil, func(q url.Values) { q.Set("iss", "https://evil.example") }, is(login.ErrMixUp)},
		{"no issuer", simulator.Config{}, nil, func(q url.Values) { q.Del("iss") }, is(login.ErrMixUp)},
		{"no issuer, none promised", simulator.Config{}, func(a *login.Asking) { a.IssRequired = false }, func(q url.Values) { q.Del("iss") }, is(nil)},
		{"another issuer, none promised", simulator.Config{}, func(a *login.Asking) { a.IssRequired = false }, func(q url.Values) { q.Set("iss", "https://evil.example") }, is(login.ErrMixUp)},
		{"issuer unknown here", simulator.Config{}, func(a *login.Asking) { a.Issuer, a.IssRequired = "", false }, nil, is(nil)},
		{"no code", simulator.Config{}, nil, func(q url.Values) { q.Del("code") }, says("no code")},
		{"a code that is none", simulator.Config{}, nil, func(q url.Values) { q.Set("code", "a b") }, says("no code")},
		{"an error made of words", simulator.Config{}, nil, func(q url.Values) { q.Set("error", "##[error]do this") }, refused("")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.cfg)
			l, r, got, _ := wait(t, w, c.asking)
			back := redirected(t, r.URL)
			if c.query != nil {
				q := back.Query()
				c.query(q)
				back.RawQuery = q.Encode()
			}
			shown := browse(back.String())
			if a := <-got; !c.check(a.err) {
				t.Errorf("Wait: %v", a.err)
			}
			l.Finish(login.Ending{Title: "Not signed in"})
			if p := <-shown; p.status != http.StatusOK || !strings.Contains(p.text, "Not signed in") {
				t.Errorf("the browser shows HTTP %d: %s", p.status, p.text)
			}
		})
	}
}

func is(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }

func says(text string) func(error) bool {
	return func(err error) bool { return err != nil && strings.Contains(err.Error(), text) }
}

func refused(code string) func(error) bool {
	return func(err error) bool {
		r := (*login.Refusal)(nil)
		return errors.As(err, &r) && r.Code == code && !strings.Contains(err.Error(), "##")
	}
}

func TestWaitingEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, simulator.Config{})
	l, err := login.Listen(login.DefaultRedirect)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Wait(ctx, request(t, w.asking(l.URI)), func(error) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait: %v", err)
	}
	l.Finish(login.Ending{Title: "Not signed in"}) // nobody came: it does not wait for a page
	l.Close()
}

func TestListen(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct{ uri, says string }{
		{"http://" + taken.Addr().String() + "/callback", "in use by another program"},
		{"https://127.0.0.1/callback", "must be http://127.0.0.1:PORT/PATH"},
		{"http://example.com/callback", "not on this machine"},
		{"http://192.0.2.1/callback", "not on this machine"},
		{"http://user@127.0.0.1/callback", "must be http://127.0.0.1:PORT/PATH"},
		{"http://127.0.0.1/callback#x", "must be http://127.0.0.1:PORT/PATH"},
		{"http://127.0.0.1/callback?x=y", "must be http://127.0.0.1:PORT/PATH"},
		{"://", "must be http://127.0.0.1:PORT/PATH"},
		{"", "must be http://127.0.0.1:PORT/PATH"},
	} {
		if l, err := login.Listen(c.uri); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("Listen(%q): %v; want %q", c.uri, err, c.says)
			if err == nil {
				l.Close()
			}
		}
	}
	for _, uri := range []string{"http://127.0.0.1/callback", "http://localhost", "http://localhost/a/b", "http://[::1]/callback"} {
		l, err := login.Listen(uri)
		if err != nil {
			if strings.Contains(uri, "::1") {
				continue // a machine without IPv6
			}
			t.Errorf("Listen(%q): %v", uri, err)
			continue
		}
		u, err := url.Parse(l.URI)
		if err != nil || u.Port() == "" || u.Port() == "0" || u.Path != pathOf(uri) {
			t.Errorf("Listen(%q) is at %q", uri, l.URI)
		}
		l.Close()
	}
}

func pathOf(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return "?"
	}
	return u.Path
}
