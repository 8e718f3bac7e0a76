//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// keptSteps are the later steps of a job whose token is kept fresh. The first asks
// for one generation after the other, as a caller does whose calls are refused, and
// uses each by the socket, by the file and by evergrant's own helpers. The second
// prints a token as careless scripts do: it has asked the program, which masks.
const keptSteps = `      - shell: bash
        run: |
          set -euo pipefail
          ask() { curl -sS --fail --unix-socket "$EVERGRANT_TOKEN_SOCKET" "http://localhost/token.json?after=$1" | jq -r .generation; }
          good() { test "$(curl -sS -o /dev/null -w '%{http_code}' --config - "$E2E_USERINFO")" = 200; }
          test "$EVERGRANT_TOKEN_FILE" = '${{ steps.evergrant.outputs.token-file }}'
          test "$EVERGRANT_TOKEN_SOCKET" = '${{ steps.evergrant.outputs.token-socket }}'
          generation=0
          for _ in 1 2 3 4 5 6; do
            generation=$(ask "$generation")
            test "$(cat "$EVERGRANT_TOKEN_FILE")" = "$(curl -sS --unix-socket "$EVERGRANT_TOKEN_SOCKET" http://localhost/token)"
            printf 'header = "Authorization: Bearer %s"\n' "$(cat "$EVERGRANT_TOKEN_FILE")" | good
            "$PROGRAM" helper curl --token-socket "$EVERGRANT_TOKEN_SOCKET" | good
            echo "generation $generation is good"
          done
        env:
          PROGRAM: ${{ steps.evergrant.outputs.program }}
      - id: later
        shell: bash
        run: |
          token=$("$PROGRAM" helper claude --token-socket "$EVERGRANT_TOKEN_SOCKET")
          echo "what was asked for is $token"
          echo "token=$token" >>"$GITHUB_OUTPUT"
        env:
          PROGRAM: ${{ steps.evergrant.outputs.program }}
`

// kept is the plain workflow with keep-fresh and those steps; the consumer gets the
// token that the last of them has asked for.
func kept(steps string) string {
	text := plainWorkflow([]string{checkedOut}, map[string]string{"keep-fresh": "true"})
	before, consumer, _ := strings.Cut(text, "      - uses: "+officialAction)
	return before + steps + "      - uses: " + officialAction + strings.ReplaceAll(consumer, "steps.evergrant.outputs.access-token", "steps.later.outputs.token")
}

// background are the processes in the background of a run.
func (r *run) background() (pids []int) {
	for pid, p := range everyProcess() {
		if environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); err == nil && strings.Contains(p.line, " action keep ") &&
			strings.Contains(string(environment), r.dir) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// over waits until a run has left no process.
func (r *run) over(t *testing.T) {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); len(r.background()) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("a process is left in the background\n%s", r.told())
		}
	}
}

// TestActKeepFresh runs a job whose later steps live through several generations,
// with another job on the same grant at the same time; then one that is cancelled
// while its token is kept fresh, and one whose process in the background is killed.
func TestActKeepFresh(t *testing.T) {
	started := time.Now()
	server := startServer(t, nil)
	s := newStage(t, server)
	s.commit(t, map[string]string{plainPath: kept(keptSteps)})
	begun := s.begun(t)

	other := s.dispatched(0)
	other.workflow = ".github/workflows/other.yml"
	s.commit(t, map[string]string{other.workflow: plainWorkflow([]string{checkedOut}, map[string]string{"force": "true"})})
	first := s.start(t, s.dispatched(0))
	s.start(t, other)
	token := s.green(t, first.wait(t))
	first.over(t)
	otherToken := s.green(t, other.wait(t))
	log := first.log.String()
	if n := strings.Count(log, " is good\n"); n < 6 || !strings.Contains(log, "what was asked for is ***") || !strings.Contains(log, "kept fresh in the background until the job ends") ||
		!strings.Contains(log, "the token was kept fresh until now: generation ") {
		t.Fatalf("%d generations\n%s", n, first.told())
	}
	after := s.generation(t)
	if int(after-begun) < 6 || s.twice() != 0 || !server.alive(t, token) || !server.alive(t, otherToken) {
		t.Fatalf("%d generations; %d refresh tokens were presented twice; or a token is dead", after-begun, s.twice())
	}

	cancelled := s.waiting(t, "cancelled")
	must(t, cancelled.cmd.Process.Signal(os.Interrupt))
	cancelled.wait(t)
	cancelled.over(t)

	killed := s.waiting(t, "killed")
	for _, pid := range killed.background() {
		must(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	must(t, os.Remove(filepath.Join(killed.left(), "wait")))
	if killed.wait(t); killed.code() != 0 || !strings.Contains(killed.log.String(), "the token was not kept fresh until the job's end: the process in the background was killed before") {
		t.Errorf("exit %d of a job whose process in the background was killed\n%s", killed.code(), killed.told())
	}
	killed.over(t)

	s.watched.mu.Lock()
	seen := slices.ContainsFunc(slices.Collect(maps.Keys(s.watched.arguments)), func(line string) bool { return strings.Contains(line, "\x00action\x00keep\x00") })
	s.watched.mu.Unlock()
	if !seen {
		t.Error("no sample has seen the process in the background, so that its arguments hold no secret means nothing")
	}
	found := s.clean(t)
	if t.Failed() {
		return
	}
	part("%-19s six generations in one job, each good by socket, file and helper, beside another job; cancelled; killed: %d token requests in vain, nothing left; no secret in %d texts (%.0f s)",
		"act, keep-fresh", s.twice(), found.texts, time.Since(started).Seconds())
}

// waiting starts a job that waits, after its token is kept fresh, until a file in
// what it leaves is gone, and returns when it waits.
func (s *stage) waiting(t *testing.T, name string) *run {
	t.Helper()
	r := s.dispatched(0)
	r.workflow = ".github/workflows/" + name + ".yml"
	const wait = "      - shell: bash\n        run: |\n          : >\"$E2E_LEFT/wait\"\n          while [ -e \"$E2E_LEFT/wait\" ]; do sleep 0.05; done\n"
	text, _, _ := strings.Cut(kept(wait), "      - uses: "+officialAction)
	s.commit(t, map[string]string{r.workflow: text})
	s.start(t, r)
	for until := time.Now().Add(time.Minute); !exists(filepath.Join(r.left(), "wait")); time.Sleep(10 * time.Millisecond) {
		if closed(r.ended) || time.Now().After(until) {
			t.Fatalf("the job does not wait\n%s", r.told())
		}
	}
	if n := len(r.background()); n != 1 {
		t.Fatalf("%d processes in the background\n%s", n, r.told())
	}
	return r
}
