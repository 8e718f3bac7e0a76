//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// run is one run of a workflow: what to start, and then what came of it.
type run struct {
	event    string
	payload  any    // of the event
	workflow string // path in the repository
	actor    string
	secrets  map[string]string
	vars     map[string]string
	env      map[string]string // of the job
	path     string            // PATH; "": this process's
	noGit    bool              // the system's git is hidden from the job, and from nobody else
	verbose  bool

	cmd     *exec.Cmd
	log     lockedBuffer
	ended   chan struct{}
	err     error
	dir     string
	reports []consumed
}

// consumed is what a consumer tells about a token that it got.
type consumed struct {
	Action, Node, Who                           string
	Status                                      int
	Token, Variable, Refresh, Github, ExpiresAt string
	Oauth                                       string
	Environment                                 []string
}

// lockedBuffer can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// left is the folder in which the run's checkout keeps what the job left behind.
func (r *run) left() string { return filepath.Join(r.dir, "left") }

// told is the log without what act says of its own cache.
func (r *run) told() string {
	var b strings.Builder
	for line := range strings.Lines(r.log.String()) {
		if !strings.Contains(line, "LocalRepositoryCache") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// start starts act on the stage's repository.
func (s *stage) start(t *testing.T, r *run) *run {
	t.Helper()
	s.mu.Lock()
	r.dir = filepath.Join(s.dir, fmt.Sprint("run-", len(s.runs)+1))
	s.runs = append(s.runs, r)
	s.mu.Unlock()
	for _, d := range []string{"home", "tmp", "left", "reports", "act"} {
		must(t, os.MkdirAll(filepath.Join(r.dir, d), 0o700))
	}
	outside := t.TempDir() // the harness's own files, which have the secrets
	event, err := json.Marshal(r.payload)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(outside, "event.json"), event, 0o600))
	kept := map[string]string{"GITHUB_TOKEN": s.token}
	maps.Copy(kept, r.secrets)
	must(t, os.WriteFile(filepath.Join(outside, "secrets"), dotenv(kept), 0o600))

	args := []string{r.event, "--eventpath", filepath.Join(outside, "event.json"), "--secret-file", filepath.Join(outside, "secrets"),
		"--workflows", r.workflow, "--actor", r.actor, "--platform", "ubuntu-latest=-self-hosted", "--container-daemon-socket", "-",
		"--no-cache-server", "--no-skip-checkout", "--action-cache-path", filepath.Join(r.dir, "act")}
	for action, folder := range s.actions {
		args = append(args, "--local-repository", action+"="+folder)
	}
	env := map[string]string{
		"GITHUB_SERVER_URL": s.forge.URL, "GITHUB_API_URL": s.forge.URL + "/api/v3", "GITHUB_REPOSITORY": repository,
		"E2E_USERINFO": s.provider.issuer + "/me", "E2E_REPORTS": filepath.Join(r.dir, "reports"), "E2E_LEFT": r.left(),
	}
	maps.Copy(env, r.env)
	for name, value := range env {
		args = append(args, "--env", name+"="+value)
	}
	for name, value := range r.vars {
		args = append(args, "--var", name+"="+value)
	}
	if r.verbose {
		args = append(args, "--verbose")
	}
	act := append([]string{filepath.Join(actDir(t), "bin", "act")}, args...)
	if r.noGit {
		// A folder without it would not do: the Action looks into the system's first.
		act = append([]string{"unshare", "--mount", "sh", "-c", `/bin/mount --bind /dev/null /usr/bin/git && exec "$@"`, "sh"}, act...)
	}
	r.cmd = exec.CommandContext(t.Context(), act[0], act[1:]...)
	r.cmd.Dir = s.clone
	r.cmd.Env = []string{"PATH=" + or(r.path, os.Getenv("PATH")), "HOME=" + filepath.Join(r.dir, "home"), "TMPDIR=" + filepath.Join(r.dir, "tmp"), "LC_ALL=C", "NO_COLOR=1"}
	r.cmd.Stdout, r.cmd.Stderr = &r.log, &r.log
	r.ended = make(chan struct{})
	must(t, r.cmd.Start())
	go func() {
		r.err = r.cmd.Wait()
		close(r.ended)
	}()
	return r
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// dotenv writes variables as act reads them; a value may have several lines.
func dotenv(values map[string]string) []byte {
	var b bytes.Buffer
	for name, value := range values {
		fmt.Fprintf(&b, "%s=%q\n", name, value)
	}
	return b.Bytes()
}

// wait waits for the end of a run and reads what its consumers tell.
func (r *run) wait(t *testing.T) *run {
	t.Helper()
	<-r.ended
	var exit *exec.ExitError
	if r.err != nil && !errors.As(r.err, &exit) {
		t.Fatalf("act: %v\n%s", r.err, r.told())
	}
	files, err := filepath.Glob(filepath.Join(r.dir, "reports", "*.json"))
	must(t, err)
	for _, f := range files {
		text, err := os.ReadFile(f)
		must(t, err)
		var c consumed
		must(t, json.Unmarshal(text, &c))
		r.reports = append(r.reports, c)
	}
	return r
}

func (r *run) code() int { return r.cmd.ProcessState.ExitCode() }

// run starts a run and waits for it.
func (s *stage) run(t *testing.T, r *run) *run {
	t.Helper()
	return s.start(t, r).wait(t)
}
