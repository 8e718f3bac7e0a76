//go:build unix

package login

import (
	"os/exec"
	"syscall"
)

// apart keeps the terminal's signals from the browser: who stops the sign-in does
// not mean to close it.
func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
