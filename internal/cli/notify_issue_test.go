package cli_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"evergrant/internal/githubapi/double"
	"evergrant/internal/simulator"
)

// jobToken is the job's own token, which may write issues and no secret.
const jobToken = "ghs_canary-job-token-9f21c07e4b"

// issueWorld is a job of GitHub Actions whose notices are an issue.
type issueWorld struct {
	*hookWorld
	github *double.Server
}

func newIssueWorld(t *testing.T) *issueWorld {
	t.Helper()
	w := &issueWorld{hookWorld: newHookWorld(t, month())}
	var err error
	if w.github, err = double.New(double.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, v := range w.github.Violations() {
			t.Errorf("GitHub's description: %s", v)
		}
		_ = w.github.Close()
	})
	if err := w.github.AddRepository("acme/widgets"); err != nil {
		t.Fatal(err)
	}
	w.github.AllowIssues(jobToken, true)
	for name, value := range map[string]string{
		"CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "acme/widgets", "GITHUB_API_URL": w.github.URL, "GITHUB_TOKEN": jobToken,
		"GITHUB_SERVER_URL": "https://github.example", "GITHUB_RUN_ID": "17", "GITHUB_RUN_ATTEMPT": "1", "EVERGRANT_NOTIFY": "github-issue:",
	} {
		w.env[name] = value
	}
	w.secrets = append(w.secrets, jobToken)
	return w
}

// refresh runs a job and wants that exit code.
func (w *issueWorld) refresh(code int, args ...string) ran {
	w.t.Helper()
	r := w.run(append([]string{"refresh", "acme/api"}, args...)...)
	if r.code != code {
		w.t.Fatalf("code %d, want %d: %s", r.code, code, r.stderr)
	}
	return r
}

// is compares the one issue with "STATE TITLE (COMMENTS)"; "": there is none.
func (w *issueWorld) is(when, want string) double.Issue {
	w.t.Helper()
	all := w.github.Issues()
	if len(all) > 1 {
		w.t.Fatalf("%s: %d issues", when, len(all))
	}
	got, one := "", double.Issue{}
	if len(all) == 1 {
		one = all[0]
		state := "closed"
		if one.Open {
			state = "open"
		}
		got = fmt.Sprintf("%s %s (%d)", state, one.Title, len(one.Comments))
	}
	if got != want {
		w.t.Errorf("%s: %q, want %q", when, got, want)
	}
	for _, text := range append(one.Comments, one.Body) {
		for _, s := range w.secrets {
			if strings.Contains(text, s) {
				w.t.Errorf("%s: a secret in the issue", when)
			}
		}
	}
	return one
}

// TestIssueLife: one issue that opens, gets sharper, stays closed when a person
// closes it until there is news, closes itself, and is the same the next time.
func TestIssueLife(t *testing.T) {
	t.Parallel()
	w := newIssueWorld(t)
	w.refresh(0)
	w.is("at first", "")
	w.pass(16 * 24 * time.Hour)
	w.refresh(0)
	w.refresh(0)
	one := w.is("14 days", "open The login of acme/api ends in 14 days (0)")
	for _, part := range []string{"sign in again before: evergrant login acme/api", "https://github.example/acme/widgets/actions/runs/17", "If you close it"} {
		if !strings.Contains(one.Body, part) {
			t.Errorf("the body lacks %q: %s", part, one.Body)
		}
	}
	one.Open = false
	w.github.Write(one)
	w.refresh(0, "--force")
	w.is("closed by hand", "closed The login of acme/api ends in 14 days (0)")
	w.pass(7 * 24 * time.Hour)
	w.refresh(0)
	w.refresh(0)
	w.is("7 days", "open The login of acme/api ends in 7 days (1)")
	w.pass(4 * 24 * time.Hour)
	w.refresh(0)
	w.is("3 days", "open The login of acme/api ends in 3 days (2)")
	w.pass(3 * 24 * time.Hour)
	w.refresh(3)
	w.refresh(3)
	one = w.is("ended", "open acme/api needs a person (3)")
	if !strings.Contains(one.Comments[2], "What to do: sign in again") {
		t.Errorf("the comment says %q", one.Comments[2])
	}
	w.signIn()
	w.refresh(0)
	w.refresh(0, "--force")
	one = w.is("recovered", "closed acme/api is well again (4)")
	if one.Reason != "completed" {
		t.Errorf("closed as %q", one.Reason)
	}
	w.pass(20 * 24 * time.Hour)
	w.refresh(0)
	one = w.is("the next time", "open The login of acme/api ends in 10 days (5)")
	// Nobody who has closed it hears that all is well.
	one.Open = false
	w.github.Write(one)
	w.signIn()
	w.env["CI"], w.env["GITHUB_ACTIONS"] = "", "" // a person's own machine
	if r := w.run("repair", "acme/api", "--adopt", "--from-env", "EVERGRANT_REFRESH_TOKEN"); r.code != 0 {
		t.Fatal(r)
	}
	w.env["CI"], w.env["GITHUB_ACTIONS"] = "true", "true"
	w.refresh(0)
	w.is("well, and closed before", "closed acme/api is well again (5)")
}

// TestIssuesTogether: several runs at once make one issue, or leave one open.
func TestIssuesTogether(t *testing.T) {
	t.Parallel()
	w := newIssueWorld(t)
	w.refresh(0)
	w.pass(17 * 24 * time.Hour)
	var jobs sync.WaitGroup
	for range 6 {
		machine := t.TempDir()
		jobs.Go(func() {
			if r := w.runOn(machine, "refresh", "acme/api"); r.code != 0 {
				t.Error(r)
			}
		})
	}
	jobs.Wait()
	open := 0
	for _, i := range w.github.Issues() {
		if i.Open {
			open++
		}
	}
	if open != 1 || !w.github.Issues()[0].Open {
		t.Errorf("%d of %d issues are open", open, len(w.github.Issues()))
	}
	// One that another run opened unseen is closed by the next that looks.
	again := w.github.Issues()[0]
	again.Number = 0
	w.github.Write(again)
	w.refresh(0)
	all := w.github.Issues()
	if last := all[len(all)-1]; last.Open || last.Reason != "not_planned" || !all[0].Open {
		t.Errorf("the issues are %+v", all)
	}
}

// TestIssueOfAStranger: somebody without a role in the repository cannot silence the
// notices by an issue with their mark, and one of another grant is another one.
func TestIssueOfAStranger(t *testing.T) {
	t.Parallel()
	w := newIssueWorld(t)
	w.refresh(0)
	w.github.Write(double.Issue{Title: "hello", Open: true, Author: "User", Association: "NONE", Labels: []string{"evergrant"},
		Body: `<!-- evergrant-notice {"grant":"acme/api","told":{"trouble":"needs_person"}} -->`})
	w.github.Write(double.Issue{Title: "another", Open: true, Author: "Bot", Association: "NONE", Labels: []string{"evergrant"},
		Body: `<!-- evergrant-notice {"grant":"acme/other","told":{"trouble":"needs_person"}} -->`})
	w.github.Write(double.Issue{Title: "broken", Open: true, Author: "Bot", Association: "NONE", Labels: []string{"evergrant"}, Body: `<!-- evergrant-notice {"gr -->`})
	w.pass(31 * 24 * time.Hour)
	w.refresh(3)
	all := w.github.Issues()
	if len(all) != 4 || all[3].Title != "acme/api needs a person" || all[0].Title != "hello" || !all[0].Open || !all[1].Open || len(all[1].Comments) != 0 {
		t.Errorf("the issues are %+v", all)
	}
}

// TestIssueInTrouble: what GitHub refuses is one warning that says what to do, and
// changes nothing else.
func TestIssueInTrouble(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		spoil func(*issueWorld)
		says  string
		quiet bool // nothing is said while all is well
	}{
		"read only": {func(w *issueWorld) { w.github.AllowIssues(jobToken, false) }, "(HTTP 403): add issues: write to the permissions of the job", true},
		"no token":  {func(w *issueWorld) { w.env["GITHUB_TOKEN"] = "" }, "add env: GITHUB_TOKEN: ${{ github.token }}", true},
		"unknown":   {func(w *issueWorld) { w.env["GITHUB_TOKEN"] = "ghs_canary-other" }, "GitHub does not know the token", false},
		"no issues": {func(w *issueWorld) { w.github.NoIssues() }, "issues are switched off in acme/widgets", true},
		"moved":     {func(w *issueWorld) { w.github.Rename("acme/widgets") }, "has moved", false},
		"away":      {func(w *issueWorld) { w.github.Fail(double.Fault{Status: http.StatusBadGateway}) }, "HTTP 502", false},
		"cut":       {func(w *issueWorld) { w.github.Fail(double.Fault{Method: http.MethodPost, Name: "issues", Acted: true}) }, "was not written", true},
		"hangs":     {func(w *issueWorld) { w.github.Fail(double.Fault{Hang: true}) }, "was not written", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newIssueWorld(t)
			w.refresh(0)
			w.pass(16 * 24 * time.Hour)
			w.refresh(0, "--notify", w.hook.URL+"/"+hookSecret) // the first threshold goes elsewhere
			tt.spoil(w)
			if r := w.refresh(0, "--json", "--speed-up", "5"); tt.quiet != !strings.Contains(r.stderr, "warning: the issue") || !strings.Contains(r.stdout, `"warnings": []`) {
				t.Errorf("while all is well: %s%s", r.stdout, r.stderr)
			}
			w.pass(15 * 24 * time.Hour)
			r := w.refresh(3, "--speed-up", "5")
			if n := strings.Count(r.stderr, "warning: the issue for acme/api was not written: "); n != 1 || !strings.Contains(r.stderr, tt.says) {
				t.Errorf("%d warnings: %s", n, r.stderr)
			}
		})
	}
}

// TestIssueWithoutItsLabel: GitHub leaves out labels that a token may not set, so the
// label is added, and an issue that has none is found all the same.
func TestIssueWithoutItsLabel(t *testing.T) {
	t.Parallel()
	w := newIssueWorld(t)
	w.github.DropLabels()
	w.refresh(0)
	w.pass(31 * 24 * time.Hour)
	w.refresh(3)
	one := w.is("opened", "open acme/api needs a person (0)")
	if fmt.Sprint(one.Labels) != "[evergrant]" {
		t.Errorf("labels %v", one.Labels)
	}
	one.Labels = nil
	w.github.Write(one)
	w.refresh(3)
	w.is("without a label", "open acme/api needs a person (0)")
}

// TestNoticesOfTrouble: a reply that is lost, and a record that cannot be saved, are
// told once, and so is that all is well again, by a hook and by the issue.
func TestNoticesOfTrouble(t *testing.T) {
	t.Parallel()
	w := newIssueWorld(t)
	w.env["EVERGRANT_NOTIFY"] = "github-issue:\n" + w.hook.URL + "/" + hookSecret + "\n"
	w.refresh(0)
	w.want()
	f, err := simulator.ParseFault("drop,acted")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.srv.SetFaults(f); err != nil {
		t.Fatal(err)
	}
	w.refresh(4, "--force", "--wait", "0s")
	w.refresh(0)
	w.want("in_doubt")
	w.is("in doubt", "open acme/api is in doubt (0)")
	if err := w.srv.SetFaults(); err != nil {
		t.Fatal(err)
	}
	w.pass(24 * time.Hour)
	w.refresh(3) // the spent token is presented once more, and the family is ended
	w.refresh(3)
	w.want("needs_person")
	w.is("ended", "open acme/api needs a person (1)")
	w.signIn()
	w.refresh(0)
	w.want("recovered needs_person")
	w.is("well again", "closed acme/api is well again (2)")

	machine := t.TempDir()
	store := strings.TrimPrefix(w.env["EVERGRANT_STORE"], "file:")
	if r := w.unsaved(machine, store); r.code != 7 {
		t.Fatal(r)
	}
	w.want("unsaved")
	w.is("unsaved", "open acme/api could not be saved (3)")
	if err := os.Remove(store); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(store+".away", store); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if r := w.runOn(machine, "refresh", "acme/api"); r.code != 0 {
			t.Fatal(r)
		}
	}
	w.want("recovered unsaved")
	w.is("saved", "closed acme/api is well again (4)")
}

// unsaved is a refresh whose store is taken away while the provider acts.
func (w *issueWorld) unsaved(machine, store string) ran {
	w.t.Helper()
	slow, err := simulator.ParseFault("slow,after=300ms") // the provider acts, and its answer takes a while
	if err == nil {
		err = w.srv.SetFaults(slow)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = w.srv.SetFaults() }()
	before := len(w.srv.Ledger().Presentations)
	done := make(chan ran, 1)
	go func() { done <- w.runOn(machine, "refresh", "acme/api", "--force", "--speed-up", "20") }()
	for len(w.srv.Ledger().Presentations) == before {
		select {
		case r := <-done:
			return r
		case <-time.After(time.Millisecond):
		}
	}
	if err := os.Rename(store, store+".away"); err != nil {
		w.t.Error(err)
	}
	if err := os.WriteFile(store, nil, 0o600); err != nil {
		w.t.Error(err)
	}
	return <-done
}
