package giteasecret_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/grant/granttest"
	"evergrant/internal/oauth"
	"evergrant/internal/sink/giteasecret"
)

const token = "canary-gitea-41"

// double answers as Gitea 1.26.0 was seen to: 201 for a new secret, 204 for a
// changed one, 403 to who is no owner, and 400 for more than 65,536 bytes.
type double struct {
	mu      sync.Mutex
	values  map[string]string
	asked   []string
	answers []int         // instead of acting, in turn; 0: the connection is cut
	hang    chan struct{} // not nil: nothing is answered before it is closed
	not     bool          // another kind of server, which is always well
}

func (d *double) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, r.Method+" "+r.URL.String())
	if d.hang != nil {
		<-d.hang
		return
	}
	if len(d.answers) > 0 {
		status := d.answers[0]
		d.answers = d.answers[1:]
		if status == 0 {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"message":"canary-of-the-answer"}`)
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/api/v1/repos/acme/widgets/actions/secrets")
	var body struct{ Data string }
	switch {
	case d.not:
		_, _ = io.WriteString(w, `{"ok":true}`)
	case r.Header.Get("Authorization") == "token canary-of-a-reader":
		w.WriteHeader(http.StatusForbidden)
	case r.Header.Get("Authorization") != "token "+token:
		w.WriteHeader(http.StatusUnauthorized)
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodGet && name == "":
		_, _ = io.WriteString(w, `[{"name":"OTHER","created_at":"2026-01-02T03:04:05Z"}]`)
	case r.Method != http.MethodPut || r.Header.Get("Content-Type") != "application/json":
		w.WriteHeader(http.StatusMethodNotAllowed)
	case json.NewDecoder(r.Body).Decode(&body) != nil || body.Data == "" || len(body.Data) > 65_536:
		w.WriteHeader(http.StatusBadRequest)
	default:
		_, there := d.values[name[1:]]
		d.values[name[1:]] = body.Data
		w.WriteHeader(map[bool]int{true: http.StatusNoContent, false: http.StatusCreated}[there])
	}
}

func (d *double) value(name string) (string, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v, ok := d.values[name]
	return v, ok
}

// requests are what was asked so far.
func (d *double) requests() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.asked)
}

// set changes how it answers.
func (d *double) set(change func(*double)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, reference, with string) (*double, *giteasecret.Sink) {
	t.Helper()
	d := &double{values: map[string]string{}}
	forge := httptest.NewServer(d)
	t.Cleanup(forge.Close)
	of, _, err := giteasecret.ParseReference(reference)
	must(t, err)
	s, err := giteasecret.Open(of, forge.URL+"/api/v1/", giteasecret.Access{Token: grant.NewSecret(with),
		Transport: oauth.NewTransport(oauth.DiscoverConfig{UserAgent: "evergrant/test"})})
	must(t, err)
	return d, s
}

func access(value string) grant.AccessToken {
	return grant.AccessToken{Value: grant.NewSecret(value)}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	granttest.TestSink(t, func(t *testing.T) granttest.SinkPlace {
		d, s := open(t, "acme/widgets/api_token", token)
		return granttest.SinkPlace{Sink: s, Values: func(*testing.T) []string {
			if v, ok := d.value("API_TOKEN"); ok {
				return []string{v}
			}
			return nil
		}}
	}, granttest.SinkOptions{Broken: func(t *testing.T) grant.Sink {
		_, s := open(t, "acme/widgets/API_TOKEN", "canary-of-a-reader")
		return s
	}})
}

// inside lets a handler answer without a network, so that a test's time need not
// pass.
type inside struct{ http.Handler }

func (i inside) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	w := httptest.NewRecorder()
	defer func() {
		if recover() != nil {
			resp, err = nil, errors.New("the connection was cut")
		}
	}()
	i.ServeHTTP(w, r)
	return w.Result(), nil
}

// TestAnswers: each answer has its words, repeats nothing of the forge's or of
// ours, and is asked for again only where that can help, and then for as long as
// two minutes.
func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		answers []int
		says    string // "": delivered
		asked   int
	}{
		{[]int{401}, "does not know the token", 1},
		{[]int{403}, "write:repository", 1},
		{[]int{404}, "no repository acme/widgets", 1},
		{[]int{400}, "does not accept the secret acme/widgets/API_TOKEN", 1},
		{[]int{422}, "does not accept", 1},
		{[]int{307}, "has moved", 1},
		{[]int{200}, "not one of Gitea's API", 1},
		{[]int{500}, "", 2},
		{[]int{0, 429}, "", 3},
		{[]int{502, 503, 500}, "", 4},
		{slices.Repeat([]int{502}, 14), "", 15},
		{slices.Repeat([]int{503}, 100), "HTTP 503", 16},
		{slices.Repeat([]int{0}, 100), "cannot be asked", 16},
	} {
		synctest.Test(t, func(t *testing.T) {
			d, begun := &double{values: map[string]string{}, answers: tt.answers}, time.Now()
			of, _, err := giteasecret.ParseReference("acme/widgets/API_TOKEN")
			must(t, err)
			s, err := giteasecret.Open(of, "https://forge.example/api/v1", giteasecret.Access{Token: grant.NewSecret(token), Transport: inside{d}})
			must(t, err)
			err = s.Deliver(t.Context(), access("canary-access"))
			if (err == nil) != (tt.says == "") || err != nil && (!strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "\n")) {
				t.Errorf("%v: %v, want %q", tt.answers, err, tt.says)
			}
			if _, there := d.value("API_TOKEN"); there != (tt.says == "") || len(d.requests()) != tt.asked || time.Since(begun) > giteasecret.Patience {
				t.Errorf("%v: the secret is there: %v; asked %d times in %v, want %d", tt.answers, there, len(d.requests()), time.Since(begun), tt.asked)
			}
		})
	}
}

func TestDeliverEndsWithItsContext(t *testing.T) {
	t.Parallel()
	d, s := open(t, "acme/widgets/API_TOKEN", token)
	release := make(chan struct{})
	d.set(func(d *double) { d.hang = release })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := s.Deliver(ctx, access("canary-access"))
	close(release)
	if !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "canary") {
		t.Errorf("%v, want the end of its context", err)
	}
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	d, s := open(t, "acme/widgets/API_TOKEN", token)
	must(t, s.Deliver(t.Context(), access(strings.Repeat("x", 65_536))))
	err := s.Deliver(t.Context(), access(strings.Repeat("y", 65_537)))
	if v, _ := d.value("API_TOKEN"); !errors.Is(err, grant.ErrTooLarge) || len(d.requests()) != 1 || v[0] != 'x' {
		t.Errorf("%v after %d requests", err, len(d.requests()))
	}
}

// TestCheck finds what has to be mended, and tells it from what passes. It writes nothing.
func TestCheck(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		reference, token string
		spoil            func(*double)
		fails            bool // by what somebody has to mend
	}{
		"well":          {"acme/widgets/X", token, func(*double) {}, false},
		"a reader":      {"acme/widgets/X", "canary-of-a-reader", func(*double) {}, true},
		"unknown":       {"acme/widgets/X", "canary-of-nobody", func(*double) {}, true},
		"no repository": {"acme/gadgets/X", token, func(*double) {}, true},
		"no Gitea":      {"acme/widgets/X", token, func(d *double) { d.not = true }, true},
		"moved":         {"acme/widgets/X", token, func(d *double) { d.answers = []int{301} }, true},
	} {
		d, s := open(t, tt.reference, tt.token)
		d.set(tt.spoil)
		if err := s.Check(t.Context()); (err != nil) != tt.fails || errors.Is(err, grant.ErrUnasked) || err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v, want an error: %v", name, err, tt.fails)
		}
		if len(d.requests()) != 1 || !strings.HasPrefix(d.requests()[0], "GET ") {
			t.Errorf("%s: asked %v", name, d.requests())
		}
	}
	for _, answer := range []int{0, 500, 429} {
		d, s := open(t, "acme/widgets/X", token)
		d.set(func(d *double) { d.answers = []int{answer} })
		if err := s.Check(t.Context()); !errors.Is(err, grant.ErrUnasked) || strings.Contains(err.Error(), "canary") {
			t.Errorf("answer %d: %v, want ErrUnasked", answer, err)
		}
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ reference, is, api, says string }{
		{"acme/widgets/api_token", "acme/widgets/API_TOKEN", "", ""},
		{"ac.me/wid-gets.x/_T?api=https://forge.example/api/v1", "ac.me/wid-gets.x/_T", "https://forge.example/api/v1", ""},
		{"acme/widgets", "", "", "OWNER/REPO/NAME"},
		{"acme/widgets/a/b", "", "", "OWNER/REPO/NAME"},
		{"acme/../X", "", "", "the name of the repository"},
		{"/widgets/X", "", "", "the name of the repository"},
		{"ac%2fme/widgets/X", "", "", "the name of the repository"},
		{"acme/widgets/1X", "", "", "starts with no digit"},
		{"acme/widgets/A-B", "", "", "letters, digits and _"},
		{"acme/widgets/gitea_x", "", "", "GITEA_"},
		{"acme/widgets/GITHUB_X", "", "", "GITHUB_"},
		{"acme/widgets/ci", "", "", "is CI"},
		{"acme/widgets/X?", "", "", "name=value"},
		{"acme/widgets/X?api=", "", "", "knows ?api=URL"},
		{"acme/widgets/X?environment=prod", "", "", "no environment"},
		{"acme/widgets/" + strings.Repeat("X", 256), "", "", "name of a secret"},
	} {
		of, api, err := giteasecret.ParseReference(tt.reference)
		if tt.says == "" && (err != nil || of.String() != tt.is || api != tt.api) || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
			t.Errorf("%s: %v, %q, %v", tt.reference, of, api, err)
		}
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ raw, is, says string }{
		{"https://Forge.Example/api/v1/", "https://forge.example/api/v1", ""},
		{"https://forge.example:8443/git/api/v1", "https://forge.example:8443/git/api/v1", ""},
		{"http://127.0.0.1:3000/api/v1", "http://127.0.0.1:3000/api/v1", ""},
		{"http://[::1]:3000/api/v1", "http://[::1]:3000/api/v1", ""},
		{"", "", "names no forge"},
		{"http://forge.example/api/v1", "", "must be https"},
		{"http://127.0.0.1.example/api/v1", "", "must be https"},
		{"https://api.github.com", "", "does not end in /api/v1"},
		{"https://forge.example/api/v3", "", "does not end in /api/v1"},
		{"https://forge.example/x/../api/v1", "", "does not end in /api/v1"},
		{"https://me:canary@forge.example/api/v1", "", "remove the part before the @"},
		{"https://forge.example/api/v1?x=canary", "", "is not a URL like"},
		{"canary", "", "is not a URL like"},
	} {
		api, err := giteasecret.ParseAPI(tt.raw)
		if tt.says == "" && (err != nil || api != tt.is) || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "canary")) {
			t.Errorf("%s: %q, %v", tt.raw, api, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	of, _, err := giteasecret.ParseReference("acme/widgets/X")
	must(t, err)
	for says, a := range map[string]giteasecret.Access{
		"no token":                  {Transport: http.DefaultTransport},
		"no transport":              {Token: grant.NewSecret("canary")},
		"a space, a line break":     {Token: grant.NewSecret("canary canary"), Transport: http.DefaultTransport},
		"character that no token h": {Token: grant.NewSecret("canary\nx"), Transport: http.DefaultTransport},
	} {
		if _, err := giteasecret.Open(of, "https://forge.example/api/v1", a); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%v, want %q", err, says)
		}
	}
}
