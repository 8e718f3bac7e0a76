//go:build e2e

package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"evergrant/internal/githubapi/double"
)

// secretsOf is the environment whose secrets the workflows read and write, and
// publishedTo the one of the access token alone.
const (
	secretsOf   = repository + ":evergrant"
	publishedTo = repository + ":evergrant-token"
)

// github is a double of GitHub's API that has the stage's repository and the
// environments of the workflows' secrets. The tokens may write them.
func (s *stage) github(t *testing.T, tokens ...string) *double.Server {
	t.Helper()
	g, err := double.New(double.Config{})
	must(t, err)
	must(t, g.AddRepository(repository, "evergrant", "evergrant-token"))
	for _, token := range tokens {
		g.Allow(token, double.Write)
	}
	t.Cleanup(func() {
		for _, v := range g.Violations() {
			t.Errorf("GitHub's description: %s", v)
		}
		must(t, g.Close())
	})
	return g
}

// alone writes a workflow that does without the Action, and puts work into it
// where it has a place for that.
func (s *stage) alone(t *testing.T, template string, flags ...string) (path string) {
	t.Helper()
	b, path := newBox(t), ".github/workflows/"+template+".yml"
	cmd := b.command(t.Context(), append([]string{"init", "github", "--template", template, "--out", path}, flags...)...)
	cmd.Dir = s.clone
	if r := b.finish(t, cmd); r.code != 0 {
		t.Fatalf("no workflow\n%v", r)
	}
	s.employ(t, path)
	return path
}

// employ puts work into the place that a template has for it.
func (s *stage) employ(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.clone, path))
	must(t, err)
	s.commit(t, map[string]string{path: strings.Replace(string(text), "# Put your work here.", work, 1)})
}

// TestActScripts runs the workflows that do without the Action: the script in
// the workflow, and the scripts of the repository. Each run spends the secret
// that the one before has written by the real gh.
func TestActScripts(t *testing.T) {
	started := time.Now()
	runs := 0
	for name, c := range map[string]struct{ template, script, consumer string }{
		"inline Python":               {"inline-python", "", "anthropics/claude-code-action"},
		"inline Python, other action": {"inline-python", "", "nimishchaudhari/claude-code-action-max-sub"},
		"bash":                        {"bash", "refresh.sh", ""},
		"Node":                        {"node", "refresh.mjs", ""},
	} {
		t.Run(name, func(t *testing.T) {
			server := startServer(t, nil)
			s := newStage(t, server)
			g := s.github(t, githubToken)
			secret := "EVERGRANT_REFRESH_TOKEN"
			flags := []string{"--token-url", s.url + "/token", "--client-id", publicClient.id}
			if c.consumer != "" {
				secret, flags = "CLAUDE_REFRESH_TOKEN", append(flags, "--consumer", c.consumer)
			}
			path := s.alone(t, c.template, flags...)
			if c.script != "" {
				text, err := os.ReadFile(filepath.Join("..", "scripts", c.script))
				must(t, err)
				s.commit(t, map[string]string{".github/evergrant/" + c.script: string(text)})
			}
			next := func() *run {
				r := s.dispatched(0)
				if c.consumer != "" {
					r = s.commented(t, path, "issue_comment", "Hello @claude", writer, "MEMBER")
				}
				r.workflow, r.env = path, map[string]string{"GH_HOST": "github.localhost", "HTTP_PROXY": g.URL, "GH_NO_UPDATE_NOTIFIER": "1"}
				current, there := g.Value(secretsOf, secret)
				if !there {
					current = s.seed
				}
				r.secrets = map[string]string{secret: current, "EVERGRANT_GITHUB_TOKEN": githubToken}
				return r
			}
			for range 3 {
				r := s.run(t, next())
				if token := s.spent(t, r, c.consumer); !server.alive(t, token) {
					t.Fatal("the family is dead")
				}
				server.expect(t, "one run", refreshes(1))
			}
			s.spentNothing(t, g, next, c.consumer, c.script, path)
			server.expect(t, "runs that must not spend", counts{})
			found := s.clean(t)
			for _, r := range s.runs {
				if strings.Contains(r.log.String(), githubToken) {
					t.Error("the token for GitHub is in a log")
				}
			}
			runs += len(s.runs)
			if s.twice() != 0 || found.texts == 0 {
				t.Errorf("%d refresh tokens were presented twice; %d texts were searched", s.twice(), found.texts)
			}
		})
	}
	if !t.Failed() {
		part("%-19s templates inline-python for both consumers, bash, node: %d runs, one token request each, the next secret by the real gh, no secret elsewhere (%.0f s)",
			"act, scripts", runs, time.Since(started).Seconds())
	}
}

// spent expects a green run and returns its token.
func (s *stage) spent(t *testing.T, r *run, consumer string) (token string) {
	t.Helper()
	if consumer == "" {
		return s.worked(t, r)
	}
	if r.code() != 0 || len(r.reports) != 1 || r.reports[0].Status != http.StatusOK || r.reports[0].Who != writer {
		t.Fatalf("exit %d, %d consumers; want a green run\n%s", r.code(), len(r.reports), r.told())
	}
	s.handed(t, r, consumer)
	access, _ := s.tokens()
	i := slices.IndexFunc(access, func(a string) bool { return digest(a) == r.reports[0].Token })
	if i < 0 || !strings.Contains(r.log.String(), "the token is ***") {
		t.Fatalf("the consumer's token never came through the door, or is not masked\n%s", r.told())
	}
	return access[i]
}

// spentNothing starts runs that must end before anything is sent: without a
// token that may write the secret, for a stranger, with a script that somebody
// has changed.
func (s *stage) spentNothing(t *testing.T, g *double.Server, next func() *run, consumer, script, path string) {
	t.Helper()
	r := next()
	r.secrets["EVERGRANT_GITHUB_TOKEN"] = s.token
	if s.run(t, r); r.code() == 0 || !strings.Contains(r.told(), "GITHUB_TOKEN never can") || !strings.Contains(r.told(), failed(6)) {
		t.Errorf("with the job's own token: exit %d\n%s", r.code(), r.told())
	}
	if consumer != "" {
		r = s.commented(t, path, "issue_comment", "@claude", stranger, "NONE")
		r.env, r.secrets = next().env, next().secrets
		if s.run(t, r); r.code() != 0 || len(r.reports) != 0 || strings.Contains(r.log.String(), "Run Main") {
			t.Errorf("a stranger: exit %d\n%s", r.code(), r.told())
		}
	}
	if script != "" {
		name := ".github/evergrant/" + script
		text, err := os.ReadFile(filepath.Join(s.clone, name))
		must(t, err)
		s.commit(t, map[string]string{name: string(text) + "\n"})
		r = next()
		if s.run(t, r); r.code() == 0 || !strings.Contains(r.told(), "checksum did NOT match") {
			t.Errorf("a script that was changed: exit %d\n%s", r.code(), r.told())
		}
	}
}
