package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"

	"evergrant/internal/grant"
)

// readRegular reads a file of at most that many bytes. A pipe or a device is
// refused unread: to open one may take for ever, and so may reading it. The error
// lacks the path, which the caller names in its own way.
func readRegular(path string, most int64) ([]byte, fs.FileMode, error) {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, 0, bare(err)
	case st.IsDir():
		return nil, 0, errors.New("it is a folder")
	case !st.Mode().IsRegular():
		return nil, 0, errors.New("it is a pipe or a device, not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, bare(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return nil, 0, bare(err)
	case int64(len(b)) > most:
		return nil, 0, fmt.Errorf("it is larger than %d KiB", most>>10)
	}
	return b, st.Mode().Perm(), nil
}

// bare drops the operation and the path from a file system's error.
func bare(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// maxSecretFile bounds a file that holds one secret, in bytes.
const maxSecretFile = 64 << 10

// secretFile reads a secret from a file. Others who can read it too are worth a
// warning and no failure: some systems mount secrets that way.
func (a *app) secretFile(flag, path string) (grant.Secret, error) {
	b, mode, err := readRegular(path, maxSecretFile)
	switch {
	case err != nil:
		return grant.Secret{}, usagef("%s: %s: %v", flag, shownPath(path), err)
	case len(b) == 0:
		return grant.Secret{}, usagef("%s: %s is empty", flag, shownPath(path))
	case mode&0o044 != 0 && runtime.GOOS != "windows":
		a.console.warnf("%s: others can read %s (mode %04o): chmod 600 %s", flag, shownPath(path), mode, shownPath(path))
	}
	return grant.NewSecret(string(b)), nil
}
