//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"evergrant/internal/githubapi/double"
)

// clockwork is a stage on which a workflow publishes an access token by the clock,
// and another one reads it.
type clockwork struct {
	*stage
	github          *double.Server
	keeper, readers string // paths of the workflows
	refresh         string // the secret of the refresh token
	ran             bool   // the writer did, by hand
}

// newClockwork puts GitHub's API of secrets beside the forge's git, and writes both
// workflows. Flags are of the writer's.
func newClockwork(t *testing.T, server *authServer, refresh string, flags ...string) *clockwork {
	t.Helper()
	s := newStage(t, server)
	g := s.withSecrets(t)
	return &clockwork{stage: s, github: g, keeper: s.workflow(t, "scheduled", flags...), readers: s.alone(t, "scheduled-reader"), refresh: refresh}
}

// withSecrets lets the forge answer for the secrets of its repository too.
func (s *stage) withSecrets(t *testing.T) *double.Server {
	t.Helper()
	g := s.github(t, s.token)
	s.forge.Intercept(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if path, ok := strings.CutPrefix(r.URL.Path, "/api/v3"); ok && strings.Contains(path, "/secrets/") {
			http.StripPrefix("/api/v3", g).ServeHTTP(w, r)
			return
		}
		s.api(w, r, next)
	})
	return g
}

// write runs the writer: by hand at first, and then by the clock.
func (c *clockwork) write(t *testing.T) *run {
	t.Helper()
	r := c.dispatched(0)
	r.workflow = c.keeper
	if c.ran {
		r.event, r.payload = "schedule", map[string]any{"schedule": "37 * * * *", "repository": map[string]any{"full_name": repository, "private": true}}
	}
	c.ran = true
	r.secrets = map[string]string{c.refresh: c.seed, "EVERGRANT_KEY": c.key, "EVERGRANT_GITHUB_TOKEN": c.token}
	return c.run(t, r)
}

// published is what the secret holds after a green run of the writer, which is good
// at the provider.
func (c *clockwork) published(t *testing.T, r *run) string {
	t.Helper()
	token, there := c.github.Value(publishedTo, "EVERGRANT_ACCESS_TOKEN")
	if r.code() != 0 || !there || !c.provider.alive(t, token) {
		t.Fatalf("the writer: exit %d; the secret is there: %v, and good\n%s", r.code(), there, r.told())
	}
	if others := c.github.Names(secretsOf); len(others) > 0 {
		t.Errorf("the writer's own environment has the secrets %v", others)
	}
	return token
}

// read runs the reader with what it would be given.
func (c *clockwork) read(t *testing.T, token string) *run {
	t.Helper()
	r := c.dispatched(0)
	r.workflow, r.secrets = c.readers, map[string]string{"EVERGRANT_ACCESS_TOKEN": token}
	return c.run(t, r)
}

// TestActScheduled lets the scheduled workflow and its reader work in turn: the
// writer keeps the login in the git store and publishes the access token; the
// reader has nothing but that. Where a refresh ends the token before it, a reader
// that began with that one fails, and its next run has the token that is there then.
func TestActScheduled(t *testing.T) {
	for name, c := range map[string]struct {
		revokes bool
		refresh string
		flags   []string
	}{
		"a token lives on":         {false, "EVERGRANT_REFRESH_TOKEN", nil},
		"a refresh ends the token": {true, "GITLAB_REFRESH_TOKEN", []string{"--provider", "gitlab"}},
	} {
		t.Run(name, func(t *testing.T) {
			started := time.Now()
			const life = 61 * time.Second
			server := startServerOf(t, nil, life, c.revokes)
			w := newClockwork(t, server, c.refresh, c.flags...)
			const generations = 5
			var last string
			for i := range generations {
				token, wrote := w.published(t, w.write(t)), time.Now()
				server.expect(t, "the writer", refreshes(1))
				if token == last || i > 0 && server.alive(t, last) == c.revokes {
					t.Fatalf("the secret holds a new token: %v; the one before lives: %v", token != last, !c.revokes)
				}
				if c.revokes && i > 0 {
					if r := w.read(t, last); !strings.Contains(r.told(), "error: 401") || strings.Contains(r.told(), "the token is") {
						t.Errorf("a reader with a token that was ended\n%s", r.told())
					}
				}
				if w.worked(t, w.read(t, token)) != token {
					t.Fatal("the reader's token is not what was published")
				}
				server.expect(t, "readers", counts{})
				last = token
				// Nine tenths of a life is the most that can be asked for, so the next
				// refresh is due when one tenth is over.
				time.Sleep(time.Until(wrote.Add(life/10 + time.Second)))
			}
			if r := w.read(t, ""); r.code() == 0 || !strings.Contains(r.told(), "run evergrant-scheduled once") {
				t.Errorf("a reader without a secret: exit %d\n%s", r.code(), r.told())
			}
			w.end(t, started, fmt.Sprintf("%s: writer and reader in turn for %d generations: one token request each, token published as a secret and good at the provider", name, generations))
		})
	}
}

// TestActScheduledMadeGood: a secret that could not be written, or that somebody has
// changed, is made good by the next run, which sends nothing to the provider and
// ends nobody's token, because the one in the record has life left.
func TestActScheduledMadeGood(t *testing.T) {
	started := time.Now()
	server := startServerOf(t, nil, time.Hour, true)
	c := newClockwork(t, server, "GITLAB_REFRESH_TOKEN", "--provider", "gitlab")
	c.github.Fail(double.Fault{Method: http.MethodPut, Name: "EVERGRANT_ACCESS_TOKEN", Status: http.StatusUnprocessableEntity})
	if r := c.write(t); r.code() == 0 || !strings.Contains(r.told(), failed(8)) || !strings.Contains(r.told(), "the record is saved") {
		t.Fatalf("a secret that cannot be written: exit %d\n%s", r.code(), r.told())
	}
	server.expect(t, "the writer whose secret is not written", refreshes(1))
	c.github.Mend()
	token := c.published(t, c.write(t))
	must(t, c.github.Set(publishedTo, "EVERGRANT_ACCESS_TOKEN", "canary-of-somebody"))
	if again := c.published(t, c.write(t)); again != token {
		t.Error("the token that lives is not published again")
	}
	if c.worked(t, c.read(t, token)) != token {
		t.Error("the reader's token is not what was published")
	}
	server.expect(t, "two writers while the token lives, and a reader", counts{})
	c.end(t, started, "a secret that was refused, and one that was changed by hand, are made good by the next run, which sends no token request")
}

// end searches everything for secrets, and says what was seen.
func (c *clockwork) end(t *testing.T, started time.Time, seen string) {
	t.Helper()
	if c.twice() != 0 {
		t.Errorf("%d refresh tokens were presented twice", c.twice())
	}
	found := c.clean(t)
	if !t.Failed() {
		part("%-19s %s; no secret in %d texts (%.0f s)", "act, scheduled", seen, found.texts, time.Since(started).Seconds())
	}
}
