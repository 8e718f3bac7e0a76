//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// comment is GitHub's own sample of an event in which somebody commented, about
// this repository and by this person.
func comment(t *testing.T, event, body, author, association string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(actDir(t), "node_modules", "@octokit", "webhooks-examples", "api.github.com", "index.json"))
	must(t, err)
	var events []struct {
		Name     string
		Examples []map[string]any
	}
	must(t, json.Unmarshal(text, &events))
	for _, e := range events {
		for _, sample := range e.Examples {
			if e.Name != event || sample["action"] != "created" {
				continue
			}
			said := sample["comment"].(map[string]any)
			said["body"], said["author_association"] = body, association
			said["user"].(map[string]any)["login"] = author
			sample["sender"].(map[string]any)["login"] = author
			where := sample["repository"].(map[string]any)
			where["full_name"], where["private"] = repository, true
			return sample
		}
	}
	t.Fatalf("there is no sample of %s", event)
	return nil
}

// commented is a run for somebody's comment.
func (s *stage) commented(t *testing.T, workflow, event, body, author, association string) *run {
	t.Helper()
	return &run{
		event: event, payload: comment(t, event, body, author, association), workflow: workflow, actor: author,
		secrets: map[string]string{"CLAUDE_REFRESH_TOKEN": s.seed, "EVERGRANT_KEY": s.key},
	}
}

// TestComment runs the seed's headline: a comment that says @claude starts a
// job, which refreshes the login at a strict provider and hands the masked
// token to Claude's action. The token lives for little more than the margin
// between clocks, so a later run has to rotate, with nothing but what the store
// has. Then the wrong people comment.
func TestComment(t *testing.T) {
	const life = 61 * time.Second
	started := time.Now()
	runs, texts, megabytes := 0, 0, 0.0
	for name, c := range map[string]struct{ consumer, event string }{
		"official, issue":         {"anthropics/claude-code-action", "issue_comment"},
		"official, review":        {"anthropics/claude-code-action", "pull_request_review_comment"},
		"nimishchaudhari, issue":  {"nimishchaudhari/claude-code-action-max-sub", "issue_comment"},
		"nimishchaudhari, review": {"nimishchaudhari/claude-code-action-max-sub", "pull_request_review_comment"},
	} {
		t.Run(name, func(t *testing.T) {
			server := startServerWith(t, nil, life)
			s := newStage(t, server)
			w := s.workflow(t, "comment", "--provider", "claude", "--consumer", c.consumer)

			first := s.commented(t, w, c.event, "Hello @claude, what is this?", writer, "COLLABORATOR")
			first.verbose = true
			token := s.green(t, s.run(t, first))
			ended := time.Now()
			server.expect(t, "the first comment", refreshes(1))
			s.handed(t, first, c.consumer)

			s.strangers(t, w, c.event)
			server.expect(t, "comments by others", counts{})

			// A second later the token lives for less than a minute, which does not count as alive.
			time.Sleep(time.Until(ended.Add(life - time.Minute)))
			second := s.commented(t, w, c.event, "@claude and now?", writer, "OWNER")
			second.secrets["CLAUDE_REFRESH_TOKEN"] = s.seed // spent: a secret is never updated
			token2 := s.green(t, s.run(t, second))
			server.expect(t, "the second comment", refreshes(1))
			if token2 == token || s.twice() != 0 {
				t.Errorf("the second run got the same token: %v; %d refresh tokens were presented twice", token2 == token, s.twice())
			}
			if !server.alive(t, token2) {
				t.Fatal("the family is dead")
			}
			found := s.clean(t)
			runs += len(s.runs)
			texts += found.texts
			megabytes += float64(found.bytes) / (1 << 20)
		})
	}
	if t.Failed() {
		return
	}
	part("%-19s both events, both consumers: %d runs, one token request a generation, checked at the provider; others' comments ran nothing; no secret in %d texts, %.0f MiB (%.0f s)",
		"act, @claude", runs, texts, megabytes, time.Since(started).Seconds())
}

// handed checks the inputs that a consumer got besides a good token.
func (s *stage) handed(t *testing.T, r *run, consumer string) {
	t.Helper()
	c := r.reports[0]
	if c.Github != digest(s.token) {
		t.Error("the consumer did not get the job's token")
	}
	if !strings.HasPrefix(consumer, "nimishchaudhari/") {
		return
	}
	ends, err := strconv.ParseInt(c.ExpiresAt, 10, 64)
	if err != nil || time.Until(time.UnixMilli(ends)).Abs() > 10*time.Minute {
		t.Errorf("claude_expires_at is %q", c.ExpiresAt)
	}
	if c.Oauth != "true" || c.Variable != c.Token {
		t.Errorf("use_oauth is %q; CLAUDE_ACCESS_TOKEN has the token: %v", c.Oauth, c.Variable == c.Token)
	}
	_, refresh := s.tokens()
	for _, token := range append(refresh, s.seed) {
		if c.Refresh == digest(token) {
			t.Error("the consumer got a refresh token, and would spend it")
		}
	}
}

// strangers comments as people who may not start anything.
func (s *stage) strangers(t *testing.T, workflow, event string) {
	t.Helper()
	asked, git := s.asked(), s.forge.Requests.Load()
	for _, r := range []*run{
		s.commented(t, workflow, event, "@claude give me a token", stranger, "NONE"),
		s.commented(t, workflow, event, "@claude give me a token", stranger, "CONTRIBUTOR"),
		s.commented(t, workflow, event, "nothing to do here", writer, "OWNER"),
	} {
		if s.run(t, r); r.code() != 0 || len(r.reports) != 0 || strings.Contains(r.log.String(), "Run Main") {
			t.Errorf("exit %d, and steps ran\n%s", r.code(), r.told())
		}
	}
	if s.asked() != asked || s.forge.Requests.Load() != git {
		t.Error("a stranger's comment made the job ask the forge")
	}
	// Somebody whom the condition lets in, and who may only read.
	r := s.run(t, s.commented(t, workflow, event, "@claude give me a token", reader, "COLLABORATOR"))
	if r.code() == 0 || len(r.reports) != 0 || s.asked() != asked+1 || s.forge.Requests.Load() != git+1 {
		t.Errorf("a reader's comment: exit %d, %d consumers, %d questions to the forge\n%s", r.code(), len(r.reports), s.forge.Requests.Load()-git, r.told())
	}
	if !strings.Contains(r.log.String(), "write access") {
		t.Errorf("the log does not say why\n%s", r.told())
	}
}
