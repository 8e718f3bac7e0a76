//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"evergrant/internal/githubapi/double"
)

// githubToken is what the double of GitHub takes.
const githubToken = "github_pat_canary-e2e-51aa"

func startGitHub(t *testing.T) *double.Server {
	t.Helper()
	g, err := double.New(double.Config{})
	must(t, err)
	must(t, g.AddRepository("acme/widgets", "prod"))
	g.Allow(githubToken, double.Write)
	t.Cleanup(func() {
		for _, v := range g.Violations() {
			t.Errorf("GitHub's description: %s", v)
		}
		must(t, g.Close())
	})
	return g
}

// onSecret moves the box's store into a GitHub secret. Each call of runner makes
// the machine a fresh one whose variable has what the secret held when queued.
func (b *box) onSecret(t *testing.T, g *double.Server) (runner func(queued string)) {
	t.Helper()
	b.sealed(t)
	b.secrets = append(b.secrets, githubToken)
	b.set("EVERGRANT_STORE", "ghsecret:acme/widgets/GRANT?env=GRANT")
	b.set("EVERGRANT_GITHUB_TOKEN", githubToken)
	b.set("GITHUB_API_URL", g.URL)
	runners := 0
	return func(queued string) {
		runners++
		b.unset("GRANT")
		b.set("GRANT", queued)
		b.unset("XDG_STATE_HOME")
		b.set("XDG_STATE_HOME", filepath.Join(b.home, fmt.Sprintf("runner-%d", runners)))
	}
}

// sealed gives the box a sealing key.
func (b *box) sealed(t *testing.T) {
	t.Helper()
	key := b.run(t, "key", "new")
	secret, _, found := strings.Cut(key.stdout, "\n")
	if key.code != 0 || !found || !strings.HasPrefix(secret, "AGE-SECRET-KEY-") {
		t.Fatal("evergrant key new printed no key")
	}
	b.set("EVERGRANT_KEY", secret)
	b.secrets = append(b.secrets, secret)
}

// TestGrantInASecret keeps a grant of a strict provider in a GitHub secret alone,
// over runs that see it as jobs do, and offers each spent snapshot again.
func TestGrantInASecret(t *testing.T) {
	started := time.Now()
	server, g := startServer(t, nil), startGitHub(t)
	l := server.consent(t, publicClient)
	b := newBox(t).at(server.tokenURL(), publicClient).seeded(l.Refresh)
	runner := b.onSecret(t, g)
	runner("")
	last := b.deliver(t, "--single-writer", "scheduled")
	server.expect(t, "the first run", refreshes(1))
	spent := []string{""}
	const runs = 2
	for range runs {
		value, ok := g.Value("acme/widgets", "GRANT")
		if !ok {
			t.Fatal("there is no secret")
		}
		runner(value)
		last = b.deliver(t, "--single-writer", "--force", "scheduled")
		server.expect(t, "a scheduled run", refreshes(1))
		spent = append(spent, value)
	}
	for _, old := range spent {
		runner(old)
		r := b.fails(t, 6, "--single-writer", "--force", "scheduled")
		// What happened, and what to do.
		if !strings.Contains(r.stderr, "the secret acme/widgets/GRANT ") || !strings.Contains(r.stderr, "nothing is sent; start a new run") || strings.Count(r.stderr, "\n") > 2 {
			t.Errorf("a queued run with a spent snapshot says\n%v", r)
		}
		server.expect(t, "a queued run with a spent snapshot", counts{})
	}
	if !server.alive(t, last.token) {
		t.Fatal("the family is dead")
	}
	part("%-19s a strict provider's grant in a secret alone: %d runs, one token request each; %d queued runs with spent snapshots sent nothing; family alive (%.0f s)",
		"github secret", runs+1, len(spent), time.Since(started).Seconds())
}

// TestGitHubCLI lets GitHub's own client and this program write a secret each:
// both seal what the double opens to the same text, by the same calls.
func TestGitHubCLI(t *testing.T) {
	server, g := startServer(t, nil), startGitHub(t)
	l := server.consent(t, publicClient)
	b := newBox(t).at(server.tokenURL(), publicClient).seeded(l.Refresh)
	b.secrets = append(b.secrets, githubToken)
	b.set("EVERGRANT_GITHUB_TOKEN", githubToken)
	b.set("GITHUB_API_URL", g.URL)
	for _, place := range []struct{ where, option, flag string }{{"acme/widgets", "", ""}, {"acme/widgets:prod", "?environment=prod", "prod"}} {
		before := len(g.Requests())
		d := b.deliver(t, "shared", "--sink", "ghsecret:acme/widgets/OURS"+place.option)
		ours := calls(g.Requests()[before:])
		before = len(g.Requests())
		args := []string{"secret", "set", "THEIRS", "-R", "github.localhost/acme/widgets"}
		if place.flag != "" {
			args = append(args, "--env", place.flag)
		}
		cmd := exec.Command("gh", args...)
		cmd.Stdin = strings.NewReader(d.token)
		// The host is gh's own for development, with its API on plain HTTP; the
		// double takes the place of a proxy to it, so that nothing is looked up.
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.home, "GH_HOST=github.localhost", "GH_TOKEN=" + githubToken,
			"HTTP_PROXY=" + g.URL, "http_proxy=" + g.URL, "GH_NO_UPDATE_NOTIFIER=1", "NO_COLOR=1"}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("gh secret set: %v\n%s", err, out)
		}
		theirs := calls(g.Requests()[before:])
		for _, name := range []string{"OURS", "THEIRS"} {
			if value, ok := g.Value(place.where, name); !ok || value != d.token {
				t.Errorf("%s of %s opens to the token: false, there: %v", name, place.where, ok)
			}
		}
		if ours != strings.ReplaceAll(theirs, "THEIRS", "OURS") {
			t.Errorf("%s: ours makes the calls %s, gh %s", place.where, ours, theirs)
		}
	}
	server.expect(t, "two deliveries of one token", refreshes(1))
	version, err := exec.Command("gh", "--version").Output()
	must(t, err)
	line, _, _ := strings.Cut(string(version), "\n")
	part("%-19s %s and this program write secrets of a repository and of an environment by the same calls, and both open to the same text", "github secret", strings.TrimSpace(line))
}

// calls is what a client asked for, in order.
func calls(all []double.Request) string {
	var b strings.Builder
	for _, r := range all {
		if r.Status != http.StatusCreated && r.Status != http.StatusNoContent && r.Status != http.StatusOK {
			fmt.Fprintf(&b, "(%d) ", r.Status)
		}
		b.WriteString(r.Method + " " + r.Path + "; ")
	}
	return b.String()
}
