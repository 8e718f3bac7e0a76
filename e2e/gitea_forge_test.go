//go:build e2e

package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// giteaForge is a running Gitea with one repository and its owner.
type giteaForge struct {
	url, dir, bin string
	token         string // of the owner
	log           *lockedBuffer
	stop          func() // ends it, before the test does
}

// giteaDir is the folder into which e2e/gitea/install built it.
func giteaDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("EVERGRANT_E2E_GITEA")
	if dir == "" {
		t.Fatal("EVERGRANT_E2E_GITEA is not set; run this test by EVERGRANT_E2E_FULL=1 e2e/run")
	}
	return dir
}

// giteaSettings are those of a private forge that fetches nothing from outside.
// The folder, its address and its port are filled in.
const giteaSettings = `APP_NAME = e2e
RUN_MODE = prod
RUN_USER = nobody
WORK_PATH = %[1]s
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = %[3]d
ROOT_URL = %[2]s/
STATIC_ROOT_PATH = %[4]s
DISABLE_SSH = true
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
PATH = %[1]s/gitea.db
[repository]
ROOT = %[1]s/repositories
[security]
INSTALL_LOCK = true
[service]
DISABLE_REGISTRATION = true
[log]
MODE = console
LEVEL = Warn
[actions]
ENABLED = true
DEFAULT_ACTIONS_URL = self
`

// startGitea serves until the test ends. Gitea refuses to run as root, so it
// runs as nobody in a user namespace of its own, where nobody is who runs the test.
func startGitea(t *testing.T) *giteaForge {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := l.Addr().(*net.TCPAddr)
	must(t, l.Close())
	g := &giteaForge{url: "http://" + address.String(), dir: t.TempDir(), bin: giteaDir(t), log: &lockedBuffer{}}
	must(t, os.WriteFile(filepath.Join(g.dir, "app.ini"), fmt.Appendf(nil, giteaSettings, g.dir, g.url, address.Port, filepath.Join(g.bin, "static")), 0o600))
	must(t, os.Mkdir(filepath.Join(g.dir, "home"), 0o700))
	g.admin(t, "migrate")
	g.admin(t, "admin", "user", "create", "--username", writer, "--email", writer+"@forge.example", "--random-password", "--must-change-password=false")
	g.token = strings.TrimSpace(g.admin(t, "admin", "user", "generate-access-token", "--username", writer, "--token-name", "e2e",
		"--scopes", "write:repository,write:issue,write:user", "--raw"))

	web := g.command("web")
	web.Stdout, web.Stderr = g.log, g.log
	must(t, web.Start())
	ended := make(chan struct{})
	go func() { _ = web.Wait(); close(ended) }()
	g.stop = sync.OnceFunc(func() {
		_ = web.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = web.Process.Kill()
			<-ended
		}
	})
	t.Cleanup(func() {
		g.stop()
		if t.Failed() {
			t.Logf("Gitea says:\n%s", g.log.String())
		}
	})
	until(t, "Gitea answers", func() bool {
		res, err := http.Get(g.url + "/api/v1/version")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	return g
}

// until asks again and again, for three minutes at most.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	end := time.After(3 * time.Minute)
	for !so() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("three minutes, and not yet: %s", what)
		}
	}
}

func (g *giteaForge) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(g.bin, "gitea"), append([]string{"--config", filepath.Join(g.dir, "app.ini")}, args...)...)
	cmd.Dir = g.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(g.dir, "home"), "USER=nobody", "TMPDIR=" + g.dir, "LC_ALL=C", "GITEA_WORK_DIR=" + g.dir}
	const nobody = 65534
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: nobody, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: nobody, HostID: os.Getgid(), Size: 1}},
	}
	return cmd
}

// admin runs one of Gitea's own commands and returns what it prints.
func (g *giteaForge) admin(t *testing.T, args ...string) string {
	t.Helper()
	cmd := g.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("gitea %s: %v (user namespaces are needed)\n%s", args[0], err, stderr.String())
	}
	return stdout.String()
}

// api calls Gitea's API as the owner, about the repository where the path begins
// with a dot, and expects one of the answers wanted.
func (g *giteaForge) api(t *testing.T, method, path string, body any, into any, wanted ...int) {
	t.Helper()
	if rest, ok := strings.CutPrefix(path, "./"); ok {
		path = "/repos/" + giteaRepository + "/" + rest
	}
	text, err := json.Marshal(body)
	must(t, err)
	r, err := http.NewRequestWithContext(t.Context(), method, g.url+"/api/v1"+path, bytes.NewReader(text))
	must(t, err)
	r.Header.Set("Authorization", "token "+g.token)
	r.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(r)
	must(t, err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	must(t, err)
	ok := false
	for _, status := range wanted {
		ok = ok || res.StatusCode == status
	}
	if !ok {
		t.Fatalf("%s %s: HTTP %d, want %v: %.300s", method, path, res.StatusCode, wanted, answer)
	}
	switch to := into.(type) {
	case nil:
	case *string:
		*to = string(answer)
	default:
		must(t, json.Unmarshal(answer, into))
	}
}

// commit puts a file into the repository.
func (g *giteaForge) commit(t *testing.T, path, text string) {
	t.Helper()
	g.api(t, http.MethodPost, "./contents/"+path, map[string]any{"content": base64.StdEncoding.EncodeToString([]byte(text)), "branch": "main", "message": "a workflow"}, nil, http.StatusCreated)
}

// giteaRun is a workflow run as the API tells of it.
type giteaRun struct {
	ID                        int64
	Status, Conclusion, Event string
}

func (g *giteaForge) runs(t *testing.T) []giteaRun {
	t.Helper()
	var all struct {
		Runs []giteaRun `json:"workflow_runs"`
	}
	g.api(t, http.MethodGet, "./actions/runs?limit=50", nil, &all, http.StatusOK)
	return all.Runs
}

// started does what starts a run, and returns it.
func (g *giteaForge) started(t *testing.T, start func()) giteaRun {
	t.Helper()
	last := int64(0)
	for _, r := range g.runs(t) {
		last = max(last, r.ID)
	}
	start()
	var run giteaRun
	until(t, "the run is there", func() bool {
		for _, r := range g.runs(t) {
			if r.ID > last {
				run = r
			}
		}
		return run.ID != 0
	})
	return run
}

// dispatch starts a workflow by hand.
func (g *giteaForge) dispatch(t *testing.T, workflow string, inputs map[string]string) giteaRun {
	t.Helper()
	return g.started(t, func() {
		g.api(t, http.MethodPost, "./actions/workflows/"+workflow+"/dispatches", map[string]any{"ref": "main", "inputs": inputs}, nil, http.StatusOK, http.StatusNoContent)
	})
}

// ended waits for the end of a run, and expects how it ended.
func (g *giteaForge) ended(t *testing.T, run giteaRun, conclusion string) {
	t.Helper()
	until(t, fmt.Sprintf("run %d has ended", run.ID), func() bool {
		g.api(t, http.MethodGet, fmt.Sprint("./actions/runs/", run.ID), nil, &run, http.StatusOK)
		return run.Status == "completed"
	})
	if run.Conclusion != conclusion {
		t.Fatalf("run %d ended as %q, want %q\n%s", run.ID, run.Conclusion, conclusion, g.logs(t, run))
	}
}

// logs are those of all jobs of a run, as Gitea shows them.
func (g *giteaForge) logs(t *testing.T, run giteaRun) string {
	t.Helper()
	var all struct {
		Jobs []struct {
			ID       int64
			RunnerID int64 `json:"runner_id"`
		}
	}
	g.api(t, http.MethodGet, fmt.Sprintf("./actions/runs/%d/jobs", run.ID), nil, &all, http.StatusOK)
	text := ""
	for _, j := range all.Jobs {
		if j.RunnerID == 0 {
			continue // nobody has begun it: there is no log
		}
		var one string
		g.api(t, http.MethodGet, fmt.Sprintf("./actions/jobs/%d/logs", j.ID), nil, &one, http.StatusOK)
		text += one
	}
	return text
}
