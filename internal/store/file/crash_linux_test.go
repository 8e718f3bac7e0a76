package file_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/grant/granttest"
	"evergrant/internal/record"
	"evergrant/internal/store/file"
)

// What TestMain makes of this binary when it is started again.
const (
	childTask = "EVERGRANT_TEST_CHILD" // "count", or "full"
	childDir  = "EVERGRANT_TEST_DIR"
)

func TestMain(m *testing.M) {
	task := os.Getenv(childTask)
	if task == "" {
		os.Exit(m.Run())
	}
	if err := child(task, os.Getenv(childDir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func child(task, dir string) error {
	c, err := record.NewCodec(grant.Secret{})
	if err != nil {
		return err
	}
	s, err := file.Open(dir, c, file.Options{})
	if err != nil {
		return err
	}
	if task == "full" {
		return fullDisk(s)
	}
	for won := 0; won < 20; {
		cred, v, err := s.Load(context.Background(), acme)
		if err != nil {
			return err
		}
		cred.Generation++
		cred.Writer = fmt.Sprintf("%d-%d", os.Getpid(), cred.Generation)
		switch _, err := s.Swap(context.Background(), acme, v, cred); {
		case err == nil:
			won++
			fmt.Println(cred.Generation)
		case !errors.Is(err, grant.ErrConflict):
			return err
		}
	}
	return nil
}

// fullDisk swaps where no file may grow beyond 1 KiB, and prints the error.
func fullDisk(s *file.Store) error {
	cred, v, err := s.Load(context.Background(), acme)
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGXFSZ)
	limit := syscall.Rlimit{Cur: 1024, Max: 1024}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	if _, err = s.Swap(context.Background(), acme, v, cred); err == nil {
		return errors.New("the Swap went through")
	}
	fmt.Println(err)
	return nil
}

func start(t *testing.T, task, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childTask+"="+task, childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	return cmd, bufio.NewScanner(out)
}

// Eight processes count together: each generation is won once.
func TestProcesses(t *testing.T) {
	t.Parallel()
	const processes, each = 8, 20
	s := open(t, t.TempDir(), codec(t, false))
	first := granttest.Credential(acme)
	first.Generation = 0
	_, err := s.Swap(t.Context(), acme, "", first)
	must(t, err)
	var mu sync.Mutex
	won := make(map[string]int)
	var all sync.WaitGroup
	for range processes {
		cmd, lines := start(t, "count", s.dir)
		all.Go(func() {
			for lines.Scan() {
				mu.Lock()
				won[lines.Text()]++
				mu.Unlock()
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("a process failed: %v", err)
			}
		})
	}
	all.Wait()
	for g := 1; g <= processes*each; g++ {
		if n := won[fmt.Sprint(g)]; n != 1 {
			t.Errorf("generation %d was won %d times", g, n)
		}
	}
	c, _, err := s.Load(t.Context(), acme)
	if err != nil || c.Generation != processes*each {
		t.Errorf("in the end generation %d, %v, want %d", c.Generation, err, processes*each)
	}
	if got := names(t, s.dir); strings.Join(got, " ") != "acme+main.json acme+main.lock" {
		t.Errorf("the folder holds %q", got)
	}
}

// A process that is killed while it swaps leaves a whole record and no lock.
func TestKilledProcess(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), codec(t, false))
	path, _ := create(t, s)
	for round := range 10 {
		cmd, lines := start(t, "count", s.dir)
		for range round%3 + 1 {
			if !lines.Scan() {
				t.Fatal("the process ended by itself")
			}
		}
		must(t, cmd.Process.Kill())
		last := lines.Text()
		for lines.Scan() {
			last = lines.Text()
		}
		_ = cmd.Wait() // it was killed
		c, v, err := s.Load(t.Context(), acme)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if told := fmt.Sprint(c.Generation); told != last && fmt.Sprint(c.Generation-1) != last {
			t.Errorf("round %d: the record has generation %s, the process told %s", round, told, last)
		}
		if _, err := s.Swap(t.Context(), acme, v, c); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	agedLeftOvers(t, s.dir)
	again := open(t, s.dir, codec(t, false))
	c, v, err := again.Load(t.Context(), acme)
	must(t, err)
	swapUntil(t, again, v, c, func() bool { return len(names(t, s.dir)) == 2 })
	if got := names(t, s.dir); strings.Join(got, " ") != filepath.Base(path)+" acme+main.lock" {
		t.Errorf("left over: %q", got)
	}
}

// swapUntil swaps at least once, and until done: one in some dozens of Swaps
// looks for left-over files.
func swapUntil(t *testing.T, s kept, v grant.Version, c grant.Credential, done func() bool) {
	t.Helper()
	for tries := 0; tries == 0 || tries < 2000 && !done(); tries++ {
		var err error
		if v, err = s.Swap(t.Context(), acme, v, c); err != nil {
			t.Fatalf("the next Swap: %v", err)
		}
	}
}

// agedLeftOvers makes temporary files look as if they were killed long ago.
func agedLeftOvers(t *testing.T, dir string) {
	t.Helper()
	old := time.Now().Add(-time.Hour)
	for _, name := range names(t, dir) {
		if strings.HasSuffix(name, ".tmp") {
			must(t, os.Chtimes(filepath.Join(dir, name), old, old))
		}
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), codec(t, false))
	path, _ := create(t, s)
	before := read(t, path)
	cmd, lines := start(t, "full", s.dir)
	if !lines.Scan() {
		t.Fatalf("no error was printed: %v", cmd.Wait())
	}
	text := lines.Text()
	must(t, cmd.Wait())
	line(t, errors.New(text), `grant "acme/main"`, path+" is unchanged: cannot write: ")
	if read(t, path) != before {
		t.Error("the record was changed")
	}
	if got := names(t, s.dir); len(got) != 2 {
		t.Errorf("the folder holds %q", got)
	}
}

// Each state that a kill between two system calls of a Swap leaves behind
// opens, holds the old record or the new one, and takes the next Swap.
func TestKilledBetweenSystemCalls(t *testing.T) {
	t.Parallel()
	const temp = ".acme+main.json.0123456789abcdef.tmp"
	for _, existing := range []bool{false, true} {
		for i, at := range []struct {
			name  string
			state func(t *testing.T, dir, text string)
			moved bool
		}{
			{"before the lock file", func(*testing.T, string, string) {}, false},
			{"lock file made", func(t *testing.T, d, _ string) { write(t, filepath.Join(d, "acme+main.lock"), "", 0o600) }, false},
			{"temporary file made", func(t *testing.T, d, _ string) { write(t, filepath.Join(d, temp), "", 0o600) }, false},
			{"half written", func(t *testing.T, d, s string) { write(t, filepath.Join(d, temp), s[:len(s)/2], 0o600) }, false},
			{"written", func(t *testing.T, d, s string) { write(t, filepath.Join(d, temp), s, 0o600) }, false},
			{"renamed", func(t *testing.T, d, s string) {
				write(t, filepath.Join(d, temp), s, 0o600)
				must(t, os.Rename(filepath.Join(d, temp), filepath.Join(d, "acme+main.json")))
			}, true},
		} {
			t.Run(fmt.Sprintf("%d %s, existing %v", i, at.name, existing), func(t *testing.T) {
				t.Parallel()
				next := granttest.Credential(acme)
				next.Generation, next.Writer = 8, "writer-2"
				elsewhere := open(t, t.TempDir(), codec(t, false))
				_, err := elsewhere.Swap(t.Context(), acme, "", next)
				must(t, err)

				dir := t.TempDir()
				if existing {
					create(t, open(t, dir, codec(t, false)))
				}
				at.state(t, dir, read(t, filepath.Join(elsewhere.dir, "acme+main.json")))
				agedLeftOvers(t, dir)
				write(t, filepath.Join(dir, ".acme+main.json.00000000000000ff.tmp"), "in progress", 0o600)
				write(t, filepath.Join(dir, ".note.0123456789abcdef.tmp"), "not ours", 0o600)

				s := open(t, dir, codec(t, false))
				c, v, err := s.Load(t.Context(), acme)
				switch {
				case at.moved && (err != nil || c.Writer != "writer-2"),
					!at.moved && existing && (err != nil || c.Writer != "writer-1"),
					!at.moved && !existing && !errors.Is(err, grant.ErrNotFound):
					t.Fatalf("Load: record of %q, %v", c.Writer, err)
				}
				swapUntil(t, s, v, next, func() bool { return !slices.Contains(names(t, dir), temp) })
				want := ".acme+main.json.00000000000000ff.tmp .note.0123456789abcdef.tmp acme+main.json acme+main.lock"
				if got := strings.Join(names(t, dir), " "); got != want {
					t.Errorf("the folder holds %q, want %q", got, want)
				}
			})
		}
	}
}
