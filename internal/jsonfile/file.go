package jsonfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"evergrant/internal/atomicfile"
)

// MaxFile bounds what is read into memory, in bytes.
const MaxFile = 4 << 20

// Read returns what a regular file holds, and its permissions. A pipe or a device
// is refused unread, because opening one may take for ever. The error lacks the
// path, which the caller names.
func Read(path string) ([]byte, fs.FileMode, error) {
	return atomicfile.ReadRegular(path, MaxFile)
}

// Check proves that [Update] could replace the file: it is a regular file or
// absent, and its folder takes new ones. A symbolic link is refused, because
// replacing it would surprise its owner and following it would let whoever made
// the link choose where a token goes.
func Check(path string) error {
	if path == "" {
		return errors.New("the path of the file is missing")
	}
	if _, _, err := current(path); err != nil {
		return err
	}
	probe, err := os.CreateTemp(filepath.Dir(path), ".evergrant-probe-*")
	if err != nil {
		return fmt.Errorf("the folder of %s takes no new file: %w", path, atomicfile.Bare(err))
	}
	_ = probe.Close()
	if err := os.Remove(probe.Name()); err != nil {
		return fmt.Errorf("the folder of %s cannot be used: %w", path, atomicfile.Bare(err))
	}
	return nil
}

// Update replaces the file by what edit makes of it. Its permissions stay; a new
// file is its owner's alone. An error of edit, which must not hold anything of the
// text, changes nothing, and gets the path in front.
func Update(path string, edit func(text []byte) ([]byte, error)) error {
	old, mode, err := current(path)
	if err != nil {
		return err
	}
	text, err := edit(old)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return atomicfile.Write(path, text, mode)
}

// current is the text of a file that may be replaced, and its mode. An absent
// file is empty and private.
func current(path string) ([]byte, fs.FileMode, error) {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, 0o600, nil
	case err == nil && st.Mode()&fs.ModeSymlink != 0:
		return nil, 0, fmt.Errorf("%s is a symbolic link; name the file itself", path)
	case err == nil && !st.Mode().IsRegular():
		return nil, 0, fmt.Errorf("%s is not a regular file", path)
	}
	b, mode, err := Read(path)
	if err != nil {
		return nil, 0, fmt.Errorf("%s cannot be read: %w", path, err)
	}
	return b, mode, nil
}
