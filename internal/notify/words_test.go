package notify_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/notify"
	"evergrant/internal/oauth"
)

// TestMessages: the members of a message are part of the interface, to the byte.
func TestMessages(t *testing.T) {
	t.Parallel()
	var got string
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = string(b)
	}))
	t.Cleanup(s.Close)
	f := notify.Facts{Grant: acme, Provider: "gitlab", Reason: "needs a <new> consent", Hint: "sign in again", Ends: at(30 * day), Now: at(23 * day), By: "github run 17.1",
		RunURL: "https://github.example/acme/widgets/actions/runs/17"}
	doubt := f
	doubt.NextTry, doubt.Reason = at(23*day+time.Hour), "in doubt: a reply was lost"
	bare := f
	bare.Ends, bare.RunURL, bare.Hint = time.Time{}, "", ""
	for name, tt := range map[string]struct {
		format string
		n      notify.Notice
		want   string
	}{
		"consent": {"", notify.Notice{Kind: notify.ConsentEnds, Facts: f, Days: 7}, `{"version":1,"event":"consent_ends","grant":"acme/api","provider":"gitlab","at":"2026-01-24T12:00:00Z",` +
			`"text":"acme/api: the consent ends in 7 days, at 2026-01-31 12:00 UTC","what_to_do":"sign in again before: evergrant login acme/api with the same settings, or give a new refresh token where the first one was",` +
			`"consent_ends_at":"2026-01-31T12:00:00Z","days_left":7,"next_try":null,"recovered_from":null,"by":"github run 17.1","run_url":"https://github.example/acme/widgets/actions/runs/17"}`},
		"doubt": {"", notify.Notice{Kind: notify.DoubtKind, Facts: doubt}, `{"version":1,"event":"in_doubt","grant":"acme/api","provider":"gitlab","at":"2026-01-24T12:00:00Z",` +
			`"text":"acme/api is in doubt, and tries again by itself: in doubt: a reply was lost","what_to_do":"sign in again","consent_ends_at":"2026-01-31T12:00:00Z","days_left":null,` +
			`"next_try":"2026-01-24T13:00:00Z","recovered_from":null,"by":"github run 17.1","run_url":"https://github.example/acme/widgets/actions/runs/17"}`},
		"recovered": {"json", notify.Notice{Kind: notify.Recovered, Facts: bare, From: notify.UnsavedKind}, `{"version":1,"event":"recovered","grant":"acme/api","provider":"gitlab","at":"2026-01-24T12:00:00Z",` +
			`"text":"acme/api is well again","what_to_do":null,"consent_ends_at":null,"days_left":null,"next_try":null,"recovered_from":"unsaved","by":"github run 17.1","run_url":null}`},
		"Slack": {"slack", notify.Notice{Kind: notify.PersonKind, Facts: f},
			`{"text":"acme/api needs a person: needs a \u0026lt;new\u0026gt; consent\nWhat to do: sign in again\nhttps://github.example/acme/widgets/actions/runs/17"}`},
		"Slack, ended": {"slack", notify.Notice{Kind: notify.ConsentEnds, Facts: notify.Facts{Grant: acme, Ends: at(0), Now: at(time.Hour)}, Days: 1},
			`{"text":"acme/api: the consent has ended, at 2026-01-01 12:00 UTC; its access token may live a little longer\nWhat to do: sign in again before: evergrant login acme/api with the same settings, or give a new refresh token where the first one was"}`},
	} {
		h, err := notify.ParseHook(grant.NewSecret(s.URL+"/x"), tt.format)
		if err != nil {
			t.Fatal(err)
		}
		h.Transport = oauth.NewTransport(oauth.DiscoverConfig{})
		if err := h.Send(t.Context(), &tt.n); err != nil || got != tt.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, got, tt.want)
		}
	}
}

// TestFormatByHost: Slack's own host gets what Slack understands, and any other JSON.
func TestFormatByHost(t *testing.T) {
	t.Parallel()
	for address, slack := range map[string]bool{
		"https://hooks.slack.com/services/T0/B0/canary-x": true, "https://HOOKS.slack.com/services/x": true,
		"https://hooks.slack.com.example/services/x": false, "https://example.com/?hooks.slack.com": false,
	} {
		h, err := notify.ParseHook(grant.NewSecret(address), "")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(h.String(), "canary") {
			t.Errorf("%s names its secret", h)
		}
		sent := &recorder{}
		h.Transport = sent
		if err := h.Send(t.Context(), &notify.Notice{Kind: notify.PersonKind}); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(sent.body, `{"text":`) != slack {
			t.Errorf("%s gets %s", h, sent.body)
		}
	}
}

// recorder answers 200 to whatever comes.
type recorder struct{ body string }

func (r *recorder) RoundTrip(in *http.Request) (*http.Response, error) {
	b, err := io.ReadAll(in.Body)
	r.body = string(b)
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, err
}

// TestNotifierRests: a process that goes on asks nobody while nothing changes, and
// after a failure not before a while.
func TestNotifierRests(t *testing.T) {
	t.Parallel()
	asked, code := 0, http.StatusInternalServerError
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.WriteHeader(code)
	}))
	t.Cleanup(s.Close)
	h, err := notify.ParseHook(grant.NewSecret(s.URL), "")
	if err != nil {
		t.Fatal(err)
	}
	h.Transport = oauth.NewTransport(oauth.DiscoverConfig{})
	now := at(0)
	b, err := notify.NewBook(nil, t.TempDir(), acme, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	n := &notify.Notifier{Hooks: []*notify.Hook{h}, Book: b}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // a call that was cancelled has something to tell as well
	tell := func(after time.Duration, c notify.Condition, wantAsked, wantErrors int) {
		t.Helper()
		now = at(after)
		errs := n.Tell(ctx, notify.Facts{Grant: acme, Condition: c, Reason: "x", Now: now})
		if asked != wantAsked || len(errs) != wantErrors {
			t.Errorf("after %v: asked %d times, want %d; %v", after, asked, wantAsked, errs)
		}
	}
	tell(0, notify.Fine, 0, 0)
	tell(time.Minute, notify.NeedsPerson, 1, 1)
	tell(2*time.Minute, notify.NeedsPerson, 1, 0)
	code = http.StatusOK
	tell(17*time.Minute, notify.NeedsPerson, 2, 0)
	tell(18*time.Minute, notify.NeedsPerson, 2, 0)
	tell(19*time.Minute, notify.Unknown, 2, 0)
	tell(20*time.Minute, notify.Fine, 3, 0)
	tell(21*time.Minute, notify.Fine, 3, 0)
}
