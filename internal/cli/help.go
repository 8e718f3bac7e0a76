package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The help of a command: folded to the width of the terminal, with flags in groups
// that a person can scan.

// widestHead is the width, in columns, of the longest name of a flag or command that
// its text stands beside; below a longer one.
const widestHead = 28

// narrow is the width below which all texts stand below their names.
const narrow = 64

// foldTo is where prose that goes to standard output is folded: at the width of the
// terminal, or at the usual one where there is none.
func (a *app) foldTo() int {
	if p := a.paper(a.stdout); p.terminal {
		return p.width
	}
	return usualWidth
}

// help prints what there is to know of a command.
func (a *app) help(cmd *cobra.Command, _ []string) {
	// Help that nobody reads changes nothing.
	_, _ = fmt.Fprint(a.stdout, helpOf(cmd, a.foldTo()))
}

// helpOf is the help of a command in lines of that width, in columns. Only what is to
// be copied may be wider: a usage, an example.
func helpOf(cmd *cobra.Command, width int) string {
	h := helpText{width: width}
	text, codes, coded := strings.Cut(or(cmd.Long, capital(cmd.Short)+"."), exitCodesTitle)
	h.prose(text)
	h.usage(cmd)
	if cmd.Example != "" {
		fmt.Fprintf(&h, "\nExamples:\n%s\n", cmd.Example)
	}
	h.commands(cmd)
	h.flags(cmd)
	if coded {
		h.WriteString("\n" + exitCodesTitle + codes + "\n")
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&h, "\n%s COMMAND --help tells of one.\n", cmd.CommandPath())
	}
	return h.String()
}

// helpText collects the help of one command.
type helpText struct {
	strings.Builder
	width int
}

// prose writes paragraphs. One with lines that are indented, as a table has, stays as
// it is.
func (h *helpText) prose(text string) {
	for i, paragraph := range strings.Split(strings.Trim(text, "\n"), "\n\n") {
		if i > 0 {
			h.WriteString("\n")
		}
		if strings.HasPrefix(paragraph, "\t") || strings.Contains(paragraph, "\n ") || strings.Contains(paragraph, "\n\t") {
			h.WriteString(paragraph + "\n")
			continue
		}
		for _, line := range wrap(paragraph, h.width) {
			h.WriteString(line + "\n")
		}
	}
}

func (h *helpText) usage(cmd *cobra.Command) {
	line := cmd.UseLine()
	if cmd.HasAvailableSubCommands() {
		line = cmd.CommandPath() + " COMMAND"
	}
	fmt.Fprintf(h, "\nUsage:\n  %s\n", line)
	for _, name := range cmd.Aliases {
		fmt.Fprintf(h, "  %s %s ... is the same\n", cmd.Parent().CommandPath(), name)
	}
}

// entries are names with texts.
type entries [][2]string

// columnOf is where the texts of entries begin.
func (h *helpText) columnOf(all entries) int {
	if h.width < narrow {
		return 10
	}
	widest := 0
	for _, e := range all {
		if n := utf8.RuneCountInString(e[0]); n <= widestHead {
			widest = max(widest, n)
		}
	}
	return max(widest, 8) + 2
}

// list writes entries below a title, the texts beside the names or below them.
func (h *helpText) list(title string, all entries, column int) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(h, "\n%s:\n", title)
	for _, e := range all {
		head := e[0]
		for i, line := range wrap(e[1], max(h.width-column, least/2)) {
			n := utf8.RuneCountInString(head)
			if i == 0 && n > column-2 {
				h.WriteString(head + "\n")
				n, head = 0, ""
			}
			h.WriteString(head + strings.Repeat(" ", column-n) + line + "\n")
			head = ""
		}
	}
}

// commands lists those below cmd, in groups where there are many.
func (h *helpText) commands(cmd *cobra.Command) {
	var all entries
	below := map[string][2]string{}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			below[sub.Name()] = [2]string{"  " + strings.Join(append([]string{sub.Name()}, sub.Aliases...), ", "), sub.Short}
			all = append(all, below[sub.Name()])
		}
	}
	column := h.columnOf(all)
	groups := []helpGroup{{"Commands", sortedKeys(below)}}
	if !cmd.HasParent() {
		groups = commandGroups()
	}
	for _, g := range groups {
		var some entries
		for _, name := range g.names {
			if e, ok := below[name]; ok {
				some = append(some, e)
			}
		}
		h.list(g.title, some, column)
	}
}

// fewFlags is how many flags need no groups.
const fewFlags = 8

// flags lists a command's own flags, and then those that every command has.
func (h *helpText) flags(cmd *cobra.Command) {
	var own, everywhere []string
	visible := func(set *pflag.FlagSet, visit func(f *pflag.Flag)) {
		set.VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				visit(f)
			}
		})
	}
	common := cmd.Root().PersistentFlags()
	visible(common, func(f *pflag.Flag) { everywhere = append(everywhere, f.Name) })
	visible(cmd.NonInheritedFlags(), func(f *pflag.Flag) {
		if common.Lookup(f.Name) == nil {
			own = append(own, f.Name)
		}
	})
	groups := append(grouped(own), helpGroup{"Flags of every command", everywhere})
	sections := make([]entries, len(groups))
	var all entries
	for i, g := range groups {
		for _, name := range g.names {
			sections[i] = append(sections[i], flagEntry(cmd.Flags().Lookup(name)))
		}
		all = append(all, sections[i]...)
	}
	for i, g := range groups {
		h.list(g.title, sections[i], h.columnOf(all))
	}
}

// grouped puts names of flags into groups, where they are many.
func grouped(own []string) []helpGroup {
	if len(own) <= fewFlags {
		return []helpGroup{{"Flags", own}}
	}
	groups := flagGroups()
	var placed []string
	for i := range groups {
		groups[i].names = slices.DeleteFunc(groups[i].names, func(name string) bool { return !slices.Contains(own, name) })
		placed = append(placed, groups[i].names...)
	}
	for _, name := range own {
		if !slices.Contains(placed, name) {
			groups[0].names = append(groups[0].names, name)
		}
	}
	return groups
}

func flagEntry(f *pflag.Flag) [2]string {
	head := "  --" + f.Name
	if f.Shorthand != "" {
		head = "  -" + f.Shorthand + ", --" + f.Name
	}
	of, text := pflag.UnquoteUsage(f)
	if of != "" {
		head += " " + strings.ToUpper(of)
	}
	switch f.DefValue {
	case "", "0", "false", "[]", "0s":
	default:
		value := f.DefValue
		if d, err := time.ParseDuration(value); err == nil {
			value = span(d)
		}
		text += " (default " + value + ")"
	}
	return [2]string{head, text}
}

// capital makes the first letter a capital one, as at the beginning of a sentence.
func capital(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// helpCommand is help, which knows what it does not know.
func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "help [COMMAND]",
		Short:             "tell of a command, its flags and examples",
		Example:           "  evergrant help key rotate",
		ValidArgsFunction: completeCommand,
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
		RunE: func(cmd *cobra.Command, args []string) error {
			of := cmd.Root()
			for _, name := range args {
				i := slices.IndexFunc(of.Commands(), func(c *cobra.Command) bool { return c.Name() == name || c.HasAlias(name) })
				if i < 0 {
					return unknownCommand(of, name)
				}
				of = of.Commands()[i]
			}
			a.help(of, nil)
			return nil
		},
	}
}

// complete adds the command that prints a shell's script.
func complete(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, sub := range root.Commands() {
		if sub.Name() == "completion" {
			sub.Short = "print a shell's script that completes commands and flags"
		}
	}
}

// completeCommand is what a shell offers behind help.
func completeCommand(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	of, _, err := cmd.Root().Find(args)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var all []cobra.Completion
	for _, sub := range of.Commands() {
		if sub.IsAvailableCommand() && strings.HasPrefix(sub.Name(), begun) {
			all = append(all, cobra.CompletionWithDesc(sub.Name(), sub.Short))
		}
	}
	return all, cobra.ShellCompDirectiveNoFileComp
}
