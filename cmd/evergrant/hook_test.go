package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"evergrant/internal/githubapi/double"
)

// hookSecret is what nobody may see of a hook's address. It is one of the script's
// secrets.
const hookSecret = "canary-hook-path-9f21c07e4b"

// hooks is a receiver of notices.
type hooks struct {
	mu  sync.Mutex
	got []string
}

type hookKey struct{}

// setUpHook gives a script room for a receiver.
func setUpHook(env *testscript.Env) { env.Values[hookKey{}] = new(hooks) }

func (h *hooks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil && r.Method == http.MethodPost && r.URL.Path == "/"+hookSecret {
		h.got = append(h.got, string(body))
	}
}

// cmdHook is "hook start VAR", which puts the address of a receiver into VAR, or
// "hook got EVENT...": it was told exactly these events since the last got. What
// Slack understands has no event, and counts by its first word.
func cmdHook(ts *testscript.TestScript, neg bool, args []string) {
	h := ts.Value(hookKey{}).(*hooks)
	if args[0] == "start" {
		s := httptest.NewServer(h)
		ts.Defer(s.Close)
		w := worldOf(ts)
		w.secrets = append(w.secrets, hookSecret)
		ts.Setenv(args[1], s.URL+"/"+hookSecret)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var events []string
	for _, body := range h.got {
		var m struct{ Event, Text string }
		ts.Check(json.Unmarshal([]byte(body), &m))
		if m.Event == "" {
			m.Event, _, _ = strings.Cut(m.Text, " ")
		}
		events = append(events, m.Event)
		if worldOf(ts).holds(body, worldOf(ts).all()) {
			ts.Fatalf("a secret in a notice")
		}
	}
	h.got = nil
	if !slices.Equal(events, args[1:]) {
		ts.Fatalf("the receiver was told %q, want %q", events, args[1:])
	}
}

// checkIssue is "github issue STATE TITLE": the repository has this one issue.
func checkIssue(ts *testscript.TestScript, g *double.Server, want []string) {
	all := g.Issues()
	if len(want) == 0 && len(all) == 0 {
		return
	}
	if len(all) != 1 || len(want) != 2 || all[0].Open != (want[0] == "open") || all[0].Title != want[1] {
		ts.Fatalf("the issues are %+v, want %q", all, want)
	}
	for _, text := range append(all[0].Comments, all[0].Body) {
		if worldOf(ts).holds(text, worldOf(ts).all()) {
			ts.Fatalf("a secret in the issue")
		}
	}
}
