//go:build e2e

package e2e

import (
	"os"
	"strconv"
	"testing"
	"time"
)

const jobsAtOnce = 12

// TestActCrowd starts twelve workflow runs at once, on a store that has no
// record yet, and then again on the record that came of it: one token request a
// generation, and twelve jobs with a token that is good. Then comes a run that
// was queued before all that.
func TestActCrowd(t *testing.T) {
	rounds := 2
	if os.Getenv("EVERGRANT_E2E_FULL") != "" {
		rounds = 10
	}
	server := startServer(t, nil)
	s := newStage(t, server)
	s.commit(t, map[string]string{plainPath: plainWorkflow([]string{checkedOut}, nil)})
	started := time.Now()
	generation, last := uint64(0), ""
	for range rounds {
		jobs := make([]*run, jobsAtOnce)
		for i := range jobs {
			jobs[i] = s.start(t, s.dispatched(generation))
		}
		token := ""
		for i, job := range jobs {
			got := s.green(t, job.wait(t))
			if token == "" {
				token = got
			}
			if got != token || got == last {
				t.Fatalf("job %d of %d has another token, or an old one", i+1, jobsAtOnce)
			}
		}
		server.expect(t, "twelve runs at once", refreshes(1))
		generation, last = s.generation(t), token
	}
	took := time.Since(started)
	if s.twice() != 0 || !server.alive(t, last) {
		t.Fatalf("%d refresh tokens were presented twice; or the family is dead", s.twice())
	}

	// The secret of this run was read when it was queued: before everything above.
	queued := s.dispatched(generation)
	s.commit(t, map[string]string{plainPath: plainWorkflow([]string{checkedOut}, map[string]string{"no-create": "true"})})
	if token := s.green(t, s.run(t, queued)); token == last || !server.alive(t, token) {
		t.Fatal("the queued run has an old token, or killed the family")
	}
	server.expect(t, "a queued run", refreshes(1))
	s.watched.sawGit(t)
	found := s.clean(t)
	if t.Failed() {
		return
	}
	part("%-19s %d runs at once over HTTP, %d rounds: %d token requests, %d tokens good, family alive (%.1f s a round); a queued run with a secret spent %d generations ago: green; no secret in %d texts",
		"act, crowd", jobsAtOnce, rounds, rounds, rounds*jobsAtOnce, took.Seconds()/float64(rounds), rounds, found.texts)
}

// TestCrowdOnForge starts 32 processes at once on one git store over HTTP.
func TestCrowdOnForge(t *testing.T) {
	server := startServer(t, nil)
	s := newStage(t, server)
	b := s.box(t)
	last := b.deliver(t, "--force", "shared")
	server.expect(t, "the first refresh", refreshes(1))
	rounds := 2
	if os.Getenv("EVERGRANT_E2E_FULL") != "" {
		rounds = 10
	}
	started, asked := time.Now(), s.forge.Requests.Load()
	for range rounds {
		last = newCrowd().round(t, b, last, "--after", strconv.FormatUint(last.Generation, 10))
		server.expect(t, "32 processes on a git store over HTTP", refreshes(1))
	}
	if !server.alive(t, last.token) || s.twice() != 0 {
		t.Fatal("the family is dead, or a token was presented twice")
	}
	each := float64(s.forge.Requests.Load()-asked) / float64(rounds*crowdSize)
	s.clean(t)
	part("%-19s %d processes at once over HTTP, %d rounds: %d token requests, family alive, %.1f questions to the forge each (%.1f s a round)",
		"crowd on a forge", crowdSize, rounds, rounds, each, time.Since(started).Seconds()/float64(rounds))
}
