//go:build unix

package git

import (
	"os/exec"
	"syscall"
)

// ownGroup gives git a session of its own. It has no terminal to ask at, a
// Ctrl-C that is meant for us does not end it in the middle of a save, and
// killing it kills its transports.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
