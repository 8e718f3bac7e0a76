//go:build linux && (amd64 || arm64)

package rig_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"evergrant/chaos/rig"
)

func TestStores(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, s := range rig.Stores() {
		if names[s.Name] || s.SpeedUp < 1 || s.DiskSize < 1 || strings.ContainsAny(s.Name, ",@") { // see chaos/run
			t.Errorf("%q is there twice, or incomplete", s.Name)
		}
		names[s.Name] = true
		if found, err := rig.StoreNamed(s.Name); err != nil || found.Name != s.Name {
			t.Errorf("%q: found %q, %v", s.Name, found.Name, err)
		}
	}
	if _, err := rig.StoreNamed("paper"); err == nil || !strings.Contains(err.Error(), "file, git path, git http") {
		t.Errorf("got %v", err)
	}
}

func TestProgramOf(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"/usr/bin/git push --porcelain -- /x":           "git push",
		"/usr/lib/git-core/git --shallow-file  fetch":   "git fetch",
		"git --git-dir=/x for-each-ref --format=%(ref)": "git for-each-ref",
		"git -c a.b=push gc --auto":                     "git gc",
		"git-receive-pack /x":                           "git receive-pack",
		"/usr/lib/git-core/git-remote-http http://x":    "git remote-http",
		"/bin/sh -c git":                                "sh",
		"git":                                           "git",
	} {
		if got := rig.ProgramOf(strings.Split(line, " ")); got != want {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
}

func TestAgeLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := &rig.Place{Dir: dir}
	if there, err := p.AgeLock("chaos/1"); there || err != nil {
		t.Errorf("no lock: %v, %v", there, err)
	}
	lock := filepath.Join(dir, "refs", "evergrant", "chaos+1.lock")
	if err := os.MkdirAll(filepath.Dir(lock), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(lock, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	there, err := p.AgeLock("chaos/1")
	if !there || err != nil {
		t.Errorf("a lock: %v, %v", there, err)
	}
	if st, err := os.Stat(lock); err != nil || time.Since(st.ModTime()) < 10*time.Minute {
		t.Errorf("it is as young as ever: %v", err)
	}
}

// What a process has started is killed with all in its session, and the process
// itself goes on.
func TestKillGit(t *testing.T) {
	t.Parallel()
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	b := machine(t)
	cmd := exec.CommandContext(t.Context(), shell, "-c", "setsid sh -c 'echo begun; read never <'"+fifo(t)+"'; echo went on' ; echo ended $?")
	call, err := b.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for rig.KillGit(call.Git()) == 0 {
		select {
		case <-call.Ended():
			t.Fatal("it has ended, and nothing was killed")
		case <-tick.C:
		}
	}
	r, err := call.Wait()
	if err != nil || r.Code != 0 || !strings.HasSuffix(r.Stdout, "ended 137\n") || strings.Contains(r.Stdout, "went on") {
		t.Errorf("got %+v, %v", r, err)
	}
}

// fifo returns one that nobody writes to.
func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if out, err := exec.Command("mkfifo", path).CombinedOutput(); err != nil {
		t.Fatal(fmt.Errorf("mkfifo: %w: %s", err, out))
	}
	return path
}
