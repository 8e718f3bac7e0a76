//go:build linux && (amd64 || arm64)

package rig_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"evergrant/chaos/rig"
)

// watch notes what a program does to the files of a folder, and meddles.
type watch struct {
	dir    string
	meddle func(rig.Sight) rig.Meddle
	calls  []string
	values []int64
}

func (w *watch) Enters(s rig.Sight) rig.Meddle {
	if filepath.Dir(s.Path) != w.dir {
		return rig.Meddle{}
	}
	w.calls = append(w.calls, s.Call)
	if w.meddle == nil {
		return rig.Meddle{}
	}
	return w.meddle(s)
}

func (w *watch) Leaves(s rig.Sight, value int64) {
	if filepath.Dir(s.Path) == w.dir {
		w.values = append(w.values, value)
	}
}

// machine has a stand-in that does nothing for a binary.
func machine(t *testing.T) *rig.Box {
	t.Helper()
	// One that exists: what a test writes may be busy when it is run.
	binary, err := exec.LookPath("true")
	if err != nil {
		t.Fatal(err)
	}
	b, err := rig.NewBox(t.Context(), filepath.Join(t.TempDir(), "box"), binary, rig.NewCanary(), rig.Stores()[0])
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// traced runs a script in a machine whose binary is a stand-in that does
// nothing.
func traced(t *testing.T, w *watch, script string) rig.Result {
	t.Helper()
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	b := machine(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := b.RunTraced(ctx, []string{shell, "-c", script}, []string{"PATH=/nonexistent"}, w)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTracerLooksOn(t *testing.T) {
	t.Parallel()
	w := &watch{dir: t.TempDir()}
	r := traced(t, w, "echo four > "+w.dir+"/a; echo said; echo wrong >&2; exit 3")
	if r.Code != 3 || r.Stdout != "said\n" || r.Stderr != "wrong\n" {
		t.Errorf("got %+v", r)
	}
	if !slices.Contains(w.calls, "openat") || len(w.values) != len(w.calls) {
		t.Errorf("saw %q with %d values", w.calls, len(w.values))
	}
	if text, err := os.ReadFile(filepath.Join(w.dir, "a")); err != nil || string(text) != "four\n" {
		t.Errorf("the file holds %q, %v", text, err)
	}
}

// killAt kills when a file is made.
func killAt(s rig.Sight, v rig.Victim) rig.Meddle {
	if s.Call == "openat" && s.Made {
		return rig.Meddle{Kill: v}
	}
	return rig.Meddle{}
}

// What the program starts is followed, and can be killed alone, left alone, or
// go with it.
func TestTracerFollowsChildren(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		victim   rig.Victim
		survives bool // the program
		there    bool // the file that the child makes
		out      string
	}{
		{"nobody", rig.Nobody, true, true, "went on 0\n"},
		{"the child", rig.Caller, true, false, "went on 137\n"},
		{"the program", rig.Binary, false, true, ""},
		{"both", rig.Everything, false, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			programs := []string{}
			w := &watch{dir: t.TempDir(), meddle: func(s rig.Sight) rig.Meddle {
				programs = append(programs, s.Program)
				return killAt(s, c.victim)
			}}
			r := traced(t, w, "/bin/sh -c 'echo x > "+w.dir+"/a; exit 0'; echo went on $?")
			if (r.Code == 0) != c.survives || r.Stdout != c.out || !slices.Contains(programs, "sh") {
				t.Errorf("got %+v; the file was made by %q", r, programs)
			}
			if _, err := os.Stat(filepath.Join(w.dir, "a")); (err == nil) != c.there {
				t.Errorf("the file: %v", err)
			}
		})
	}
}

func TestTracerKillsBeforeTheCall(t *testing.T) {
	t.Parallel()
	w := &watch{dir: t.TempDir(), meddle: func(s rig.Sight) rig.Meddle { return killAt(s, rig.Caller) }}
	r := traced(t, w, "echo x > "+w.dir+"/a; echo survived")
	if r.Code >= 0 || r.Stdout != "" {
		t.Errorf("got %+v", r)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "a")); !os.IsNotExist(err) {
		t.Errorf("the call happened: %v", err)
	}
}

func TestTracerFailsACall(t *testing.T) {
	t.Parallel()
	w := &watch{dir: t.TempDir(), meddle: func(s rig.Sight) rig.Meddle {
		if s.Made {
			return rig.Meddle{Errno: syscall.ENOSPC}
		}
		return rig.Meddle{}
	}}
	r := traced(t, w, "echo x > "+w.dir+"/a; echo went on")
	if !strings.Contains(r.Stderr, syscall.ENOSPC.Error()) && !strings.Contains(strings.ToLower(r.Stderr), "no space") {
		t.Errorf("the program did not hear of the error: %+v", r)
	}
	if len(w.values) == 0 || w.values[0] != -int64(syscall.ENOSPC) {
		t.Errorf("the call returned %v", w.values)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "a")); !os.IsNotExist(err) {
		t.Errorf("the call happened: %v", err)
	}
}

// Other children of this program are left alone.
func TestTracerMindsItsOwn(t *testing.T) {
	t.Parallel()
	done := make(chan error)
	go func() {
		var err error
		for range 50 {
			if err == nil {
				err = exec.CommandContext(t.Context(), "true").Run()
			}
		}
		done <- err
	}()
	for range 10 {
		w := &watch{dir: t.TempDir()}
		if r := traced(t, w, "exit 0"); r.Code != 0 {
			t.Errorf("got %+v", r)
		}
	}
	if err := <-done; err != nil {
		t.Errorf("another child: %v", err)
	}
}
