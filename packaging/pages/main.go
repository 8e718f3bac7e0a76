// Command pages writes what is shipped beside the program: its man pages, as they
// are and compressed, and its completions for four shells.
//
//	go run ./packaging/pages FOLDER
//
// FOLDER gets man/*.1, man.gz/*.1.gz and completions/. What was in it before is
// removed. The same commands give the same bytes.
package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"evergrant/internal/cli"
	"evergrant/packaging/manual"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "pages: %v\n", err)
		os.Exit(1)
	}
}

// parts are the folders that this program owns in the one it is given.
func parts() []string { return []string{"man", "man.gz", "completions"} }

func run(args []string) error {
	if len(args) != 1 || args[0] == "" {
		return errors.New("needs one argument, the folder to write to")
	}
	folder := args[0]
	for _, part := range parts() {
		dir := filepath.Join(folder, part)
		if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
			return err
		}
	}
	for _, page := range manual.Pages(cli.Tree(), cli.Version, variables()...) {
		packed, err := compressed(page.Text)
		if err != nil {
			return err
		}
		if err := errors.Join(write(page.Text, folder, "man", page.Name), write(packed, folder, "man.gz", page.Name+".gz")); err != nil {
			return err
		}
	}
	return completions(folder)
}

// variables are those that no flag stands for.
func variables() []manual.Variable {
	return []manual.Variable{
		{Name: "EVERGRANT_GRANT", Text: "The grant, if the command line names none.", Of: func(cmd *cobra.Command) bool {
			return strings.Contains(cmd.Use, "[GRANT]") && cmd.Name() != "status" // which then shows them all
		}},
		{Name: "NO_COLOR", Text: "If it is not empty, a terminal gets no colours.", Of: func(cmd *cobra.Command) bool { return !cmd.HasParent() }},
	}
}

// completions writes what evergrant completion prints.
func completions(folder string) error {
	root := cli.Tree()
	for name, generate := range map[string]func(io.Writer) error{
		"evergrant.bash": func(w io.Writer) error { return root.GenBashCompletionV2(w, true) },
		"_evergrant":     root.GenZshCompletion,
		"evergrant.fish": func(w io.Writer) error { return root.GenFishCompletion(w, true) },
		"evergrant.ps1":  root.GenPowerShellCompletionWithDesc,
	} {
		var script bytes.Buffer
		if err := generate(&script); err != nil {
			return err
		}
		if err := write(script.Bytes(), folder, "completions", name); err != nil {
			return err
		}
	}
	return nil
}

// compressed packs a page as Debian has it, without a time and a name.
func compressed(b []byte) ([]byte, error) {
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(b); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

func write(b []byte, path ...string) error { return os.WriteFile(filepath.Join(path...), b, 0o644) }
