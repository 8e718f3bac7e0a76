package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"evergrant/internal/cli"
	"evergrant/internal/record"
	"evergrant/internal/simulator"
)

// hookSecret is the part of a hook's address that nobody may see.
const hookSecret = "canary-hook-9f21c07e4b"

// notified is one message of a hook, as the documentation describes it.
type notified struct {
	Version  int
	Event    string
	Grant    string
	Text     string
	DaysLeft *int    `json:"days_left"`
	From     *string `json:"recovered_from"`
	Do       *string `json:"what_to_do"`
	Ends     *string `json:"consent_ends_at"`
	Next     *string `json:"next_try"`
	By       string
	RunURL   *string `json:"run_url"`
	Provider string
	At       string
}

// hookWorld is a grant, its provider with a clock of its own, and a real receiver.
type hookWorld struct {
	t       *testing.T
	srv     *simulator.Server
	family  string       // the newest consent
	shift   atomic.Int64 // of every clock, in nanoseconds
	hook    *httptest.Server
	env     map[string]string
	secrets []string

	mu       sync.Mutex
	messages []string
	answer   http.HandlerFunc // nil: 204
}

func newHookWorld(t *testing.T, rules simulator.Rules) *hookWorld {
	t.Helper()
	w := &hookWorld{t: t}
	var err error
	w.srv, err = simulator.New(simulator.Config{
		Now:      func() time.Time { return time.Now().Add(time.Duration(w.shift.Load())) },
		Rules:    rules,
		Wire:     simulator.Wire{RefreshExpiry: "refresh_token_expires_in"},
		NewToken: func(simulator.Kind) string { return "canary-" + fmt.Sprint(time.Now().UnixNano()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	url, err := w.srv.Start("")
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := record.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	w.hook = httptest.NewServer(http.HandlerFunc(w.receive))
	t.Cleanup(func() {
		w.hook.Close()
		_ = w.srv.Close()
	})
	w.env = map[string]string{
		"HOME": t.TempDir(), "EVERGRANT_STORE": "file:" + filepath.Join(t.TempDir(), "grants"),
		"EVERGRANT_KEY": key.Reveal(), "EVERGRANT_TOKEN_URL": url + "/token", "EVERGRANT_CLIENT_ID": simulator.DefaultClient,
		"EVERGRANT_NOTIFY": w.hook.URL + "/" + hookSecret,
	}
	w.secrets = []string{key.Reveal(), hookSecret, "canary-"}
	w.signIn()
	return w
}

// month is a consent of thirty days, with tokens of eight hours.
func month() simulator.Rules {
	return simulator.Rules{ConsentLife: 30 * 24 * time.Hour, AccessLife: 8 * time.Hour}
}

func (w *hookWorld) signIn() {
	reply, err := w.srv.IssueFamily(simulator.DefaultClient)
	if err != nil {
		w.t.Fatal(err)
	}
	w.family, w.env["EVERGRANT_REFRESH_TOKEN"] = reply.Family, reply.Refresh.Reveal()
}

func (w *hookWorld) receive(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	w.mu.Lock()
	answer := w.answer
	if answer == nil {
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/"+hookSecret || r.Header.Get("Content-Type") != "application/json" || !strings.HasPrefix(r.UserAgent(), "evergrant/") {
			body = fmt.Appendf(nil, "a request of another kind: %s %s %v", r.Method, r.Header, err)
		}
		w.messages = append(w.messages, string(body))
	}
	w.mu.Unlock()
	if answer != nil {
		answer(rw, r)
		return
	}
	rw.WriteHeader(http.StatusNoContent)
}

func (w *hookWorld) answers(with http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = with
}

// took returns the events since the last took, each as "event", "event DAYS" or
// "recovered FROM".
func (w *hookWorld) took() []string {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	var events []string
	for _, m := range w.messages {
		var n notified
		if err := json.Unmarshal([]byte(m), &n); err != nil {
			w.t.Fatalf("%v: %s", err, m)
		}
		if n.Version != 1 || n.Grant != "acme/api" || n.Text == "" || n.At == "" || n.By == "" || n.Provider == "" {
			w.t.Errorf("incomplete: %s", m)
		}
		for _, s := range w.secrets {
			if strings.Contains(m, s) {
				w.t.Errorf("a secret in %s", m)
			}
		}
		event := n.Event
		if n.DaysLeft != nil {
			event += fmt.Sprint(" ", *n.DaysLeft)
		}
		if n.From != nil {
			event += " " + *n.From
		}
		events = append(events, event)
	}
	w.messages = nil
	return events
}

func (w *hookWorld) want(events ...string) {
	w.t.Helper()
	if got := w.took(); !slices.Equal(got, events) {
		w.t.Errorf("told %q, want %q", got, events)
	}
}

// ran is what a call left.
type ran struct {
	code           int
	stdout, stderr string
}

// run calls the program on a machine of its own, at the world's time, and holds its
// output to the rule that no secret is in it.
func (w *hookWorld) run(args ...string) ran { return w.runOn(w.t.TempDir(), args...) }

func (w *hookWorld) runOn(machine string, args ...string) ran {
	w.t.Helper()
	var stdout, stderr shared
	env := func(name string) (string, bool) {
		if name == "XDG_STATE_HOME" {
			return machine, true
		}
		v, ok := w.env[name]
		return v, ok
	}
	args = append(args, "--clock-offset", time.Duration(w.shift.Load()).String())
	r := ran{code: cli.Main(args, env, strings.NewReader(""), &stdout, &stderr)}
	r.stdout, r.stderr = stdout.String(), stderr.String()
	said := r.stderr
	if args[0] != "token" {
		said += r.stdout
	}
	for _, s := range w.secrets {
		if strings.Contains(said, s) {
			w.t.Errorf("a secret in the output of %v: %s", args, said)
		}
	}
	return r
}

// shared is a buffer that a command and the program write at once.
type shared struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (w *hookWorld) pass(d time.Duration) { w.shift.Add(int64(d)) }

// bareRepository is a git store for one test.
func bareRepository(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store.git")
	if out, err := exec.CommandContext(t.Context(), "git", "init", "-q", "--bare", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return "git:" + dir
}
