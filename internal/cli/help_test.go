package cli_test

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"evergrant/internal/cli"
)

// commands are all that a person sees in the help, by their paths.
func commands(t *testing.T) map[string]*cobra.Command {
	t.Helper()
	all := map[string]*cobra.Command{}
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		cmd.InitDefaultHelpFlag()
		all[cmd.CommandPath()] = cmd
		for _, sub := range cmd.Commands() {
			if !sub.Hidden {
				visit(sub)
			}
		}
	}
	visit(cli.Tree())
	if len(all) < 25 {
		t.Fatalf("there are only %d commands", len(all))
	}
	return all
}

// ofOthers are commands whose texts are cobra's.
func ofOthers(path string) bool { return strings.HasPrefix(path, "evergrant completion") }

// TestHelpWidth: no line is wider than the terminal.
func TestHelpWidth(t *testing.T) {
	t.Parallel()
	for path, cmd := range commands(t) {
		for _, width := range []int{50, 64, 80, 120} {
			text := cli.HelpOf(cmd, width)
			if width < 80 { // what is to be copied stays whole
				text = regexp.MustCompile(`(?s)\nUsage:\n.*?\n\n`).ReplaceAllString(text, "\n")
				text = regexp.MustCompile(`(?s)\nExamples:\n.*?\n\n`).ReplaceAllString(text, "\n")
				text, _, _ = strings.Cut(text, "\nExit codes:\n")
			}
			for line := range strings.Lines(text) {
				line = strings.TrimRight(line, "\n")
				if n := utf8.RuneCountInString(line); n > width && !strings.HasPrefix(line, "\t") && strings.ContainsAny(strings.TrimSpace(line), " ") {
					t.Errorf("%s --help, %d columns wide: %q has %d", path, width, line, n)
				}
				if line != strings.TrimRight(line, " ") {
					t.Errorf("%s --help: %q ends in a space", path, line)
				}
			}
		}
	}
}

// TestHelpFlags: each flag has one place, and its text is whole.
func TestHelpFlags(t *testing.T) {
	t.Parallel()
	spaces := regexp.MustCompile(`\s+`)
	for path, cmd := range commands(t) {
		text := cli.HelpOf(cmd, 80)
		var listed, want []string
		for _, m := range regexp.MustCompile(`(?m)^  (?:-\w, )?--([a-z-]+)`).FindAllStringSubmatch(text, -1) {
			listed = append(listed, m[1])
		}
		flat := spaces.ReplaceAllString(text, " ")
		note := func(f *pflag.Flag) {
			if f.Hidden || slices.Contains(want, f.Name) {
				return
			}
			want = append(want, f.Name)
			_, use := pflag.UnquoteUsage(f)
			if use = spaces.ReplaceAllString(use, " "); use == "" || !strings.Contains(flat, use) {
				t.Errorf("%s --help lacks what --%s says: %q", path, f.Name, use)
			}
		}
		cmd.NonInheritedFlags().VisitAll(note)
		cmd.InheritedFlags().VisitAll(note)
		slices.Sort(listed)
		slices.Sort(want)
		if !slices.Equal(listed, want) {
			t.Errorf("%s --help lists\n%v, and there are\n%v", path, listed, want)
		}
	}
}

// TestHelpGroups: a command with many flags shows them in groups, the main things
// first.
func TestHelpGroups(t *testing.T) {
	t.Parallel()
	text := cli.HelpOf(commands(t)["evergrant refresh"], 80)
	last := -1
	for _, mark := range []string{"\nExamples:\n", "\nWhat is asked for:\n  --min-ttl ", "\nWho is asked:\n  --provider ", "\nHow the client proves itself:\n  --client-secret-env ",
		"\nWhere the grant is kept:\n  --store ", "\nWhere the token goes, and who is told:\n  --sink ", "\nFlags of every command:\n  -h, --help "} {
		at := strings.Index(text, mark)
		if at <= last {
			t.Errorf("%q is at %d, behind what is at %d", mark, at, last)
		}
		last = at
	}
	for path, few := range map[string]string{"evergrant key new": "\nFlags:\n  --out PATH ", "evergrant": "\nEvery day:\n  refresh "} {
		if !strings.Contains(cli.HelpOf(commands(t)[path], 80), few) {
			t.Errorf("%s --help has no %q", path, few)
		}
	}
}

// TestExamples: each command has examples, and they are commands with flags that it
// has.
func TestExamples(t *testing.T) {
	t.Parallel()
	seen := 0
	for path, cmd := range commands(t) {
		if !ofOthers(path) && !cmd.HasAvailableSubCommands() && cmd.Example == "" {
			t.Errorf("%s has no example", path)
		}
		joined := strings.ReplaceAll(cmd.Example, "\\\n", "")
		for line := range strings.Lines(joined) {
			at := regexp.MustCompile(`(^ *|[($!' ])evergrant [a-z]`).FindStringIndex(line)
			if at == nil {
				continue
			}
			_, rest, _ := strings.Cut(line[at[0]:], "evergrant ")
			if before, _, found := strings.Cut(rest, " -- "); found {
				rest = before + " --"
			}
			words := strings.Fields(regexp.MustCompile(`[|)<#'"].*`).ReplaceAllString(strings.ReplaceAll(rest, "#GITLAB_TOKEN", ""), ""))
			root := cli.Tree()
			of, args, err := root.Find(words)
			if err != nil || of == root {
				t.Errorf("%s: an example is of no command: %q (%v)", path, line, err)
				continue
			}
			if err := of.ParseFlags(args); err != nil {
				t.Errorf("%s: %q: %v", path, line, err)
			}
			seen++
		}
	}
	if seen < 35 {
		t.Errorf("only %d examples were tried", seen)
	}
}

// TestVersionFlag: --version says what version says.
func TestVersionFlag(t *testing.T) {
	t.Parallel()
	said := map[string]string{}
	for _, word := range []string{"version", "--version"} {
		var out, errs bytes.Buffer
		code := cli.Main([]string{word}, func(string) (string, bool) { return "", false }, strings.NewReader(""), &out, &errs)
		if said[word] = out.String(); code != 0 || errs.Len() > 0 || !strings.HasPrefix(out.String(), "evergrant "+cli.Version) {
			t.Errorf("%s: exit %d, %q, %q", word, code, out.String(), errs.String())
		}
	}
	if said["version"] != said["--version"] {
		t.Errorf("%q and %q", said["version"], said["--version"])
	}
}

func TestLikelyDuration(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		"20": "20m", "20min": "20m", "20 minutes": "20m", "90sec": "90s", "3hours": "3h", "2d": "48h", "2 days": "48h", "1w": "168h", "1 Hour": "1h",
		"soon": "90s, 20m or 72h", "": "90s, 20m or 72h", "-5": "90s, 20m or 72h", "20x": "90s, 20m or 72h", "999999999999": "90s, 20m or 72h",
	} {
		if got := cli.LikelyDuration(typed); got != want {
			t.Errorf("%q: write %s, want %s", typed, got, want)
		}
	}
}
