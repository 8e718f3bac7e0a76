package git

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// lockAge is when a lock of a ref at a path belongs to nobody any more. git holds
// one for milliseconds, and no push of this store lives for longer than
// [Config.Timeout], unless its machine slept.
const lockAge = 10 * time.Minute

// breakLock removes the lock that a killed git has left behind at a path, and
// reports whether there was one. Without that no run could ever write the grant
// again, since git itself never removes one. Who wakes up after that time and
// still believes to hold the lock fails to move the ref, and says so.
//
// A lock of a remote elsewhere is that machine's affair.
func (s *Store) breakLock(ref string) (broken bool, err error) {
	dir := s.remote.gitDir()
	if dir == "" {
		return false, nil
	}
	lock := filepath.Join(dir, filepath.FromSlash(ref)+".lock")
	old, err := os.Lstat(lock)
	if err != nil || !s.leftBehind(old) {
		return false, ignoreAbsent(err)
	}
	return s.breakSeen(dir, lock, old)
}

// breakSeen breaks the lock that was seen a moment ago.
func (s *Store) breakSeen(dir, lock string, old fs.FileInfo) (broken bool, err error) {
	// Two processes may break it at once, and a third may have locked the ref anew
	// in between: what was moved aside is looked at again. A new file often gets the
	// number of one that was removed, so its age counts as well. The name is none of
	// a ref.
	aside := filepath.Join(dir, "evergrant-"+rand.Text()+".lock")
	if err := os.Rename(lock, aside); err != nil {
		return false, ignoreAbsent(err)
	}
	if moved, err := os.Lstat(aside); err == nil && (!os.SameFile(old, moved) || !s.leftBehind(moved)) {
		_ = os.Link(aside, lock) // its owner's; fails if there is another by now
		return false, os.Remove(aside)
	}
	return true, os.Remove(aside)
}

// leftBehind reports whether a lock is too old to belong to anybody.
func (s *Store) leftBehind(lock fs.FileInfo) bool {
	return lock.Mode().IsRegular() && s.now().Sub(lock.ModTime()) >= lockAge
}

func ignoreAbsent(err error) error {
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("a lock file that was left behind cannot be removed: %w", err)
}

// gitDir is where a remote at a path keeps its refs, found as git finds it
// (gitrepository-layout(5)); "" for one elsewhere, or in a form that git alone
// can follow, such as a linked work tree.
func (r Remote) gitDir() string {
	if r.scheme != "file" {
		return ""
	}
	for _, suffix := range [...]string{"/.git", "", ".git/.git", ".git"} {
		dir := r.url + suffix
		if isDir(filepath.Join(dir, "objects")) && isDir(filepath.Join(dir, "refs")) {
			return dir
		}
	}
	return ""
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}
