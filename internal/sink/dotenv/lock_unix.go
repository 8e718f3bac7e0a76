//go:build unix && !solaris && !aix

package dotenv

import (
	"os"

	"golang.org/x/sys/unix"
)

// lockFolder holds an advisory lock on the folder itself, so that no lock file
// is left beside the user's environment file.
func lockFolder(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}
