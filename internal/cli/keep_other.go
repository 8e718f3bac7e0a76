//go:build !unix

package cli

import (
	"os"
	"syscall"
)

// canDetach reports whether a process can outlive the step that has started it.
const canDetach = false

func detached() *syscall.SysProcAttr { return nil }

func keepToOurselves() {}

func ours(os.FileInfo) bool { return true }
