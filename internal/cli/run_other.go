//go:build !unix

package cli

import (
	"os"

	"golang.org/x/term"
)

// passedOn is what a system has besides the signals that end a program. With
// none, signal.Notify would take every signal, so the one that ends it stands here.
func passedOn() []os.Signal { return []os.Signal{os.Interrupt} }

// inForeground reports a console, which gives Ctrl-C to the command too.
func inForeground() bool { return term.IsTerminal(int(os.Stdin.Fd())) }
