package simulator_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/simulator"
)

// waits is a Config.Wait that is over at once and notes what was asked for.
type waits chan time.Duration

func (w waits) wait(_ <-chan struct{}, d time.Duration) bool { w <- d; return true }

func TestFaults(t *testing.T) {
	t.Parallel()
	const (
		acted, lost = simulator.Rotated, simulator.DroppedBefore
		whole       = simulator.SentWhole
		damaged     = simulator.SentDamaged
		nothing     = simulator.SentNothing
	)
	broken := func(g got) bool { return g.err != nil && g.status == 0 }
	status := func(n int) func(got) bool { return func(g got) bool { return g.err == nil && g.status == n } }
	good := func(g got) bool { return g.status == 200 && g.text("refresh_token") != "" }
	tests := []struct {
		fault   string
		outcome simulator.Outcome
		sent    simulator.Sent
		sees    func(got) bool
	}{
		{"slow,before=3s,after=4s", acted, whole, good},
		{"drop-unread", lost, nothing, broken},
		{"drop-unread,reset", lost, nothing, func(g got) bool { return errors.Is(g.err, syscall.ECONNRESET) }},
		{"drop", lost, nothing, func(g got) bool { return errors.Is(g.err, io.EOF) }},
		{"drop,reset", lost, nothing, func(g got) bool { return errors.Is(g.err, syscall.ECONNRESET) }},
		{"drop,acted", acted, nothing, broken},
		{"half", acted, damaged, func(g got) bool { return errors.Is(g.err, io.ErrUnexpectedEOF) && g.status == 200 && len(g.body) > 20 }},
		{"half,keep=0.9", acted, damaged, func(g got) bool {
			return errors.Is(g.err, io.ErrUnexpectedEOF) && strings.Contains(g.body, `"refresh_token":"sim-refresh-`)
		}},
		{"drip,every=5s", acted, whole, good},
		{"truncated", acted, damaged, func(g got) bool {
			return g.err == nil && g.status == 200 && strings.HasPrefix(g.body, `{"access_token":"`) && g.json == nil
		}},
		{"truncated,keep=0.01", acted, damaged, func(g got) bool { return g.err == nil && g.body == "{" }},
		{"content-type", acted, whole, func(g got) bool { return good(g) && strings.HasPrefix(g.header.Get("Content-Type"), "text/html") }},
		{"content-type,content-type=text/javascript", acted, whole, func(g got) bool { return good(g) && g.header.Get("Content-Type") == "text/javascript" }},
		{"status,status=429,retry-after=7s", lost, nothing, func(g got) bool { return g.status == 429 && g.header.Get("Retry-After") == "7" }},
		{"status,status=503", lost, nothing, func(g got) bool { return g.status == 503 && g.header.Get("Retry-After") == "" }},
		{"status,status=503,retry-after=1ms", lost, nothing, func(g got) bool { return g.status == 503 && g.header.Get("Retry-After") == "0" }},
		{"status,status=503,retry-after=1m0s,retry-date", lost, nothing, func(g got) bool {
			return g.header.Get("Date") == "Sun, 01 Mar 2026 12:00:00 GMT" && g.header.Get("Retry-After") == "Sun, 01 Mar 2026 12:01:00 GMT"
		}},
		{"status", lost, nothing, status(500)},
		{"status,acted", acted, damaged, status(500)},
		{"status,status=502,acted", acted, damaged, status(502)},
		{`status,status=400,content-type=application/json,body={"error":"server_error","x":"a,b"}`, lost, nothing, func(g got) bool {
			return g.status == 400 && g.text("error") == "server_error" && g.text("x") == "a,b"
		}},
		{"html", lost, nothing, func(g got) bool {
			return g.status == 403 && strings.HasPrefix(g.header.Get("Content-Type"), "text/html") && strings.Contains(g.body, "browser")
		}},
		{"html,acted,status=200", acted, damaged, status(200)},
		{"nonsense", lost, nothing, func(g got) bool { return g.status == 200 && g.json == nil && len(g.body) > 0 }},
		{"nonsense,acted", acted, damaged, status(200)},
		{"empty,acted", acted, damaged, func(g got) bool { return g.status == 200 && g.body == "" }},
		{"redirect", lost, nothing, func(g got) bool { return g.status == 307 && g.header.Get("Location") == "/userinfo" }},
		{"canned,body=hello", lost, nothing, func(g got) bool { return g.status == 200 && g.body == "hello" }},
		{"huge,size=300000,acted", acted, damaged, func(g got) bool { return g.err == nil && len(g.body) == 300000 && g.json == nil }},
		{"huge", lost, nothing, func(g got) bool { return g.err == nil && len(g.body) == 1<<20 }}, // the client stops reading there
	}
	for _, tc := range tests {
		t.Run(tc.fault, func(t *testing.T) {
			t.Parallel()
			waited := make(waits, 1000)
			p := start(t, simulator.Config{Wait: waited.wait, Now: func() time.Time { return epoch }})
			f, err := simulator.ParseFault(tc.fault)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.SetFaults(f); err != nil {
				t.Fatal(err)
			}
			_, token, _ := p.family(t)
			g := p.refresh(t, token)
			if !tc.sees(g) {
				t.Errorf("the client sees %d %v, %d bytes, error %v", g.status, g.header, len(g.body), g.err)
			}
			l := p.Ledger().Presentations
			if len(l) != 1 || l[0].Outcome != tc.outcome || l[0].Reply != tc.sent {
				t.Fatalf("ledger %+v", l)
			}
			if f.Kind == simulator.FaultDropUnread {
				if l[0].Token != "" {
					t.Error("the ledger knows a token that was not read")
				}
			} else if l[0].Token != grant.NewSecret(token).Digest() || l[0].Client != simulator.DefaultClient {
				t.Errorf("the ledger names %+v", l[0])
			}
			if p.Usable(grant.NewSecret(token)) != (tc.outcome == lost) {
				t.Error("usable contradicts the ledger")
			}
			checkWaits(t, waited, f, len(g.body))
			if rest := p.Faults(); len(rest) != 0 {
				t.Errorf("faults %v are left", rest)
			}
			if after := p.refresh(t, token); (after.status == 200) != (tc.outcome == lost) {
				t.Errorf("the next request gets %d", after.status)
			}
		})
	}
}

func checkWaits(t *testing.T, waited waits, f simulator.Fault, body int) {
	t.Helper()
	var want []time.Duration
	if f.Before > 0 {
		want = append(want, f.Before)
	}
	if f.After > 0 {
		want = append(want, f.After)
	}
	if f.Kind == simulator.FaultDrip {
		for range body {
			want = append(want, f.Every)
		}
	}
	if len(waited) != len(want) {
		t.Fatalf("%d waits, want %d", len(waited), len(want))
	}
	for _, d := range want {
		if got := <-waited; got != d {
			t.Errorf("waited %v, want %v", got, d)
		}
	}
}

// TestSlowServerActsOnWhatWasGivenUp: the client leaves, and the token is spent
// all the same.
func TestSlowServerActsOnWhatWasGivenUp(t *testing.T) {
	t.Parallel()
	waiting, release := make(chan struct{}), make(chan struct{})
	p := start(t, simulator.Config{Wait: func(<-chan struct{}, time.Duration) bool {
		close(waiting)
		<-release
		return true
	}})
	if err := p.SetFaults(simulator.Fault{Kind: simulator.FaultSlow, Before: time.Minute}); err != nil {
		t.Fatal(err)
	}
	family, token, _ := p.family(t)
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		body := formBody("grant_type", "refresh_token", "client_id", simulator.DefaultClient, "refresh_token", token)
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/token", strings.NewReader(body))
		if err == nil {
			r.Header.Set("Content-Type", formType)
			_, err = p.client.Do(r)
		}
		left <- err
	}()
	<-waiting
	if l := p.Ledger(); l.Pending != 1 || len(l.Presentations) != 0 {
		t.Errorf("while it waits: %+v", l)
	}
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Fatalf("the client got %v", err)
	}
	close(release)
	if err := p.Close(); err != nil { // waits for the request
		t.Fatal(err)
	}
	l := p.Ledger()
	if s, _ := l.Family(family); l.Pending != 0 || s.Generation != 2 || len(l.Presentations) != 1 ||
		l.Presentations[0].Outcome != simulator.Rotated {
		t.Errorf("afterwards: %+v", l)
	}
}

func TestCloseEndsDelaysWithoutActing(t *testing.T) {
	t.Parallel()
	waiting := make(chan struct{})
	p := start(t, simulator.Config{Wait: func(done <-chan struct{}, _ time.Duration) bool {
		close(waiting)
		<-done
		return false
	}})
	if err := p.SetFaults(simulator.Fault{Kind: simulator.FaultSlow, Before: time.Hour}); err != nil {
		t.Fatal(err)
	}
	_, token, _ := p.family(t)
	answered := make(chan got)
	go func() { answered <- p.refresh(t, token) }()
	<-waiting
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if g := <-answered; g.err == nil {
		t.Errorf("a closed server answered %d", g.status)
	}
	if l := p.Ledger().Presentations; len(l) != 1 || l[0].Outcome != simulator.DroppedBefore {
		t.Errorf("ledger %+v", l)
	}
}

func TestDelaysEndByThemselves(t *testing.T) {
	t.Parallel()
	p := start(t, simulator.Config{})
	if err := p.SetFaults(simulator.Fault{Kind: simulator.FaultSlow, Before: 1, After: 1}); err != nil {
		t.Fatal(err)
	}
	_, token, _ := p.family(t)
	if g := p.refresh(t, token); g.status != http.StatusOK {
		t.Errorf("a delayed request gets %d, %v", g.status, g.err)
	}
}

func TestFaultsByCount(t *testing.T) {
	t.Parallel()
	p := start(t, simulator.Config{})
	err := p.SetFaults(
		simulator.Fault{Kind: simulator.FaultStatus, Status: 502, Times: 2},
		simulator.Fault{Kind: simulator.FaultHTML},
		simulator.Fault{Kind: simulator.FaultStatus, Status: 504, Chance: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, token, _ := p.family(t)
	for i, want := range []int{502, 502, 403, 504, 504} {
		if g := p.refresh(t, token); g.status != want {
			t.Errorf("request %d gets %d, want %d", i, g.status, want)
		}
	}
	if err := p.SetFaults(); err != nil {
		t.Fatal(err)
	}
	if g := p.refresh(t, token); g.status != 200 {
		t.Errorf("after the faults: %d", g.status)
	}
}

func TestFaultsByChanceFollowTheSeed(t *testing.T) {
	t.Parallel()
	run := func(seed uint64) (pattern string) {
		p := start(t, simulator.Config{Seed: seed})
		if err := p.SetFaults(simulator.Fault{Kind: simulator.FaultHTML, Chance: 0.5}); err != nil {
			t.Fatal(err)
		}
		for range 40 {
			g := p.refresh(t, "unknown")
			pattern += map[int]string{400: ".", 403: "x"}[g.status]
		}
		return pattern
	}
	first := run(1)
	if n := strings.Count(first, "x"); n < 8 || n > 32 || len(first) != 40 {
		t.Errorf("a chance of a half hits %d of 40: %s", n, first)
	}
	if again := run(1); again != first {
		t.Errorf("one seed, two runs:\n%s\n%s", first, again)
	}
	if other := run(2); other == first {
		t.Error("two seeds, one run")
	}
}

func TestParseFault(t *testing.T) {
	t.Parallel()
	const all = "canned,times=3,acted,before=1s,after=2m0s,reset,every=1ms,status=418,retry-after=5s,retry-date,keep=0.25,size=9,content-type=a/b,body=x,y=z"
	for _, text := range []string{all, "drop", "huge,chance=0.125"} {
		f, err := simulator.ParseFault(text)
		if err != nil || f.String() != text {
			t.Errorf("%q is read as %q: %v", text, f, err)
		}
	}
	for text, says := range map[string]string{
		"":                        "unknown fault",
		"explode":                 "unknown fault",
		"drop,times=x":            "times=x cannot be read",
		"drop,times=-1":           "times above 0",
		"drop,times=1,chance=0.1": "times above 0",
		"drop,chance=2":           "chance up to 1",
		"drop,chance=NaN":         "chance up to 1",
		"half,keep=NaN":           "below 1",
		"drop,before=-1s":         "negative",
		"half,keep=1":             "below 1",
		"status,status=100":       "no final HTTP status",
		"drop,acted=yes":          "takes no value",
		"drop,colour=red":         "no member of a fault",
		"drop-unread,acted":       "cannot act",
	} {
		if _, err := simulator.ParseFault(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
}

func FuzzParseFault(f *testing.F) {
	f.Add("status,status=503,retry-after=2s,times=3")
	f.Add("drop,acted,chance=0.2,body=a,b")
	f.Fuzz(func(t *testing.T, text string) {
		fault, err := simulator.ParseFault(text)
		if err != nil {
			return
		}
		again, err := simulator.ParseFault(fault.String())
		if err != nil || again != fault {
			t.Errorf("%q is written as %q and read as %q: %v", text, fault, again, err)
		}
	})
}

func TestHandlerRefusesHTTP2(t *testing.T) {
	t.Parallel()
	s := peerless(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/userinfo", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.ProtoMajor = 2
	w := &plainWriter{header: http.Header{}}
	s.Handler().ServeHTTP(w, r)
	if w.status != http.StatusHTTPVersionNotSupported {
		t.Errorf("HTTP/2 gets %d", w.status)
	}
	// A writer that is no connection cannot be dropped, and says so.
	if err := s.SetFaults(simulator.Fault{Kind: simulator.FaultDropUnread}); err != nil {
		t.Fatal(err)
	}
	r.ProtoMajor, r.URL.Path = 1, "/token"
	s.Handler().ServeHTTP(w, r)
	if w.status != http.StatusInternalServerError {
		t.Errorf("an undroppable connection gets %d", w.status)
	}
}

type plainWriter struct {
	header http.Header
	status int
}

func (w *plainWriter) Header() http.Header         { return w.header }
func (w *plainWriter) WriteHeader(n int)           { w.status = n }
func (w *plainWriter) Write(b []byte) (int, error) { return len(b), nil }

func TestLedgerHoldsNoTokens(t *testing.T) {
	t.Parallel()
	p := start(t, simulator.Config{})
	_, r1, a1 := p.family(t)
	g := p.refresh(t, r1)
	b, err := json.Marshal(p.Ledger())
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{"r1": r1, "a1": a1, "r2": g.text("refresh_token"), "a2": g.text("access_token")} {
		if strings.Contains(string(b), token) {
			t.Errorf("the ledger holds %s", name)
		}
		if !strings.Contains(string(b), grant.NewSecret(token).Digest()) {
			t.Errorf("the ledger lacks the digest of %s", name)
		}
	}
}
