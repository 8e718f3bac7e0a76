package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"evergrant/internal/atomicfile"
	"evergrant/internal/grant"
)

// read returns the bytes of a record file, [grant.ErrNotFound], or
// [grant.ErrUnreadable] for a file that is not what it should be.
func (s *Store) read(path string) ([]byte, error) {
	// Not blocking, because the file may turn out to be a pipe.
	f, err := os.OpenFile(path, os.O_RDONLY|noFollow|nonBlock, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, s.absent()
	case isLink(err):
		return nil, fmt.Errorf("%w: %s is a symbolic link, and a Swap would replace it; put the record itself there", grant.ErrUnreadable, path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w: %s may not be opened: %w", grant.ErrUnreadable, path, withoutPath(err))
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", path, withoutPath(err))
	}
	defer f.Close()
	s.seen.Store(true)
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", path, withoutPath(err))
	}
	if err := checkFile(path, st, s.shared); err != nil {
		return nil, err
	}
	b := make([]byte, st.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, withoutPath(err))
	}
	return b, nil
}

// absent tells a missing record from a folder that went away.
func (s *Store) absent() error {
	_, err := os.Stat(s.dir)
	switch {
	case err == nil:
		s.seen.Store(true)
		return grant.ErrNotFound
	case errors.Is(err, fs.ErrNotExist) && !s.seen.Load():
		return fmt.Errorf("%w: there is no folder %s", grant.ErrNotFound, s.dir)
	}
	return fmt.Errorf("the store's folder is gone: %w", err)
}

// appear makes the folder for the first record. Whoever wants to replace one
// finds that there is none.
func (s *Store) appear(old grant.Version) error {
	if old != "" {
		if err := s.absent(); errors.Is(err, grant.ErrNotFound) && !s.seen.Load() {
			return grant.ErrConflict
		}
	} else if err := atomicfile.MkdirAll(s.dir, 0o700); err != nil {
		return notWritten(fmt.Errorf("nothing was written: %w", err))
	}
	err := checkFolder(s.dir, s.shared)
	if err == nil && !s.shared {
		err = checkNetwork(s.dir, s.dir)
	}
	if err != nil {
		return notWritten(fmt.Errorf("nothing was written: %w", err))
	}
	s.seen.Store(true)
	return nil
}

// existing returns dir or the nearest folder above it that exists.
func existing(dir string) (string, error) {
	for at := dir; ; {
		st, err := os.Stat(at)
		switch {
		case err == nil && !st.IsDir():
			return "", fmt.Errorf("%s is not a folder", at)
		case err == nil:
			return at, nil
		case !errors.Is(err, fs.ErrNotExist) || filepath.Dir(at) == at:
			return "", fmt.Errorf("cannot look at folder: %w", err)
		}
		at = filepath.Dir(at)
	}
}

// checkNetwork refuses a store in dir because of the file system of at, which
// is dir or the folder that it will be made in.
func checkNetwork(dir, at string) error {
	name, err := networkFileSystem(at)
	if err != nil {
		return fmt.Errorf("cannot tell the file system of %s: %w", at, err)
	}
	return refuseNetwork(dir, name)
}

// refuseNetwork says why a file system with that name will not do; "" is local.
func refuseNetwork(dir, name string) error {
	if name == "" {
		return nil
	}
	return fmt.Errorf("%s is on a network file system (%s), where locks and renames may not hold; use a local folder, or say file:%s?shared=yes if flock works there for everyone", dir, name, dir)
}

func checkFile(path string, st fs.FileInfo, shared bool) error {
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is not a file", grant.ErrUnreadable, path)
	}
	if mode := st.Mode().Perm(); exposed(mode) {
		return fmt.Errorf("%w: %s is open to others (mode %04o), so its tokens may be known to them; chmod 600 %s, or sign in again if others had access", grant.ErrUnreadable, path, mode, path)
	}
	if owner, me, other := foreign(st); other && !shared {
		return fmt.Errorf("%w: %s belongs to user %d, and this process runs as user %d; run as its owner, or chown it", grant.ErrUnreadable, path, owner, me)
	}
	if st.Size() > 2*MaxRecord {
		return fmt.Errorf("%w: %s has %d bytes, more than any record", grant.ErrUnreadable, path, st.Size())
	}
	return nil
}

func checkFolder(dir string, shared bool) error {
	st, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if mode := st.Mode().Perm(); writable(mode) {
		return fmt.Errorf("others may write in folder %s (mode %04o): chmod 700 %s", dir, mode, dir)
	}
	if owner, me, other := foreign(st); other && owner != 0 && !shared {
		return fmt.Errorf("folder %s belongs to user %d, and this process runs as user %d; run as its owner, or use another folder", dir, owner, me)
	}
	return nil
}

// withoutPath drops the path from err, which the text around it names already.
func withoutPath(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}
