package cli

import (
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Version is what the program calls itself.
const Version = version

// Tree returns the program's commands with all their flags, for whatever is made
// of their help: man pages, completions. They are not to be run.
func Tree() *cobra.Command {
	none := func(string) (string, bool) { return "", false }
	a := &app{env: none, stdin: strings.NewReader(""), stdout: io.Discard, console: newConsole(io.Discard)}
	root := a.root()
	root.InitDefaultHelpCmd()
	complete(root)
	return root
}
