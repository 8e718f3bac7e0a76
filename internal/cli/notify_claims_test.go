package cli_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"evergrant/internal/githubapi/double"
	"evergrant/internal/simulator"
)

// TestDoubtUnderALease: while somebody settles a token in doubt, nobody says that all
// is well; once it is, one does.
func TestDoubtUnderALease(t *testing.T) {
	t.Parallel()
	w := newHookWorld(t, month())
	w.run("refresh", "acme/api")
	faults := func(text string) {
		t.Helper()
		f, err := simulator.ParseFault(text)
		if err == nil {
			err = w.srv.SetFaults(f)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	faults("drop")
	if r := w.run("refresh", "acme/api", "--force", "--wait", "0s"); r.code != 4 {
		t.Fatal(r)
	}
	w.want("in_doubt")
	w.pass(24 * time.Hour / 4) // its token lives, and it may be tried again
	release := make(chan struct{})
	faults("slow,before=3s")
	settled := make(chan ran, 1)
	before := len(w.srv.Ledger().Presentations)
	go func() {
		settled <- w.run("refresh", "acme/api", "--force")
		close(release)
	}()
	var all sync.WaitGroup
	machine := t.TempDir()
	path := filepath.Join(strings.TrimPrefix(w.env["EVERGRANT_STORE"], "file:"), "acme+api.json")
	was, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if now, err := os.ReadFile(path); err == nil && string(now) != string(was) { // the lease
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody took the lease")
		}
	}
	for range 3 {
		all.Go(func() {
			if r := w.runOn(machine, "refresh", "acme/api"); r.code != 0 {
				t.Error(r)
			}
		})
	}
	all.Wait()
	select {
	case <-release:
		t.Fatal("the slow answer came too early for this test")
	default:
	}
	w.want()
	if r := <-settled; r.code != 0 || len(w.srv.Ledger().Presentations) == before {
		t.Fatal(r)
	}
	w.want("recovered in_doubt")
	w.runOn(machine, "refresh", "acme/api")
	w.want()
}

// TestDeadReceiverRests: a receiver that takes nothing costs the record two writes,
// and the calls after them none.
func TestDeadReceiverRests(t *testing.T) {
	t.Parallel()
	w := newHookWorld(t, month())
	w.run("refresh", "acme/api")
	w.pass(17 * 24 * time.Hour)
	w.answers(status(500))
	if r := w.run("refresh", "acme/api"); r.code != 0 || !strings.Contains(r.stderr, "HTTP 500") {
		t.Fatal(r)
	}
	path := filepath.Join(strings.TrimPrefix(w.env["EVERGRANT_STORE"], "file:"), "acme+api.json")
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w.pass(4 * time.Minute)
		if r := w.run("refresh", "acme/api"); r.code != 0 || strings.Contains(r.stderr, "warning") {
			t.Error(r)
		}
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("the record was written, or: %v", err)
	}
	w.answers(nil)
	w.pass(4 * time.Minute)
	w.run("refresh", "acme/api")
	w.want("consent_ends 14")
}

// TestCommentThatFails is made up for by the next job, whether GitHub refused it or
// the job ended before.
func TestCommentThatFails(t *testing.T) {
	t.Parallel()
	w := newIssueWorld(t)
	w.refresh(0)
	w.pass(16 * 24 * time.Hour)
	w.refresh(0)
	w.pass(7 * 24 * time.Hour)
	w.github.Fail(double.Fault{Method: http.MethodPost, Name: "comments", Status: http.StatusBadGateway})
	if r := w.refresh(0); !strings.Contains(r.stderr, "HTTP 502") {
		t.Error(r.stderr)
	}
	w.is("refused", "open The login of acme/api ends in 7 days (0)")
	w.github.Mend()
	w.refresh(0)
	w.refresh(0)
	w.is("made up for", "open The login of acme/api ends in 7 days (1)")

	// No run but the first change gets through, as of a job that is ended.
	w.pass(4 * 24 * time.Hour)
	w.github.Fail(double.Fault{Method: http.MethodPatch, Skip: 1}, double.Fault{Method: http.MethodPost, Name: "comments", Status: http.StatusBadGateway})
	w.refresh(0)
	w.github.Mend()
	w.refresh(0)
	w.is("somebody may be at it", "open The login of acme/api ends in 3 days (1)")
	w.pass(2 * time.Minute)
	w.refresh(0)
	w.refresh(0)
	w.is("nobody was", "open The login of acme/api ends in 3 days (2)")

	// What only the text says is over with a comment as well.
	w.pass(4 * 24 * time.Hour)
	w.github.Fail(double.Fault{Method: http.MethodPatch, Skip: 1}, double.Fault{Method: http.MethodPost, Name: "comments", Status: http.StatusBadGateway})
	w.refresh(3)
	w.is("not commented", "open acme/api needs a person (2)")
	w.github.Mend()
	w.pass(2 * time.Minute)
	w.signIn()
	w.refresh(0)
	w.is("well again", "closed acme/api is well again (3)")
}

// TestCommentsTogether: of many jobs that see a threshold at one moment one comments.
func TestCommentsTogether(t *testing.T) {
	t.Parallel()
	w := newIssueWorld(t)
	w.refresh(0)
	w.pass(16 * 24 * time.Hour)
	w.refresh(0)
	w.pass(7 * 24 * time.Hour)
	var jobs sync.WaitGroup
	for range 8 {
		machine := t.TempDir()
		jobs.Go(func() {
			if r := w.runOn(machine, "refresh", "acme/api"); r.code != 0 || strings.Contains(r.stderr, "warning") {
				t.Error(r)
			}
		})
	}
	jobs.Wait()
	w.is("together", "open The login of acme/api ends in 7 days (1)")
	w.refresh(0)
	w.is("and after", "open The login of acme/api ends in 7 days (1)")
}

// TestIssueOfALogout: a grant that somebody logged out has nothing to tell, and an
// issue that is open for it is closed without a comment.
func TestIssueOfALogout(t *testing.T) {
	t.Parallel()
	w := newIssueWorld(t)
	w.env["EVERGRANT_NOTIFY"] = "github-issue:\n" + w.hook.URL + "/" + hookSecret
	w.refresh(0)
	w.pass(31 * 24 * time.Hour)
	w.refresh(3)
	w.is("ended", "open acme/api needs a person (0)")
	w.want("needs_person")
	delete(w.env, "EVERGRANT_REFRESH_TOKEN")
	if r := w.run("logout", "acme/api", "--keep-remote"); r.code != 0 {
		t.Fatal(r)
	}
	w.refresh(3)
	w.refresh(3)
	w.is("logged out", "closed acme/api was logged out (0)")
	w.want()
}
