//go:build unix

package cli

import (
	"os"
	"syscall"
)

// passedOn are the signals that mean nothing to this program and may mean
// something to the command that it runs.
func passedOn() []os.Signal { return []os.Signal{syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH} }
