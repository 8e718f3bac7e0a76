// Package atomicfile replaces a file's content so that a crash or a power
// failure at any moment leaves the old content or the new one, whole. [Create]
// is for those who would rather have the bytes out of the process at once.
package atomicfile

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// nameRandom is the number of random bytes in the name of a temporary file.
const nameRandom = 8

// tempSuffix ends the name of every temporary file.
const tempSuffix = ".tmp"

// MaxName is the longest file name that [Write] can replace on file systems
// that allow 255 bytes: the temporary file beside it has a longer name.
const MaxName = 255 - len("..") - 2*nameRandom - len(tempSuffix)

// ErrTaken is an error of [Create]: somebody removed or replaced the new file.
var ErrTaken = errors.New("it was taken away")

// ReplacedError says that the new content is in place, and that it is not
// certain to survive a power failure. Every other error of [Write] means that
// the old file, or its absence, is unchanged.
type ReplacedError struct {
	Path string
	Err  error // why file or folder could not be synced
}

func (e *ReplacedError) Error() string {
	return fmt.Sprintf("%s holds the new content, but it could not be synced: %v", e.Path, e.Err)
}

func (e *ReplacedError) Unwrap() error { return e.Err }

// Write makes b the content of the file at path, with exactly the permissions
// mode. It writes a temporary file in the same folder, syncs it, renames it
// over path and syncs the folder; nobody ever sees half of b, nor b in a file
// with other permissions. A symbolic link at path is replaced, not followed.
//
// When a step fails, the temporary file is removed and the error names step
// and path. Write does not lock: of two writers the later rename wins.
func Write(path string, b []byte, mode fs.FileMode) error {
	if err := Update(path, b, mode); err != nil {
		return err
	}
	if err := syncFolder(filepath.Dir(path)); err != nil {
		return &ReplacedError{Path: path, Err: err}
	}
	return nil
}

// Update is [Write] for content that may be lost: it leaves out the sync of the
// folder, so that a power failure may bring back the old file, or its absence.
// It still syncs the file before the rename. Without that the rename can become
// durable before the bytes do, which leaves an empty file on XFS, and on ext4
// too where it is mounted with noauto_da_alloc.
func Update(path string, b []byte, mode fs.FileMode) error {
	temp, err := writeTemp(path, b, mode)
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return remove(temp, unchanged(path, "rename into place", err))
	}
	return nil
}

// Create makes a new file at path with content b and exactly the permissions
// mode: it writes b under its name in one call, then syncs file and folder.
// That is the shortest way to bytes that outlive this process: they do from the
// write on, before any sync. The price is that a crash can leave a file with a
// part of b, down to none, so a reader must be able to tell b from its parts.
//
// When path exists, be it a symbolic link, the error wraps [fs.ErrExist] and
// nothing changed. When the write fails, the file is removed. When a sync fails,
// the file stays whole, and the error is a [*ReplacedError]. [ErrTaken] says that
// somebody took the file away before Create returned.
func Create(path string, b []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode.Perm())
	if err != nil {
		return uncreated(path, "create it", err)
	}
	step, err := fill(f, b, mode)
	if err != nil {
		_ = f.Close() // first: Windows removes no open file
		return remove(path, uncreated(path, step, err))
	}
	err = syncNew(f, path)
	if cerr := f.Close(); err == nil && cerr != nil {
		err = &ReplacedError{Path: path, Err: cerr}
	}
	return err
}

// syncNew makes a new file durable. Afterwards it looks whether the file is still
// the one at path: whoever takes parts of files away may have met it half
// written, and the bytes would then be nowhere.
func syncNew(f *os.File, path string) error {
	if err := f.Sync(); err != nil {
		return &ReplacedError{Path: path, Err: err}
	}
	if err := syncFolder(filepath.Dir(path)); err != nil {
		return &ReplacedError{Path: path, Err: err}
	}
	mine, err := f.Stat()
	if err != nil {
		return &ReplacedError{Path: path, Err: err}
	}
	if there, err := os.Lstat(path); err != nil || !os.SameFile(mine, there) {
		return fmt.Errorf("%s: %w while it was written", path, ErrTaken)
	}
	return nil
}

func writeTemp(path string, b []byte, mode fs.FileMode) (string, error) {
	dir, base := filepath.Split(path)
	var random [nameRandom]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the program instead
	temp := filepath.Join(dir, "."+base+"."+hex.EncodeToString(random[:])+tempSuffix)
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode.Perm())
	if err != nil {
		return "", unchanged(path, "create a temporary file", err)
	}
	step, err := fill(f, b, mode)
	if err == nil {
		step, err = "sync", f.Sync()
	}
	if cerr := f.Close(); err == nil && cerr != nil {
		step, err = "close", cerr
	}
	if err != nil {
		return "", remove(temp, unchanged(path, step, err))
	}
	return temp, nil
}

func fill(f *os.File, b []byte, mode fs.FileMode) (step string, err error) {
	// The umask takes away what others may do, which only a mode that grants
	// them something needs back.
	if mode.Perm()&0o077 != 0 {
		if err := f.Chmod(mode.Perm()); err != nil {
			return "set permissions", err
		}
	}
	if _, err := f.Write(b); err != nil {
		return "write", err
	}
	return "", nil
}

// unchanged says that the old file is still there.
func unchanged(path, step string, err error) error {
	return fmt.Errorf("%s is unchanged: cannot %s: %w", path, step, Bare(err))
}

// uncreated says that there is no new file.
func uncreated(path, step string, err error) error {
	return fmt.Errorf("%s was not made: cannot %s: %w", path, step, Bare(err))
}

// Bare drops the file's name from err: the text around it has the one that
// means something to the reader.
func Bare(err error) error {
	var pe *fs.PathError
	var le *os.LinkError
	switch {
	case errors.As(err, &pe):
		return pe.Err
	case errors.As(err, &le):
		return le.Err
	}
	return err
}

// remove takes an unfinished file away and returns cause, on one line with the
// failure to do so.
func remove(temp string, cause error) error {
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; what was written is left over: %w", cause, err)
	}
	return cause
}

// Base returns the name of the file that name, without its folder, is a
// temporary file of; false if it is none. A crash leaves such files behind.
func Base(name string) (string, bool) {
	rest, ok := strings.CutSuffix(name, tempSuffix)
	if !ok || !strings.HasPrefix(rest, ".") {
		return "", false
	}
	dot := len(rest) - 2*nameRandom - 1
	if dot < 2 || rest[dot] != '.' {
		return "", false
	}
	if _, err := hex.DecodeString(rest[dot+1:]); err != nil {
		return "", false
	}
	return rest[1:dot], true
}

// MkdirAll makes dir and its missing parents, and syncs each folder that
// gained an entry, so that a file synced in dir is not lost with it. mode is
// for the folders that it makes; those that exist keep theirs.
func MkdirAll(dir string, mode fs.FileMode) error {
	st, err := os.Stat(dir)
	if err == nil {
		if !st.IsDir() {
			return fmt.Errorf("%s is not a folder", dir)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot look at folder: %w", err)
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := MkdirAll(parent, mode); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, mode.Perm()); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot make folder: %w", err)
	}
	if err := syncFolder(parent); err != nil {
		return fmt.Errorf("cannot sync folder %s: %w", parent, err)
	}
	return nil
}
