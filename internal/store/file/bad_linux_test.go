package file_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/grant/granttest"
	"evergrant/internal/store/file"

	"github.com/gofrs/flock"
)

// create puts the sample record of acme in a new store, and returns its path.
func create(t *testing.T, s kept) (string, grant.Version) {
	t.Helper()
	v, err := s.Swap(t.Context(), acme, "", granttest.Credential(acme))
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(s.dir, "acme+main.json"), v
}

func write(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// line checks what every message must be: one line, with these words, no secret.
func line(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q is not in %q", w, err)
		}
	}
	if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), granttest.Canary) {
		t.Errorf("not one line without secrets: %q", err)
	}
}

// A record file that is not what it should be is never taken for absent, never
// overwritten, and told in one line.
func TestBadRecordFile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(t *testing.T, path string)
		words []string
	}{
		"mode 0644":  {func(t *testing.T, p string) { must(t, os.Chmod(p, 0o644)) }, []string{"open to others (mode 0644)", "chmod 600 "}},
		"mode 0620":  {func(t *testing.T, p string) { must(t, os.Chmod(p, 0o620)) }, []string{"mode 0620"}},
		"empty":      {func(t *testing.T, p string) { write(t, p, "", 0o600) }, []string{"it is empty"}},
		"text":       {func(t *testing.T, p string) { write(t, p, "hello\n", 0o600) }, []string{"damaged, or no record of this store"}},
		"cut off":    {func(t *testing.T, p string) { write(t, p, read(t, p)[:300], 0o600) }, []string{"damaged, or no record of this store"}},
		"bare":       {func(t *testing.T, p string) { write(t, p, `{"evergrant":1}`+"\n", 0o600) }, []string{"damaged, or no record of this store"}},
		"newer file": {func(t *testing.T, p string) { write(t, p, `{"file":2,"x":[]}`, 0o600) }, []string{"newer evergrant (file format 2); upgrade"}},
		"newer record": {func(t *testing.T, p string) {
			write(t, p, strings.Replace(read(t, p), `"evergrant":1`, `"evergrant":2`, 1), 0o600)
		}, []string{"newer evergrant (format 2); upgrade"}},
		"another grant's": {func(t *testing.T, p string) {
			write(t, p, strings.Replace(read(t, p), `"grant":"acme/main"`, `"grant":"acme/other"`, 1), 0o600)
		}, []string{`belongs to grant "acme/other"`}},
		"a folder": {func(t *testing.T, p string) { must(t, os.Remove(p), os.Mkdir(p, 0o700)) }, []string{"is not a file"}},
		"a pipe":   {func(t *testing.T, p string) { must(t, os.Remove(p), syscall.Mkfifo(p, 0o600)) }, []string{"is not a file"}},
		"a link": {func(t *testing.T, p string) { must(t, os.Rename(p, p+".real"), os.Symlink(p+".real", p)) },
			[]string{"is a symbolic link"}},
		"a dangling link": {func(t *testing.T, p string) { must(t, os.Remove(p), os.Symlink("nowhere", p)) }, []string{"is a symbolic link"}},
		"huge":            {func(t *testing.T, p string) { must(t, os.Truncate(p, 3*file.MaxRecord)) }, []string{"more than any record"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, t.TempDir(), codec(t, false))
			path, v := create(t, s)
			c.spoil(t, path)
			before := snapshot(t, s.dir)
			_, _, err := s.Load(t.Context(), acme)
			if !errors.Is(err, grant.ErrUnreadable) || errors.Is(err, grant.ErrNotFound) {
				t.Errorf("Load: %v, want ErrUnreadable", err)
			}
			line(t, err, append(c.words, `grant "acme/main"`, path)...)
			for _, old := range []grant.Version{"", "x"} {
				_, err := s.Swap(t.Context(), acme, old, granttest.Credential(acme))
				if !errors.Is(err, grant.ErrConflict) && !errors.Is(err, grant.ErrUnreadable) {
					t.Errorf("Swap: %v, want ErrConflict or ErrUnreadable", err)
				}
			}
			if _, err := s.Swap(t.Context(), acme, v, granttest.Credential(acme)); err == nil {
				t.Error("a Swap on the version before went through")
			}
			if after := snapshot(t, s.dir); !bytes.Equal(before, after) {
				t.Error("the folder was changed")
			}
		})
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// snapshot describes names, kinds and contents of a folder.
func snapshot(t *testing.T, dir string) []byte {
	t.Helper()
	var all []byte
	for _, name := range names(t, dir) {
		st, err := os.Lstat(filepath.Join(dir, name))
		must(t, err)
		all = append(append(all, name...), st.Mode().String()...)
		if st.Mode().IsRegular() {
			all = append(all, read(t, filepath.Join(dir, name))...)
		}
	}
	return all
}

func TestWrongKey(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), codec(t, true))
	path, _ := create(t, s)
	for want, c := range map[string]kept{
		"no key is at hand":     open(t, s.dir, codec(t, false)),
		"sealed to another key": open(t, s.dir, codec(t, true)),
	} {
		_, _, err := c.Load(t.Context(), acme)
		if !errors.Is(err, grant.ErrUnreadable) {
			t.Errorf("%v, want ErrUnreadable", err)
		}
		line(t, err, want, path)
	}
}

// someoneElses is a file's description with another owner.
type someoneElses struct{ fs.FileInfo }

func (s someoneElses) Sys() any {
	st := *s.FileInfo.Sys().(*syscall.Stat_t)
	st.Uid++
	return &st
}

func TestSomeoneElsesFile(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), codec(t, false))
	path, _ := create(t, s)
	st, err := os.Stat(path)
	must(t, err)
	must(t, file.CheckFile(path, st, false), file.CheckFile(path, someoneElses{st}, true))
	err = file.CheckFile(path, someoneElses{st}, false)
	if !errors.Is(err, grant.ErrUnreadable) {
		t.Errorf("%v, want ErrUnreadable", err)
	}
	line(t, err, "belongs to user ", "run as its owner")
}

func TestBadFolder(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(t *testing.T, dir string)
		words []string
	}{
		"a file":           {func(t *testing.T, d string) { write(t, d, "", 0o600) }, []string{"is not a folder"}},
		"below a file":     {func(t *testing.T, d string) { write(t, filepath.Dir(d), "", 0o600) }, []string{"not a directory"}},
		"others may write": {func(t *testing.T, d string) { must(t, os.MkdirAll(d, 0o700), os.Chmod(d, 0o777)) }, []string{"others may write", "mode 0777", "chmod 700 "}},
	} {
		dir := filepath.Join(t.TempDir(), "a", "b")
		if name != "below a file" {
			must(t, os.Mkdir(filepath.Dir(dir), 0o700))
		}
		c.spoil(t, dir)
		_, err := file.Open(dir, codec(t, false), file.Options{})
		line(t, err, append(c.words, "file store: ")...)
	}
	_, err := file.Open("", codec(t, false), file.Options{})
	line(t, err, "path is empty")

	open(t, filepath.Join(t.TempDir(), "x", "y"), codec(t, false))
	readable := t.TempDir()
	must(t, os.Chmod(readable, 0o755))
	create(t, open(t, readable, codec(t, false)))
}

func TestFolderVanishes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store")
	must(t, os.Mkdir(dir, 0o700))
	s := open(t, dir, codec(t, false))
	must(t, os.Remove(s.dir))
	_, _, err := s.Load(t.Context(), acme)
	line(t, err, "folder is gone")
	if errors.Is(err, grant.ErrNotFound) || errors.Is(err, grant.ErrUnreadable) {
		t.Errorf("a store that is gone looks empty: %v", err)
	}
	_, err = s.Swap(t.Context(), acme, "", granttest.Credential(acme))
	line(t, err, "nothing was written")
	for _, err := range s.List(t.Context()) {
		line(t, err, "list "+s.dir)
	}
}

// TestFolderIsMadeByTheFirstRecord: whatever only looks leaves no folder behind.
func TestFolderIsMadeByTheFirstRecord(t *testing.T) {
	t.Parallel()
	above := t.TempDir()
	s := open(t, filepath.Join(above, "a", "store"), codec(t, false))
	_, _, err := s.Load(t.Context(), acme)
	line(t, err, "no record", "there is no folder "+s.dir)
	if !errors.Is(err, grant.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
	for id, err := range s.List(t.Context()) {
		t.Errorf("a store without a folder lists %q, %v", id, err)
	}
	if _, err := s.Swap(t.Context(), acme, "1", granttest.Credential(acme)); !errors.Is(err, grant.ErrConflict) {
		t.Errorf("a replacement of nothing: %v, want ErrConflict", err)
	}
	if got := names(t, above); len(got) != 0 {
		t.Fatalf("looking made %q", got)
	}
	_, v := create(t, s)
	must(t, os.RemoveAll(filepath.Join(above, "a")))
	_, err = s.Swap(t.Context(), acme, "", granttest.Credential(acme))
	line(t, err, "nothing was written")
	if got := names(t, above); len(got) != 0 || v == "" {
		t.Errorf("a folder that went away was made again: %q", got)
	}
}

// TestFolderOfTheFirstRecordIsChecked: what appeared since Open is no better than
// what was there before.
func TestFolderOfTheFirstRecordIsChecked(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(dir string) error{
		"nothing was written: others may write": func(d string) error { return errors.Join(os.Mkdir(d, 0o700), os.Chmod(d, 0o777)) },
		"is not a folder":                       func(d string) error { return os.WriteFile(d, nil, 0o600) },
		"no such file":                          func(d string) error { return os.Symlink("elsewhere", d) },
	} {
		s := open(t, filepath.Join(t.TempDir(), "store"), codec(t, false))
		must(t, spoil(s.dir))
		_, err := s.Swap(t.Context(), acme, "", granttest.Credential(acme))
		line(t, err, name)
		if !errors.Is(err, grant.ErrNotWritten) {
			t.Errorf("%v, want ErrNotWritten", err)
		}
	}
}

func TestUnwritableFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store")
	must(t, os.Mkdir(dir, 0o700))
	s := open(t, dir, codec(t, false))
	must(t, os.Chmod(filepath.Dir(filepath.Dir(dir)), 0o711), os.Chmod(dir, 0o555))
	var err error
	unprivileged(func() { _, err = s.Swap(t.Context(), acme, "", granttest.Credential(acme)) })
	must(t, os.Chmod(dir, 0o700))
	line(t, err, "nothing was written", dir, "permission denied")
	if len(names(t, dir)) != 0 {
		t.Errorf("the folder holds %q", names(t, dir))
	}
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

func TestLockIsHeld(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), codec(t, false))
	path, v := create(t, s)
	lockPath := strings.TrimSuffix(path, ".json") + ".lock"
	lock := flock.New(lockPath)
	if ok, err := lock.TryLock(); !ok {
		t.Fatalf("the lock is taken after the Swap: %v", err)
	}
	before := snapshot(t, s.dir)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := s.Swap(ctx, acme, v, granttest.Credential(acme))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want DeadlineExceeded", err)
	}
	line(t, err, "nothing was written", lockPath, "somebody else held it")
	if !bytes.Equal(before, snapshot(t, s.dir)) {
		t.Error("the folder was changed")
	}
	if _, _, err := s.Load(t.Context(), acme); err != nil {
		t.Errorf("Load waits for the lock: %v", err)
	}
	if _, err := s.Swap(t.Context(), "acme/other", "", granttest.Credential("acme/other")); err != nil {
		t.Errorf("another grant waits for the lock: %v", err)
	}
	must(t, lock.Close())
	if _, err := s.Swap(t.Context(), acme, v, granttest.Credential(acme)); err != nil {
		t.Errorf("after the lock was given back: %v", err)
	}
	must(t, os.Remove(lockPath), os.Symlink("elsewhere", lockPath))
	_, err = s.Swap(t.Context(), "acme/main", "", granttest.Credential(acme))
	line(t, err, lockPath, "symbolic link")
}

func TestNetworkFileSystems(t *testing.T) {
	t.Parallel()
	for magic, want := range map[uint32]string{
		0x6969: "nfs", 0xFF534D42: "cifs", 0xFE534D42: "smb3", 0x65735546: "fuse", 0x01021997: "9p",
		0xEF53: "", 0x58465342: "", 0x9123683E: "", 0x01021994: "", 0x794C7630: "", 0x2FC12FC1: "", // ext4, xfs, btrfs, tmpfs, overlay, zfs
	} {
		if got := file.NetworkName(magic); got != want {
			t.Errorf("NetworkName(%#x) = %q, want %q", magic, got, want)
		}
	}
	line(t, file.Refuse("/mnt/x", "nfs"), "network file system (nfs)", "file:/mnt/x?shared=yes")
	must(t, file.Refuse("/mnt/x", ""))
	s, err := file.Open(t.TempDir(), codec(t, false), file.Options{Shared: true})
	must(t, err)
	if p := s.Properties(); p.SameHost || !p.Atomic || !p.Durable {
		t.Errorf("a shared store declares %+v", p)
	}
}
