package atomicfile_test

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"evergrant/internal/atomicfile"
)

const (
	smallDisk = "EVERGRANT_TEST_SMALL_DISK"
	creating  = "EVERGRANT_TEST_CREATE" // by Create, not by Write
)

// TestMain makes this binary a process in which no file may grow beyond 4 KiB,
// when it is asked to: it writes the file named in the environment and prints
// the error.
func TestMain(m *testing.M) {
	path := os.Getenv(smallDisk)
	if path == "" {
		os.Exit(m.Run())
	}
	signal.Ignore(syscall.SIGXFSZ)
	limit := syscall.Rlimit{Cur: 4096, Max: 4096}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		panic(err)
	}
	write := atomicfile.Write
	if os.Getenv(creating) != "" {
		write = atomicfile.Create
	}
	err := write(path, make([]byte, 10000), 0o600)
	if err == nil {
		os.Exit(1)
	}
	_, _ = os.Stdout.WriteString(err.Error())
	os.Exit(0)
}

// A write that ends half-way, as on a full disk, changes nothing.
func TestWriteEndsHalfWay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "record")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	endsHalfWay(t, path+" is unchanged: cannot write: file too large", smallDisk+"="+path)
	if content(t, path) != "old" {
		t.Error("the old content is gone")
	}
	fresh := filepath.Join(dir, "fresh")
	endsHalfWay(t, fresh+" was not made: cannot write: file too large", smallDisk+"="+fresh, creating+"=1")
	only(t, dir, "record")
}

func endsHalfWay(t *testing.T, want string, env ...string) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), env...)
	out, err := child.Output()
	if err != nil {
		t.Fatalf("the write did not fail: %v", err)
	}
	if string(out) != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

// A folder that can be written and not be read cannot be synced: the file is
// in place by then, and the error says so.
func TestFolderCannotBeSynced(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "folder")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "record")
	if err := os.Chmod(dir, 0o333); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(filepath.Dir(dir)), 0o711); err != nil {
		t.Fatal(err)
	}
	fresh := filepath.Join(dir, "fresh")
	var errs [2]error
	unprivileged(func() {
		errs = [...]error{atomicfile.Write(path, []byte("new"), 0o600), atomicfile.Create(fresh, []byte("new"), 0o600)}
	})
	for _, err := range errs {
		var replaced *atomicfile.ReplacedError
		if !errors.As(err, &replaced) || !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "holds the new content, but it could not be synced") {
			t.Fatalf("got %v", err)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if content(t, path) != "new" || content(t, fresh) != "new" {
		t.Error("the new content is not there")
	}
	only(t, dir, "fresh", "record")
}

// unprivileged runs f with the file permissions of an ordinary user, also where
// the tests run as root: on a thread of its own, which ends with f.
func unprivileged(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if os.Geteuid() == 0 {
			runtime.LockOSThread() // never unlocked, so nobody else gets the thread
			_ = syscall.Setfsuid(65534)
		}
		f()
	}()
	<-done
}
