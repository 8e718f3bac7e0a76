//go:build e2e

package e2e

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// save is the moment at which a job pushes the record with the new tokens: the
// provider has acted, and the store does not know yet.
type save struct {
	reached chan struct{} // closed when a push is at the forge
	release chan struct{} // close it to let pushes through, the waiting one too
	over    chan struct{} // close it to let later pushes through, and drop the waiting one
	once    sync.Once
}

// holdSave stops every push of new tokens at the forge. Pushes of a lease, before
// the provider has answered, go through. lost carries a push out and keeps the
// forge's answer back instead.
func (s *stage) holdSave(lost bool) *save {
	h := &save{reached: make(chan struct{}), release: make(chan struct{}), over: make(chan struct{})}
	before := s.answers()
	s.forge.Intercept(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "git-receive-pack") || s.answers() == before || closed(h.over) {
			s.api(w, r, next)
			return
		}
		body, err := io.ReadAll(r.Body) // only then the server notices that the other side has gone
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if lost {
			s.api(&unheard{header: http.Header{}}, r, next)
		}
		h.once.Do(func() { close(h.reached) })
		select {
		case <-h.release:
			s.api(w, r, next)
		case <-h.over:
			panic(http.ErrAbortHandler)
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	})
	return h
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// unheard is an answer that nobody gets.
type unheard struct{ header http.Header }

func (u *unheard) Header() http.Header         { return u.header }
func (u *unheard) Write(p []byte) (int, error) { return len(p), nil }
func (u *unheard) WriteHeader(int)             {}

// step finds the process that the runner started for the Action's main step.
func (r *run) step(t *testing.T) int {
	t.Helper()
	found := 0
	for pid, process := range everyProcess() {
		if strings.Contains(process.line, r.dir) && strings.HasSuffix(process.line, "/action/main.mjs") {
			found = pid
		}
	}
	if found == 0 {
		t.Fatalf("the Action's main step does not run\n%s", r.told())
	}
	return found
}

type process struct {
	parent int
	line   string // arguments, with spaces between them
}

func everyProcess() map[int]process {
	all := map[int]process{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		line, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
		// proc_pid_stat(5): the parent is the second field after the name in parentheses.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		parent, err := strconv.Atoi(string(fields[1]))
		if err != nil {
			continue
		}
		all[pid] = process{parent, strings.TrimSpace(string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))}
	}
	return all
}

// killTree ends a process and all that came of it, without a word.
func killTree(pid int) {
	all := everyProcess()
	tree := []int{pid}
	for i := 0; i < len(tree); i++ {
		for child, p := range all {
			if p.parent == tree[i] {
				tree = append(tree, child)
			}
		}
	}
	for _, p := range tree {
		_ = syscall.Kill(p, syscall.SIGKILL) // it may have ended
	}
}

// cancel ends a step as GitHub's runner does when a job is cancelled: SIGINT,
// after 7.5 s SIGTERM, after 2.5 s more SIGKILL for whatever is left of it
// (actions/runner, ProcessInvoker).
func cancel(pid int, ended func() bool) {
	for _, next := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGINT, 7500 * time.Millisecond}, {syscall.SIGTERM, 2500 * time.Millisecond}} {
		_ = syscall.Kill(pid, next.signal)
		for until := time.Now().Add(next.wait); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
			if ended() {
				return
			}
		}
	}
	killTree(pid)
}

func gone(pid int) func() bool {
	return func() bool { return syscall.Kill(pid, 0) != nil }
}

// TestActCancel cancels a job between the provider's answer and the save, in
// the ways in which a job ends. The record must be in the store when the job is
// over, by the step itself or by the Action's post step, and the next run lives
// on it.
func TestActCancel(t *testing.T) {
	healed := map[string]int{}
	started := time.Now()
	server := startServer(t, nil)
	for _, c := range []struct {
		name string
		by   string // who saves: the step itself, the post step, or, where either may be first, ""
		do   func(t *testing.T, s *stage, r *run)
	}{
		{"SIGINT, the answer under way", "step", func(t *testing.T, s *stage, r *run) {
			asked, answer := make(chan struct{}), make(chan struct{})
			s.hold(func() { close(asked); <-answer })
			s.start(t, r)
			<-asked
			s.hold(nil)
			must(t, syscall.Kill(r.step(t), syscall.SIGINT))
			close(answer)
		}},
		{"SIGINT, then the save goes through", "step", func(t *testing.T, s *stage, r *run) {
			h := s.holdSave(false)
			s.start(t, r)
			<-h.reached
			must(t, syscall.Kill(r.step(t), syscall.SIGINT))
			close(h.release)
		}},
		{"GitHub's three signals, the save hangs", "post", func(t *testing.T, s *stage, r *run) {
			h := s.holdSave(false)
			s.start(t, r)
			<-h.reached
			pid := r.step(t)
			cancel(pid, gone(pid))
			close(h.over)
		}},
		{"SIGKILL of the tree at once", "post", func(t *testing.T, s *stage, r *run) {
			h := s.holdSave(false)
			s.start(t, r)
			<-h.reached
			killTree(r.step(t))
			close(h.over)
		}},
		{"SIGKILL of the tree, the forge has written", "step", func(t *testing.T, s *stage, r *run) {
			h := s.holdSave(true)
			s.start(t, r)
			<-h.reached
			killTree(r.step(t))
			close(h.over)
		}},
		// act kills the step's first process only, so the program goes on by itself.
		{"act cancelled by SIGINT", "", func(t *testing.T, s *stage, r *run) {
			h := s.holdSave(false)
			s.start(t, r)
			<-h.reached
			must(t, r.cmd.Process.Signal(os.Interrupt))
			close(h.release)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t, server)
			s.commit(t, map[string]string{plainPath: plainWorkflow([]string{checkedOut}, nil)})
			before := s.begun(t)
			r := s.dispatched(before)
			c.do(t, s, r)
			r.wait(t)
			by := "step"
			if strings.Contains(r.log.String(), "which was not saved when the step ended, is in the store now") {
				by = "post"
			}
			if got := s.generation(t); got != before+1 || c.by != "" && by != c.by {
				t.Fatalf("the store has generation %d after the cancelled job, by the %s step; want %d\n%s", got, by, before+1, r.told())
			}
			if token := s.green(t, s.run(t, s.dispatched(before+1))); !server.alive(t, token) || s.twice() != 0 {
				t.Fatalf("the next run: the family is dead, or %d tokens were presented twice", s.twice())
			}
			server.expect(t, "three refreshes", refreshes(3))
			s.clean(t)
			healed[by]++
		})
	}
	if t.Failed() {
		return
	}
	newStage(t, server).rescued(t)
	newStage(t, server).unheardOf(t)
	if t.Failed() {
		return
	}
	part("%-19s %d ways to end a job between answer and save: %d saved by the step itself, %d by post, family alive; store away to the end: rescue block in the log, put back; killed before the answer: nothing sent again, and when to try (%.0f s)",
		"act, cancelled", healed["step"]+healed["post"]+1, healed["step"], healed["post"], time.Since(started).Seconds())
}

// rescued takes the store away from the provider's answer to the end of the
// job. What is left is the log, and it must do.
func (s *stage) rescued(t *testing.T) {
	t.Helper()
	s.commit(t, map[string]string{plainPath: plainWorkflow([]string{checkedOut}, nil)})
	before := s.begun(t)
	answers := s.answers()
	s.forge.Intercept(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if s.answers() > answers && strings.Contains(r.URL.String(), "git-") {
			http.Error(w, "the forge is down", http.StatusServiceUnavailable)
			return
		}
		s.api(w, r, next)
	})
	killed := make(chan struct{})
	s.hold(func() { close(killed) })
	r := s.start(t, s.dispatched(before))
	<-killed
	s.hold(nil)
	pid := r.step(t)
	cancel(pid, gone(pid))
	r.wait(t)
	s.forge.Intercept(s.api)
	if got := s.generation(t); got != before {
		t.Fatalf("the store has generation %d, and it was away", got)
	}
	b := s.box(t)
	cmd := b.command(t.Context(), "rescue")
	cmd.Stdin = strings.NewReader(r.log.String())
	if put := b.finish(t, cmd); put.code != 0 {
		t.Fatalf("the log does not rescue the record\n%v\n%s", put, r.told())
	}
	if n := strings.Count(r.log.String(), "BEGIN EVERGRANT"); n != 1 {
		t.Errorf("the log has the rescue block %d times", n)
	}
	if token := s.green(t, s.run(t, s.dispatched(before+1))); !s.provider.alive(t, token) || s.twice() != 0 {
		t.Fatal("rescued, and the family is dead")
	}
	s.provider.expect(t, "three refreshes", refreshes(3))
	s.clean(t)
}

// unheardOf kills a job that has asked and has no answer yet. Nobody knows what
// became of the token, so the next run sends nothing and says when it may.
func (s *stage) unheardOf(t *testing.T) {
	t.Helper()
	s.commit(t, map[string]string{plainPath: plainWorkflow([]string{checkedOut}, map[string]string{"wait": "1s"})})
	before := s.begun(t)
	asked, answer := make(chan struct{}), make(chan struct{})
	s.hold(func() { close(asked); <-answer })
	r := s.start(t, s.dispatched(before))
	<-asked
	s.hold(nil)
	killTree(r.step(t))
	close(answer)
	r.wait(t)
	sent := s.requests()
	next := s.run(t, s.dispatched(before))
	log := next.log.String()
	if next.code() == 0 || s.requests() != sent || !strings.Contains(log, failed(9)) && !strings.Contains(log, failed(4)) || !strings.Contains(log, "next try at") {
		t.Fatalf("after a job that was killed before its answer: exit %d, %d requests\n%s", next.code(), s.requests()-sent, next.told())
	}
	s.provider.expect(t, "the first refresh and the lost one", refreshes(2))
	s.clean(t)
}

// asProgram is a program of this test's own making.
func asProgram(t *testing.T, path, script string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
}

// only makes a folder of the programs named, for a PATH without any other.
func only(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		path, err := exec.LookPath(name)
		must(t, err)
		must(t, os.Symlink(path, filepath.Join(dir, name)))
	}
	return dir
}
