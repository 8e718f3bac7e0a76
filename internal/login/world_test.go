package login_test

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/login"
	"evergrant/internal/oauth"
	"evergrant/internal/simulator"
)

// world is a simulated provider with a client of it.
type world struct {
	srv    *simulator.Server
	url    string
	client *oauth.Client
}

func newWorld(t *testing.T, cfg simulator.Config) world {
	t.Helper()
	srv, err := simulator.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	address, err := srv.Start("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	client, err := oauth.New(oauth.Config{TokenURL: address + "/token", ClientID: simulator.DefaultClient})
	if err != nil {
		t.Fatal(err)
	}
	return world{srv, address, client}
}

func (w world) asking(redirect string) login.Asking {
	return login.Asking{
		AuthorizeURL: w.url + "/authorize", ClientID: simulator.DefaultClient, RedirectURI: redirect, Scope: "read",
		Issuer: w.url, IssRequired: true,
	}
}

func request(t *testing.T, a login.Asking) login.Request {
	t.Helper()
	r, err := login.NewRequest(a)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// answered is what Wait gave.
type answered struct {
	code oauth.Code
	err  error
}

// wait listens and waits in the background. What was strange is sent on a channel.
func wait(t *testing.T, w world, change func(*login.Asking)) (*login.Loopback, login.Request, <-chan answered, <-chan error) {
	t.Helper()
	l, err := login.Listen(login.DefaultRedirect)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	a := w.asking(l.URI)
	if change != nil {
		change(&a)
	}
	r := request(t, a)
	got, strange := make(chan answered, 1), make(chan error, 10)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() {
		code, err := l.Wait(ctx, r, func(err error) { strange <- err })
		got <- answered{code, err}
	}()
	return l, r, got, strange
}

// page is what a browser ends at.
type page struct {
	status  int
	address string // where it ended
	text    string
	header  http.Header
	trail   []string // the addresses that it was sent on from
}

// visit opens an address as a browser does. It fails the test on its own
// goroutine's behalf by an empty page.
func visit(address string, change ...func(*http.Request)) page {
	var p page
	c := &http.Client{Timeout: 20 * time.Second, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		p.trail = append(p.trail, via[len(via)-1].URL.String())
		return nil
	}}
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		return page{text: err.Error()}
	}
	for _, f := range change {
		f(req)
	}
	resp, err := c.Do(req)
	if err != nil {
		return page{text: err.Error()}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return page{text: err.Error()}
	}
	p.status, p.address, p.text, p.header = resp.StatusCode, resp.Request.URL.String(), string(b), resp.Header
	return p
}

// browse is visit in the background.
func browse(address string) <-chan page {
	c := make(chan page, 1)
	go func() { c <- visit(address) }()
	return c
}

// redirected returns where an address sends the browser, without going there.
func redirected(t *testing.T, address string) *url.URL {
	t.Helper()
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	u, err := resp.Location()
	if err != nil {
		t.Fatalf("HTTP %d sends nowhere", resp.StatusCode)
	}
	return u
}

// holds reports whether a text shows a secret, or a piece of it.
func holds(text string, s grant.Secret) bool {
	v := s.Reveal()
	return v != "" && strings.Contains(text, v[:min(len(v), 12)])
}
