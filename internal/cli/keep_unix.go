//go:build unix

package cli

import (
	"os"
	"strconv"
	"syscall"
)

// canDetach reports whether a process can outlive the step that has started it.
const canDetach = true

// detached puts a process into a session of its own: no terminal, and no group of
// the step, sends it a signal.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// ours reports a file that belongs to this process's user.
func ours(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// keepToOurselves closes to later children every file that this process has
// inherited, but for the three streams: a runner's pipe among them would be held
// open.
func keepToOurselves() {
	open, err := os.ReadDir("/dev/fd")
	if err != nil {
		return // there are the three streams as ever
	}
	for _, f := range open {
		if n, err := strconv.Atoi(f.Name()); err == nil && n > 2 {
			syscall.CloseOnExec(n)
		}
	}
}
