//go:build unix

package file

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

const (
	noFollow = syscall.O_NOFOLLOW
	nonBlock = syscall.O_NONBLOCK
)

func exposed(mode fs.FileMode) bool  { return mode&0o077 != 0 }
func writable(mode fs.FileMode) bool { return mode&0o022 != 0 }

// foreign reports whether a file belongs to somebody else.
func foreign(st fs.FileInfo) (owner, me int, other bool) {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	owner, me = int(sys.Uid), os.Geteuid()
	return owner, me, owner != me
}

// isLink reports whether err is that of opening a symbolic link with noFollow:
// ELOOP by POSIX, EMLINK on FreeBSD.
func isLink(err error) bool {
	return errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EMLINK)
}
