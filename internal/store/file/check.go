package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

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

// absent tells a missing record from a missing folder: a store that is not
// there, such as one on a volume that is not mounted, must not look empty.
func (s *Store) absent() error {
	if _, err := os.Stat(s.dir); err != nil {
		return fmt.Errorf("the store's folder is gone: %w", err)
	}
	return grant.ErrNotFound
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
