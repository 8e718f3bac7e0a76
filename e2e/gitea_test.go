//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"evergrant/e2e/forge"
)

// giteaWorkflow is a workflow with a step of the Action and a consumer of its
// token. head is all above the steps; with are more inputs of the Action.
func giteaWorkflow(head, with string) string {
	return head + `
    runs-on: ubuntu-latest
    steps:
      - uses: ` + checkoutAction + `
        with: {persist-credentials: false}
      - uses: ` + evergrantAction + `
        id: evergrant
        with:
          token-url: ${{ vars.TOKEN_URL }}
          client-id: ` + publicClient.id + `
          after: ${{ vars.AFTER }}
          refresh-token: ${{ secrets.REFRESH_TOKEN }}
          key: ${{ secrets.EVERGRANT_KEY }}
` + with + `      - uses: ` + officialAction + `
        with:
          claude_code_oauth_token: ${{ steps.evergrant.outputs.access-token }}
`
}

// The workflows of the test: who says @claude gets an answer; one that is started
// by hand; the same in a group; one that puts the token into a secret, and one
// that reads it there.
func giteaWorkflows() map[string]string {
	const byHand = "on: workflow_dispatch\npermissions: {contents: write}\n"
	return map[string]string{
		"answer.yml": giteaWorkflow(`name: answer
on: {issue_comment: {types: [created]}}
permissions: {contents: write}
jobs:
  answer:
    if: contains(github.event.comment.body, '@claude') && github.event.comment.user.login == '`+writer+`'`, ""),
		"plain.yml":   giteaWorkflow("name: plain\n"+byHand+"jobs:\n  work:", ""),
		"grouped.yml": giteaWorkflow("name: grouped\n"+byHand+"concurrency: {group: one, cancel-in-progress: false}\njobs:\n  work:", ""),
		"refused.yml": giteaWorkflow("name: refused\n"+byHand+"jobs:\n  work:", "          grant: refused\n          no-create: false\n"),
		"publish.yml": giteaWorkflow("name: publish\n"+byHand+"jobs:\n  work:",
			"          github-token: ${{ secrets.FORGE_TOKEN }}\n          sink: gitea-secret:${{ github.repository }}/ACCESS_TOKEN\n"),
		"unable.yml": giteaWorkflow("name: unable\n"+byHand+"jobs:\n  work:", "          sink: gitea-secret:${{ github.repository }}/ACCESS_TOKEN\n"),
		"read.yml": "name: read\non: workflow_dispatch\npermissions: {contents: read}\njobs:\n  work:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: " + checkoutAction +
			"\n        with: {persist-credentials: false}\n      - uses: " + officialAction + "\n        with:\n          claude_code_oauth_token: ${{ secrets.ACCESS_TOKEN }}\n",
	}
}

// green waits for a run, and expects that its one consumer got a token of this
// stage that lives at the provider, masked in the forge's log. It returns the token.
func (s *giteaStage) green(t *testing.T, run giteaRun) (token string) {
	t.Helper()
	s.forge.ended(t, run, "success")
	log := s.forge.logs(t, run)
	reports := s.reports(t, run)
	if len(reports) != 1 || reports[0].Status != http.StatusOK {
		t.Fatalf("run %d: %d consumers; want one with a good token\n%s", run.ID, len(reports), log)
	}
	access, _ := s.tokens()
	i := slices.IndexFunc(access, func(a string) bool { return digest(a) == reports[0].Token })
	if i < 0 {
		t.Fatalf("run %d: the consumer's token never came through the door", run.ID)
	}
	if !strings.Contains(log, "the token is ***") {
		t.Errorf("run %d: the log shows no mask\n%s", run.ID, log)
	}
	return access[i]
}

// refs are those of the repository but its branch main, with whoever wrote what
// they lead to.
func (s *giteaStage) refs(t *testing.T) (all []string) {
	t.Helper()
	for line := range strings.Lines(forge.Git(t, s.bare(), "for-each-ref", "--format=%(refname) %(authorname)")) {
		if !strings.HasPrefix(line, "refs/heads/main ") {
			all = append(all, strings.TrimSpace(line))
		}
	}
	return all
}

// TestGitea has a real forge run everything: comments start jobs by its Actions
// service, a runner takes them, and the Action keeps the login in a ref of the
// repository that the job's own token writes.
func TestGitea(t *testing.T) {
	started := time.Now()
	s := newGiteaStage(t)
	g := s.forge
	for name, text := range giteaWorkflows() {
		g.commit(t, ".gitea/workflows/"+name, text)
	}
	all := actions(t)
	s.hire(t, "one", all)
	g.api(t, http.MethodPost, "./issues", map[string]string{"title": "a question"}, nil, http.StatusCreated)
	up := time.Since(started)

	say := func(text string) giteaRun {
		return g.started(t, func() {
			g.api(t, http.MethodPost, "./issues/1/comments", map[string]string{"body": text}, nil, http.StatusCreated)
		})
	}
	asked := say("Hello @claude, what is this?")
	first := s.green(t, asked)
	s.provider.expect(t, "the first comment", refreshes(1))
	if refs := s.refs(t); !slices.Equal(refs, []string{"refs/evergrant/default evergrant"}) {
		t.Fatalf("the forge has the refs %q", refs)
	}
	s.associated(t, asked)
	if again := s.green(t, say("@claude again")); again != first {
		t.Error("a comment soon after got another token")
	}
	s.provider.expect(t, "a comment soon after", counts{})
	s.after(t, 2)
	second := s.green(t, say("@claude and now?"))
	s.provider.expect(t, "a comment whose token was refused", refreshes(1))
	if second == first || s.twice() != 0 || !s.provider.alive(t, second) {
		t.Fatal("the next run has the old token, or spent a refresh token twice, or the family is dead")
	}
	other := say("nothing to do here")
	g.ended(t, other, "success")
	if task, ok := s.task(other); ok && exists(filepath.Join(task.Folder, "left", "workspace")) {
		t.Error("a comment that asks for nothing ran steps")
	}

	s.publish(t)
	s.hire(t, "two", all)
	s.group(t)
	s.crowd(t)
	s.fallBack(t)

	s.watched.sawGit(t)
	runs := len(g.runs(t))
	found := s.clean(t)
	if t.Failed() {
		return
	}
	part("%-19s Gitea 1.26.0 runs the whole loop: comments, by hand, one group, two runners: %d runs, %d jobs, %d token requests; the record in a ref by the job's own token; no secret in %d texts, %.0f MiB (%.0f s, %.0f of them to begin)",
		"gitea", runs, len(s.tasks), s.requests(), found.texts, float64(found.bytes)/(1<<20), time.Since(started).Seconds(), up.Seconds())
}

// associated holds docs/github.md to what it says of Gitea: a comment's event does
// not tell what its author is to the repository, which the comment template asks.
func (s *giteaStage) associated(t *testing.T, run giteaRun) {
	t.Helper()
	task, _ := s.task(run)
	event, err := os.ReadFile(filepath.Join(task.Folder+".private", "event.json"))
	must(t, err)
	if !strings.Contains(string(event), `"login":"`+writer+`"`) || strings.Contains(string(event), "author_association") {
		t.Errorf("the event is not as the documentation has it: %.2000s", event)
	}
}

// publish puts the token into a secret of the forge, from which another workflow
// takes it, two generations long.
func (s *giteaStage) publish(t *testing.T) {
	t.Helper()
	last := ""
	for generation := 3; generation <= 4; generation++ {
		s.after(t, generation)
		token := s.green(t, s.forge.dispatch(t, "publish.yml", nil))
		s.provider.expect(t, "a publisher", refreshes(1))
		if read := s.green(t, s.forge.dispatch(t, "read.yml", nil)); read != token || read == last {
			t.Error("the reader has another token than the publisher, or an old one")
		}
		s.provider.expect(t, "a reader", counts{})
		last = token
	}
	// The bounds that the sink and its double know are the forge's.
	for value, status := range map[string]int{strings.Repeat("x", 65_536): http.StatusCreated, strings.Repeat("x", 65_537): http.StatusBadRequest} {
		s.forge.api(t, http.MethodPut, fmt.Sprint("./actions/secrets/BOUND_", len(value)), map[string]string{"data": value}, nil, status)
	}
	for _, name := range []string{"GITEA_X", "GITHUB_X", "CI", "1X"} {
		s.forge.api(t, http.MethodPut, "./actions/secrets/"+name, map[string]string{"data": "x"}, nil, http.StatusBadRequest)
	}
	// The job's own token may not write secrets, which is found out before anything is spent.
	s.after(t, 5)
	run := s.forge.dispatch(t, "unable.yml", nil)
	s.forge.ended(t, run, "failure")
	s.provider.expect(t, "a publisher without a token", counts{})
	if log := s.forge.logs(t, run); !strings.Contains(log, "may not write secrets of "+giteaRepository) || !strings.Contains(log, failed(2)) {
		t.Errorf("the log does not say why\n%s", log)
	}
}

// group starts three runs of one concurrency group while the provider keeps the
// first one waiting: the forge drops the second, and nothing is lost with it.
func (s *giteaStage) group(t *testing.T) {
	t.Helper()
	release, held := make(chan struct{}), make(chan struct{}, 1)
	s.hold(func() {
		select {
		case held <- struct{}{}:
		default:
		}
		<-release
	})
	one := s.forge.dispatch(t, "grouped.yml", nil)
	<-held // the provider has spent the token, and its answer is on the way
	two := s.forge.dispatch(t, "grouped.yml", nil)
	three := s.forge.dispatch(t, "grouped.yml", nil)
	s.forge.ended(t, two, "cancelled")
	s.hold(nil)
	close(release)
	token := s.green(t, one)
	if s.green(t, three) != token || !s.provider.alive(t, token) {
		t.Error("the run that waited has another token than the one before it")
	}
	s.provider.expect(t, "three runs of one group", refreshes(1))
	if _, ok := s.task(two); ok {
		t.Error("a runner had the run that was dropped")
	}
}

// crowd starts two runs that both runners have at once, with nothing but the
// lease in the record between them.
func (s *giteaStage) crowd(t *testing.T) {
	t.Helper()
	s.after(t, 6)
	release := make(chan struct{})
	s.hold(func() { <-release })
	one, two := s.forge.dispatch(t, "plain.yml", nil), s.forge.dispatch(t, "plain.yml", nil)
	until(t, "both runs have begun", func() bool {
		_, first := s.task(one)
		_, second := s.task(two)
		return first && second
	})
	s.hold(nil)
	close(release)
	if a, b := s.green(t, one), s.green(t, two); a != b {
		t.Error("two runs at once have two tokens")
	}
	s.provider.expect(t, "two runs at once", refreshes(1))
}

// fallBack has the forge refuse the refs that the store makes first, by a hook as
// an administrator writes one: the record goes into a branch.
func (s *giteaStage) fallBack(t *testing.T) {
	t.Helper()
	hook := filepath.Join(s.bare(), "hooks", "pre-receive.d", "no-evergrant")
	must(t, os.WriteFile(hook, []byte("#!/bin/sh\nwhile read -r old new ref; do\n  case $ref in refs/evergrant/*) echo 'no such refs here' >&2; exit 1;; esac\ndone\n"), 0o755))
	defer func() { must(t, os.Remove(hook)) }()
	login := s.provider.consent(t, publicClient)
	s.forge.api(t, http.MethodPut, "./actions/secrets/REFRESH_TOKEN", map[string]string{"data": login.Refresh}, nil, http.StatusNoContent)
	s.provider.account(t) // the sign-in
	s.after(t, 0)
	first := s.green(t, s.forge.dispatch(t, "refused.yml", nil))
	s.after(t, 2)
	second := s.green(t, s.forge.dispatch(t, "refused.yml", nil))
	s.provider.expect(t, "two runs whose record is in a branch", refreshes(2))
	if first == second || !s.provider.alive(t, second) {
		t.Error("the second run has the old token, or the family is dead")
	}
	want := []string{"refs/evergrant/default evergrant", "refs/heads/evergrant/refused evergrant"}
	if refs := s.refs(t); !slices.Equal(refs, want) {
		t.Errorf("the forge has the refs %q, want %q", refs, want)
	}
}
