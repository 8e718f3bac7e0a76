package manual_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"evergrant/internal/cli"
	"evergrant/packaging/manual"
)

// TestProgram compares the pages with what the program says of itself: each
// command that its help lists has a page, with the flags of its own help, and there
// is no other page.
func TestProgram(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "evergrant")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "evergrant/cmd/evergrant")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	pages := map[string]string{}
	for _, p := range manual.Pages(cli.Tree(), cli.Version) {
		pages[p.Name] = string(p.Text)
	}
	left := [][]string{{}}
	for len(left) > 0 {
		command := left[0]
		left = left[1:]
		help := exec.CommandContext(t.Context(), program, append(slices.Clone(command), "--help")...)
		help.Env = []string{"HOME=" + t.TempDir()}
		b, err := help.Output()
		if err != nil {
			t.Fatalf("%v --help: %v", command, err)
		}
		name := strings.Join(append([]string{"evergrant"}, command...), "-") + ".1"
		page, ok := pages[name]
		if !ok {
			t.Errorf("there is no page %s", name)
			continue
		}
		delete(pages, name)
		if want, got := flagsOfHelp(string(b)), flagsOfPage(page); len(want) == 0 || !slices.Equal(want, got) {
			t.Errorf("%s has the flags\n%v, the program\n%v", name, got, want)
		}
		if first, _, _ := strings.Cut(page, "\n"); !strings.HasSuffix(first, ` 1 "" "evergrant `+cli.Version+`" "User Commands"`) {
			t.Errorf("%s begins %q", name, first)
		}
		own := slices.Contains([]string{"demo", "doctor", "run", "status"}, strings.Join(command, " "))
		if got := strings.Contains(page, "\n.SH \"EXIT STATUS\"\nWhat DESCRIPTION says of it; otherwise as "); got != own {
			t.Errorf("%s: its exit status is what its description says: %v, want %v", name, got, own)
		}
		subs := commandsOfHelp(string(b))
		if len(command) == 0 && len(subs) < 15 {
			t.Errorf("the program's help lists %d commands: %v", len(subs), subs)
		}
		for _, sub := range subs {
			if sub == "help" { // it tells what the pages tell
				continue
			}
			left = append(left, append(slices.Clone(command), sub))
			of := `\fB` + strings.ReplaceAll(strings.TrimSuffix(name, ".1")+"-"+sub, "-", `\-`) + `\fR(1)`
			if !strings.Contains(page, "\n"+of+"\n") {
				t.Errorf("%s does not list %s", name, sub)
			}
		}
	}
	for name := range pages {
		if !strings.HasPrefix(name, "evergrant-help.") {
			t.Errorf("%s is of no command that the program's help lists", name)
		}
	}
}

// flagsOfHelp are the names in the lists of flags.
func flagsOfHelp(help string) []string {
	return matches(regexp.MustCompile(`(?m)^  (?:-\w, )?--([a-z][a-z-]*)`), help)
}

// flagsOfPage are the names that head an entry.
func flagsOfPage(page string) []string {
	return matches(regexp.MustCompile(`(?m)^(?:\\fB\\-\w\\fR, )?\\fB\\-\\-([a-z\\-]+)\\fR`), page)
}

func matches(pattern *regexp.Regexp, text string) []string {
	var found []string
	for _, m := range pattern.FindAllStringSubmatch(text, -1) {
		found = append(found, strings.ReplaceAll(m[1], `\`, ""))
	}
	slices.Sort(found)
	return found
}

// commandsOfHelp are the names in the lists of commands: what two spaces are before,
// and two or more behind.
func commandsOfHelp(help string) []string {
	return matches(regexp.MustCompile(`(?m)^  ([a-z][a-z-]*)(?:, [a-z]+)?  +\S`), help)
}

// odd is a tree whose texts would be requests, escapes or other characters, if they
// were written as they are.
func odd() *cobra.Command {
	root := &cobra.Command{Use: "odd", Short: "takes 'quotes' and \\fBslashes", Long: ".so /etc/passwd\n'is a line\n\nA table:\n  -x  ~^`\n\nExit codes:\n  0  done", Run: func(*cobra.Command, []string) {}}
	root.PersistentFlags().BoolP("loud", "l", false, "more of it")
	sub := &cobra.Command{Use: "sub-command \"A B\" [flags]", Short: "one.", Example: "  odd sub-command x\n  .y", Run: func(*cobra.Command, []string) {}}
	sub.Flags().String("state", "a-b", "`WHERE` it is (EVERGRANT_STATE)")
	sub.Flags().Int("hidden", 0, "EVERGRANT_HIDDEN")
	_ = sub.Flags().MarkHidden("hidden")
	root.AddCommand(sub, &cobra.Command{Use: "unlisted", Hidden: true, Run: func(*cobra.Command, []string) {}})
	root.CompletionOptions.DisableDefaultCmd = true
	return root
}

// TestText holds the form of a page, byte by byte.
func TestText(t *testing.T) {
	t.Parallel()
	ofSub := func(cmd *cobra.Command) bool { return cmd.HasParent() }
	pages := manual.Pages(odd(), "1.2.3-x", manual.Variable{Name: "EVERGRANT_ODD", Text: "Without a-b.", Of: ofSub})
	if len(pages) != 2 || pages[0].Name != "odd-sub-command.1" || pages[1].Name != "odd.1" {
		t.Fatalf("%d pages: %v", len(pages), pages)
	}
	for i, file := range []string{"odd-sub-command.1", "odd.1"} {
		want, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(pages[i].Text, want) {
			t.Errorf("%s is\n%s\nwant\n%s", file, pages[i].Text, want)
		}
	}
}
