package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ReadRegular reads a file of at most that many bytes, and tells its permissions. A pipe or a device is
// refused unread: to open one may take for ever, and so may reading it. The error
// lacks the path, which the caller names in its own way.
func ReadRegular(path string, most int64) ([]byte, fs.FileMode, error) {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, 0, Bare(err)
	case st.IsDir():
		return nil, 0, errors.New("it is a folder")
	case !st.Mode().IsRegular():
		return nil, 0, errors.New("it is a pipe or a device, not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, Bare(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return nil, 0, Bare(err)
	case int64(len(b)) > most:
		if most >= 1<<20 {
			return nil, 0, fmt.Errorf("it is larger than %d MiB", most>>20)
		}
		return nil, 0, fmt.Errorf("it is larger than %d KiB", most>>10)
	}
	return b, st.Mode().Perm(), nil
}
