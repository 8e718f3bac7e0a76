package cli_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"evergrant/internal/cli"
	"evergrant/internal/githubapi/double"
	"evergrant/internal/grant"
	"evergrant/internal/simulator"
)

// TestConsentEndsOnce: a consent of thirty days, a job a day, each on a machine that
// nobody has seen before. Each threshold is told once, then that a person is needed,
// and that the grant is well again, in every store that machines share.
func TestConsentEndsOnce(t *testing.T) {
	t.Parallel()
	for _, store := range []string{"file", "git"} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			w := newHookWorld(t, month())
			if store == "git" {
				w.env["EVERGRANT_STORE"] = bareRepository(t)
			}
			told := map[int]string{16: "consent_ends 14", 23: "consent_ends 7", 27: "consent_ends 3", 29: "consent_ends 1", 30: "needs_person"}
			for d := range 32 {
				code := 0
				if d >= 30 {
					code = 3
				}
				for range 2 { // the second is served
					if r := w.run("refresh", "acme/api"); r.code != code {
						t.Fatalf("day %d: code %d: %s", d, r.code, r.stderr)
					}
				}
				var want []string
				if e := told[d]; e != "" {
					want = []string{e}
				}
				if got := w.took(); !slices.Equal(got, want) {
					t.Errorf("day %d: told %q, want %q", d, got, want)
				}
				w.pass(24 * time.Hour)
			}
			w.signIn()
			for range 2 {
				if r := w.run("refresh", "acme/api"); r.code != 0 {
					t.Fatal(r)
				}
			}
			w.want("recovered needs_person")
			// A sign-in before the end is a recovery as well.
			w.pass(20 * 24 * time.Hour)
			w.run("refresh", "acme/api")
			w.want("consent_ends 14")
			w.signIn()
			if r := w.run("repair", "acme/api", "--adopt", "--from-env", "EVERGRANT_REFRESH_TOKEN"); r.code != 0 {
				t.Fatal(r)
			}
			w.run("refresh", "acme/api")
			w.run("refresh", "acme/api", "--force")
			w.want("recovered consent_ends")
		})
	}
}

// TestConsentThatSlides: an end that moves on with each refresh is none.
func TestConsentThatSlides(t *testing.T) {
	t.Parallel()
	for _, idle := range []time.Duration{30 * time.Minute, 36 * time.Hour, 7 * 24 * time.Hour, 10 * 24 * time.Hour} {
		w := newHookWorld(t, simulator.Rules{IdleLimit: idle, AccessLife: idle / 3})
		for range 12 {
			for range 2 {
				if r := w.run("refresh", "acme/api"); r.code != 0 || !strings.Contains(r.stderr, "generation") {
					t.Fatal(r)
				}
			}
			w.pass(idle / 2)
		}
		w.want()
	}
}

// TestConsentThatBeginsNearItsEnd: where the preset knows that an end comes, the first
// call tells of it, and where nobody knows, the first that has seen it stay.
func TestConsentThatBeginsNearItsEnd(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		life          time.Duration
		provider      string
		first, second []string
	}{
		{20 * time.Hour, "claude", []string{"consent_ends 1"}, nil},
		{50 * time.Hour, "claude", []string{"consent_ends 3"}, nil},
		{20 * time.Hour, "", nil, []string{"consent_ends 1"}},
	} {
		w := newHookWorld(t, simulator.Rules{ConsentLife: tt.life, AccessLife: 8 * time.Hour})
		w.env["EVERGRANT_PROVIDER"] = tt.provider
		for i, want := range [][]string{tt.first, tt.second} {
			if r := w.run("refresh", "acme/api", "--force"); r.code != 0 {
				t.Fatal(r)
			}
			if got := w.took(); !slices.Equal(got, want) {
				t.Errorf("%v at %q, call %d: told %q, want %q", tt.life, tt.provider, i+1, got, want)
			}
		}
	}
}

// TestNoticesTogether: many jobs see the threshold at one moment, and one tells.
func TestNoticesTogether(t *testing.T) {
	t.Parallel()
	for store, jobs := range map[string]int{"file": 8, "git": 4} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			w := newHookWorld(t, month())
			if store == "git" {
				w.env["EVERGRANT_STORE"] = bareRepository(t)
			}
			w.run("refresh", "acme/api")
			w.pass(17 * 24 * time.Hour)
			var all sync.WaitGroup
			for range jobs {
				machine := t.TempDir()
				all.Go(func() {
					if r := w.runOn(machine, "refresh", "acme/api"); r.code != 0 {
						t.Error(r)
					}
				})
			}
			all.Wait()
			w.want("consent_ends 14")
		})
	}
}

// TestReceiverInTrouble: whatever a receiver does, the exit code and standard output
// are those of a call without it, there is one warning that names no secret, and the
// call ends in time. Once the receiver is well, it is told what it missed.
func TestReceiverInTrouble(t *testing.T) {
	t.Parallel()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(other.Close)
	hang, release := context.WithCancel(context.Background())
	t.Cleanup(release)
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		url    string
		says   string
	}{
		"500":      {answer: status(500), says: "HTTP 500"},
		"404":      {answer: status(404), says: "HTTP 404"},
		"redirect": {answer: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, 307) }, says: "HTTP 307, a redirect, which is not followed"},
		"hangs": {answer: func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-hang.Done():
			}
		}, says: "no answer in time"},
		"TLS":     {url: secure.URL + "/" + hookSecret, says: "certificate"},
		"refused": {url: "http://127.0.0.1:9/" + hookSecret, says: "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newHookWorld(t, month())
			hook := w.env["EVERGRANT_NOTIFY"]
			w.run("refresh", "acme/api")
			w.pass(17 * 24 * time.Hour)
			w.env["EVERGRANT_NOTIFY"] = ""
			w.run("refresh", "acme/api")
			alone := w.run("token", "acme/api")
			w.env["EVERGRANT_NOTIFY"] = or(tt.url, hook)
			if w.pass(6 * 24 * time.Hour); tt.url == "" { // refreshed by a job without notices, then another threshold
				w.answers(tt.answer)
			}
			begun := time.Now()
			r := w.run("token", "acme/api", "--speed-up", "5")
			if took := time.Since(begun); took > 4*time.Second {
				t.Errorf("it took %v, and all notices have 2 s", took)
			}
			if r.code != 0 || len(r.stdout) != len(alone.stdout) || r.stdout == "" {
				t.Errorf("%+v, and without notices %+v", r, alone)
			}
			if n := strings.Count(r.stderr, "warning: the notice to "); n != 1 || !strings.Contains(r.stderr, tt.says) {
				t.Errorf("%d warnings: %s", n, r.stderr)
			}
			if elsewhere.Load() != 0 {
				t.Error("a redirect was followed")
			}
			w.answers(nil)
			w.env["EVERGRANT_NOTIFY"] = hook
			if tt.url != "" {
				return // another address is another receiver
			}
			w.run("refresh", "acme/api")
			w.want() // it rests
			w.pass(16 * time.Minute)
			w.run("refresh", "acme/api")
			w.run("refresh", "acme/api")
			w.want("consent_ends 7")
		})
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// TestTheTokenComesFirst: no token waits for a notice, in a sink or in the answer of
// a credential helper.
func TestTheTokenComesFirst(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"sink":   {"refresh", "acme/api", "--sink", "file:@", "--best-effort"},
		"helper": {"helper", "curl", "acme/api", "--best-effort"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newHookWorld(t, simulator.Rules{})
			if r := w.run("refresh", "acme/api"); r.code != 0 {
				t.Fatal(r)
			}
			w.srv.RevokeFamily(w.family)
			sink, had := filepath.Join(t.TempDir(), "token"), false
			stdout := &shared{}
			w.answers(func(http.ResponseWriter, *http.Request) {
				_, err := os.Stat(sink)
				had = err == nil || strings.Contains(stdout.String(), "canary-")
			})
			for i, a := range args {
				args[i] = strings.Replace(a, "@", sink, 1)
			}
			env := func(name string) (string, bool) { v, ok := w.env[name]; return v, ok }
			var stderr shared
			code := cli.Main(append(args, "--min-ttl", "2h", "--force"), env, strings.NewReader(""), stdout, &stderr)
			if code != 0 || !had || strings.Contains(stderr.String(), "notice") {
				t.Errorf("code %d; the token was there before the notice: %v; %s", code, had, stderr.String())
			}
		})
	}
}

// TestRunTells: while a command runs, what happens to its grant is told, once.
func TestRunTells(t *testing.T) {
	t.Parallel()
	w := newHookWorld(t, simulator.Rules{AccessLife: 2 * time.Second})
	dir := t.TempDir()
	ended := make(chan ran, 1)
	go func() {
		ended <- w.run("run", "acme/api", "--min-ttl", "1500ms", "--speed-up", "10", "--token-file", filepath.Join(dir, "token"), "--", "sh", "-c",
			"until test -e "+dir+"/done; do sleep 0.02; done; exit 5")
	}()
	told := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.messages)
	}
	until := func(what string, happened func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !happened(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s did not come", what)
			}
		}
	}
	until("the token", func() bool { _, err := os.Stat(filepath.Join(dir, "token")); return err == nil })
	w.srv.RevokeFamily(w.family)
	until("the notice", func() bool { return told() > 0 })
	w.signIn() // too late for this process: its variables are of before
	if r := w.run("refresh", "acme/api"); r.code != 0 {
		t.Fatal(r)
	}
	if err := os.WriteFile(filepath.Join(dir, "done"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := <-ended; r.code != 5 {
		t.Error(r)
	}
	w.want("needs_person", "recovered needs_person")
}

// TestNoticesWithoutAStore: what is told of a grant that is kept nowhere is noted on
// this machine.
func TestNoticesWithoutAStore(t *testing.T) {
	t.Parallel()
	w := newHookWorld(t, simulator.Rules{Behaviour: grant.Behaviour{Reuse: grant.ReuseSafe}, ConsentLife: 30 * 24 * time.Hour, AccessLife: time.Hour})
	w.env["EVERGRANT_STORE"], w.env["EVERGRANT_PROVIDER"] = "none:", filepath.Join(t.TempDir(), "stays.yaml")
	preset := "name: stays\ntitle: Stays\ntoken_url: " + w.env["EVERGRANT_TOKEN_URL"] + "\nrefresh: {rotates: false, reuse: safe}\n"
	if err := os.WriteFile(w.env["EVERGRANT_PROVIDER"], []byte(preset), 0o600); err != nil {
		t.Fatal(err)
	}
	machine := t.TempDir()
	for d := range 32 {
		want := map[int]string{16: "consent_ends 14", 23: "consent_ends 7", 27: "consent_ends 3", 29: "consent_ends 1", 30: "needs_person"}[d]
		for range 2 {
			if r := w.runOn(machine, "refresh", "acme/api"); r.code != 0 && d < 30 {
				t.Fatal(r)
			}
		}
		if got := strings.Join(w.took(), ", "); got != want {
			t.Errorf("day %d: told %q, want %q", d, got, want)
		}
		w.pass(24 * time.Hour)
	}
	w.signIn()
	w.runOn(machine, "refresh", "acme/api")
	w.want("recovered needs_person")
}

// TestNoticesOfASecret: a store that is read as a snapshot tells by the job that has
// just written it, and leaves the next job a snapshot that is good.
func TestNoticesOfASecret(t *testing.T) {
	t.Parallel()
	w := newHookWorld(t, month())
	g, err := double.New(double.Config{Step: 3 * time.Second, Now: func() time.Time { return time.Now().Add(time.Duration(w.shift.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	if err := g.AddRepository("acme/widgets"); err != nil {
		t.Fatal(err)
	}
	g.Allow("github_pat_canary-writes", double.Write)
	w.env["EVERGRANT_STORE"], w.env["EVERGRANT_GITHUB_TOKEN"], w.env["GITHUB_API_URL"] = "ghsecret:acme/widgets/STATE?env=RECORD", "github_pat_canary-writes", g.URL
	job := func(code int) {
		t.Helper()
		w.env["RECORD"], _ = g.Value("acme/widgets", "STATE")
		if r := w.run("refresh", "acme/api", "--single-writer"); r.code != code {
			t.Fatal(r)
		}
	}
	job(0)
	w.want()
	w.pass(16*24*time.Hour + 7*time.Hour)
	job(0)
	w.want("consent_ends 14")
	job(0)
	w.want()
	w.pass(15 * 24 * time.Hour)
	job(3)
	w.want("needs_person")
	job(3)
	w.want()
}

// TestReceiversAreChecked: a wrong setting ends the call before anything is sent.
func TestReceiversAreChecked(t *testing.T) {
	t.Parallel()
	w := newHookWorld(t, simulator.Rules{})
	w.env["EVERGRANT_NOTIFY"] = ""
	for value, says := range map[string]string{
		"hooks.example/" + hookSecret:                    "no URL",
		"http://hooks.example/" + hookSecret:             "must be https",
		"https://u:" + hookSecret + "@hooks.example/x":   "user name or a password",
		"https://hooks.example/x#" + hookSecret:          "after #",
		"github-issue:":                                  "no such job",
		"ftp://127.0.0.1/" + hookSecret:                  "must be https",
		"https://hooks.example/a\n//" + hookSecret + ":": "must be https",
	} {
		w.env["HOOK"] = value
		r := w.run("refresh", "acme/api", "--notify-env", "HOOK")
		if r.code != 2 || !strings.Contains(r.stderr, says) {
			t.Errorf("%d %s, want %q", r.code, r.stderr, says)
		}
	}
	if r := w.run("refresh", "acme/api", "--notify", w.hook.URL, "--notify-format", "xml"); r.code != 2 || !strings.Contains(r.stderr, "json or slack") {
		t.Error(r)
	}
	if r := w.run("refresh", "acme/api", "--notify-env", "NOT_THERE"); r.code != 2 {
		t.Error(r)
	}
	if n := len(w.srv.Ledger().Presentations); n != 0 {
		t.Errorf("%d requests were made", n)
	}
}
