//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"evergrant/e2e/forge"
)

const giteaRepository = writer + "/widgets"

// giteaTask is one job as a runner tells of it.
type giteaTask struct {
	Event, Folder, Token, Run string
}

// giteaStage is a repository on a real forge, and a login at a strict
// authorization server that its workflows live on.
type giteaStage struct {
	*door
	provider  *authServer
	forge     *giteaForge
	watched   *processes
	key, seed string
	folder    string // of the runners

	mu    sync.Mutex
	tasks map[string]giteaTask // by workflow run, as they began
	ended []giteaTask
}

func newGiteaStage(t *testing.T) *giteaStage {
	t.Helper()
	provider := startServer(t, nil)
	s := &giteaStage{
		door: newDoor(t, provider.issuer), provider: provider, watched: watchProcesses(t), forge: startGitea(t),
		seed: provider.consent(t, publicClient).Refresh, folder: t.TempDir(), tasks: map[string]giteaTask{},
	}
	key := filepath.Join(t.TempDir(), "key")
	b := newBox(t)
	if r := b.run(t, "key", "new", "--out", key); r.code != 0 {
		t.Fatalf("no key\n%v", r)
	}
	text, err := os.ReadFile(key)
	must(t, err)
	for line := range bytes.Lines(text) {
		if bytes.HasPrefix(line, []byte("AGE-SECRET-KEY-")) {
			s.key = string(bytes.TrimSpace(line))
		}
	}
	if s.key == "" {
		t.Fatal("the key file has no key")
	}

	g := s.forge
	g.api(t, http.MethodPost, "/user/repos", map[string]any{"name": "widgets", "private": true, "auto_init": true, "default_branch": "main"}, nil, http.StatusCreated)
	for name, value := range map[string]string{"REFRESH_TOKEN": s.seed, "EVERGRANT_KEY": s.key, "FORGE_TOKEN": g.token} {
		g.api(t, http.MethodPut, "./actions/secrets/"+name, map[string]string{"data": value}, nil, http.StatusCreated)
	}
	for name, value := range map[string]string{"TOKEN_URL": s.url + "/token", "AFTER": "0"} {
		g.api(t, http.MethodPost, "./actions/variables/"+name, map[string]string{"value": value}, nil, http.StatusCreated, http.StatusNoContent)
	}
	return s
}

// after has the workflows want a token above a generation.
func (s *giteaStage) after(t *testing.T, generation int) {
	t.Helper()
	s.forge.api(t, http.MethodPut, "./actions/variables/AFTER", map[string]string{"name": "AFTER", "value": strconv.Itoa(generation)}, nil, http.StatusCreated, http.StatusNoContent)
}

// hire starts a runner, which works until the test ends.
func (s *giteaStage) hire(t *testing.T, name string, actions map[string]string) {
	t.Helper()
	var registration struct{ Token string }
	s.forge.api(t, http.MethodPost, "./actions/runners/registration-token", nil, &registration, http.StatusOK)
	config, err := json.Marshal(map[string]any{
		"forge": s.forge.url, "registration": registration.Token, "name": name, "act": filepath.Join(actDir(t), "bin", "act"),
		"folder": s.folder, "path": os.Getenv("PATH"), "actions": actions,
		"env": map[string]string{"E2E_USERINFO": s.provider.issuer + "/me", "E2E_REPORTS": "{task}/reports", "E2E_LEFT": "{task}/left"},
	})
	must(t, err)
	cmd := exec.Command(filepath.Join(s.forge.bin, "runner"))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.folder, "LC_ALL=C"}
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	var stderr lockedBuffer
	cmd.Stderr = &stderr
	must(t, cmd.Start())
	_, err = in.Write(config)
	must(t, err)
	done := make(chan struct{})
	go func() { s.listen(out); close(done) }()
	t.Cleanup(func() {
		_ = in.Close() // the runner ends by itself
		<-done
		_ = cmd.Wait()
		if text := stderr.String(); text != "" {
			t.Errorf("the runner %s says: %s", name, text)
		}
	})
}

func (s *giteaStage) listen(out io.Reader) {
	for d := json.NewDecoder(out); ; {
		var e giteaTask
		if d.Decode(&e) != nil {
			return
		}
		if e.Event != "begun" {
			continue
		}
		s.mu.Lock()
		s.tasks[e.Run] = e
		s.mu.Unlock()
	}
}

// task is the job of a run, if a runner has begun one.
func (s *giteaStage) task(run giteaRun) (giteaTask, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	task, ok := s.tasks[strconv.FormatInt(run.ID, 10)]
	return task, ok
}

// reports are what the consumers of a run tell.
func (s *giteaStage) reports(t *testing.T, run giteaRun) (all []consumed) {
	t.Helper()
	task, ok := s.task(run)
	if !ok {
		t.Fatalf("no runner had run %d", run.ID)
	}
	files, err := filepath.Glob(filepath.Join(task.Folder, "reports", "*.json"))
	must(t, err)
	for _, f := range files {
		text, err := os.ReadFile(f)
		must(t, err)
		var c consumed
		must(t, json.Unmarshal(text, &c))
		all = append(all, c)
	}
	return all
}

// secrets is everything that may not be seen.
func (s *giteaStage) secrets() secrets {
	access, refresh := s.tokens()
	all := secrets{accessTokens: access, refreshTokens: append(refresh, s.seed), sealingKey: {s.key}, jobToken: {s.forge.token}}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, task := range s.tasks {
		all[jobToken] = append(all[jobToken], task.Token)
	}
	return all
}

// clean searches what the runs, the runners and the forge have left behind, the
// forge's own data and the logs that it shows included. It stops the forge, so that
// its files stand still.
func (s *giteaStage) clean(t *testing.T) *sweep {
	t.Helper()
	w := newSweep(s.secrets())
	for _, run := range s.forge.runs(t) {
		w.look("a log in Gitea", []byte(s.forge.logs(t, run)), allKinds())
	}
	s.forge.stop()
	s.mu.Lock()
	tasks := maps.Clone(s.tasks)
	s.mu.Unlock()
	for _, task := range tasks {
		for _, d := range []string{"home", "tmp", "act", "work"} {
			w.tree(t, d, filepath.Join(task.Folder, d), func(string) []kind { return nil })
		}
		w.tree(t, "left", filepath.Join(task.Folder, "left"), rightful)
	}
	w.tree(t, "the forge", s.forge.dir, func(string) []kind { return nil })
	w.look("the forge's own log", []byte(s.forge.log.String()), allKinds())
	w.look("objects of the repository", forge.Everything(t, s.bare()), allKinds())
	s.watched.search(w)
	for _, leak := range w.leaks {
		t.Error(leak)
	}
	return w
}

// bare is the repository on the forge's disk.
func (s *giteaStage) bare() string {
	return filepath.Join(s.forge.dir, "repositories", filepath.FromSlash(giteaRepository)+".git")
}
