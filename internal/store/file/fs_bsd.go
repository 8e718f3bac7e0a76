//go:build darwin || freebsd

package file

import (
	"strings"

	"golang.org/x/sys/unix"
)

// networkFileSystem names the file system of dir if other machines may reach
// it, and returns "" otherwise: by the mark that the system puts on a mount
// (MNT_LOCAL in statfs(2)), and for FUSE, which hides what is behind it.
func networkFileSystem(dir string) (string, error) {
	var st unix.Statfs_t
	for {
		err := unix.Statfs(dir, &st)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			return "", err
		}
	}
	name := unix.ByteSliceToString(st.Fstypename[:])
	if uint64(st.Flags)&unix.MNT_LOCAL == 0 || strings.Contains(name, "fuse") {
		return name, nil
	}
	return "", nil
}
