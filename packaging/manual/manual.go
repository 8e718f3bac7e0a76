// Package manual makes man pages of a tree of commands: what --help says, in the
// form that man(1) reads, one page for each command.
package manual

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Section is the section of the manual that all pages are in: programs of users.
const Section = "1"

// Page is one man page.
type Page struct {
	Name string // of its file, such as evergrant-key-new.1
	Text []byte // in the macros of man(7), ASCII but for what the help itself has
}

// Variable is one of the environment that no flag names.
type Variable struct {
	Name, Text string // Text is a sentence
	Of         func(*cobra.Command) bool
}

// Pages returns a page for root and for each command below it that is listed in
// its help, in the order of their names. They hold no date and nothing of this
// machine: the same commands give the same bytes.
func Pages(root *cobra.Command, version string, variables ...Variable) []Page {
	var pages []Page
	each(root, func(cmd *cobra.Command) {
		pages = append(pages, Page{Name: name(cmd) + "." + Section, Text: page(cmd, version, variables)})
	})
	slices.SortFunc(pages, func(a, b Page) int { return strings.Compare(a.Name, b.Name) })
	return pages
}

// each visits a command and those below it, but for the hidden ones.
func each(cmd *cobra.Command, visit func(*cobra.Command)) {
	cmd.InitDefaultHelpFlag()
	visit(cmd)
	for _, sub := range listed(cmd) {
		each(sub, visit)
	}
}

// listed are the commands directly below one that its help lists.
func listed(cmd *cobra.Command) []*cobra.Command {
	var subs []*cobra.Command
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			subs = append(subs, sub)
		}
	}
	return subs
}

// name is the name of a command's page.
func name(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

func page(cmd *cobra.Command, version string, variables []Variable) []byte {
	p := &writer{}
	title := strings.ToUpper(name(cmd))
	p.macro("TH", title, Section, "", cmd.Root().Name()+" "+version, "User Commands")
	// No hyphenation and no stretched lines: names of flags are copied from here.
	p.macro("nh")
	p.macro("ad", "l")
	p.section("Name")
	p.line(escape(name(cmd)) + ` \- ` + escape(cmd.Short))
	p.synopsis(cmd)
	p.section("Description")
	p.description(cmd)
	if subs := listed(cmd); len(subs) > 0 {
		p.section("Commands")
		for _, sub := range subs {
			p.macro("TP")
			p.line(reference(sub))
			p.line(escape(sentence(sub.Short)))
		}
	}
	p.flags("Options", cmd.NonInheritedFlags())
	p.flags("Options of every command", cmd.InheritedFlags())
	p.environment(cmd, variables)
	if cmd.HasParent() {
		p.section("Exit status")
		as := "As " + reference(cmd.Root()) + " lists it."
		if ownStatus.MatchString(cmd.Long) {
			as = "What DESCRIPTION says of it; otherwise as " + reference(cmd.Root()) + " lists it."
		}
		p.line(as)
	}
	p.also(cmd)
	return p.Bytes()
}

// ownStatus is how a description begins to tell what its command's exit status is.
var ownStatus = regexp.MustCompile(`\b(?:exit|with)\s+(?:the\s+)?code\b`)

// writer collects a page line by line.
type writer struct{ bytes.Buffer }

// macro writes a request with its arguments, quoted where they need it.
func (p *writer) macro(name string, args ...string) {
	fmt.Fprintf(p, ".%s", name)
	for _, a := range args {
		a = strings.ReplaceAll(escape(a), `"`, `\(dq`)
		if a == "" || strings.ContainsAny(a, " \t") {
			a = `"` + a + `"`
		}
		fmt.Fprintf(p, " %s", a)
	}
	p.WriteByte('\n')
}

func (p *writer) section(title string) { p.macro("SH", strings.ToUpper(title)) }

// line writes text that is escaped already. At the beginning of a line a dot or an
// apostrophe would be a request.
func (p *writer) line(text string) {
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	p.WriteString(text + "\n")
}

// lines writes text as it stands.
func (p *writer) lines(text string) {
	for line := range strings.Lines(text) {
		p.line(escape(strings.TrimRight(line, " \n")))
	}
}

func (p *writer) synopsis(cmd *cobra.Command) {
	p.section("Synopsis")
	rest := strings.TrimPrefix(cmd.UseLine(), cmd.CommandPath())
	if len(listed(cmd)) > 0 {
		rest = " COMMAND" + rest
	}
	p.line(bold(cmd.CommandPath()) + escape(rest))
}

// description writes the long help, paragraph by paragraph: a table, which has
// lines that are indented, as it stands.
func (p *writer) description(cmd *cobra.Command) {
	text := cmd.Long
	if text == "" {
		text = sentence(cmd.Short)
	}
	for i, paragraph := range strings.Split(strings.TrimSpace(text), "\n\n") {
		codes, found := strings.CutPrefix(paragraph, "Exit codes:\n")
		switch {
		case found:
			paragraph = codes
			p.section("Exit status")
		case i > 0:
			p.macro("PP")
		}
		table := strings.Contains(paragraph, "\n ") || strings.HasPrefix(paragraph, " ")
		if table {
			p.macro("nf")
		}
		p.lines(paragraph)
		if table {
			p.macro("fi")
		}
	}
	if cmd.Example != "" {
		p.section("Examples")
		p.macro("nf")
		p.lines(cmd.Example)
		p.macro("fi")
	}
}

// flags writes a section of those that are not hidden.
func (p *writer) flags(title string, set *pflag.FlagSet) {
	if !set.HasAvailableFlags() {
		return
	}
	p.section(title)
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Deprecated != "" {
			return
		}
		of, usage := pflag.UnquoteUsage(f)
		head := bold("--" + f.Name)
		if f.Shorthand != "" {
			head = bold("-"+f.Shorthand) + ", " + head
		}
		if of != "" {
			head += ` \fI` + escape(of) + `\fR`
		}
		p.macro("TP")
		p.line(head)
		p.line(escape(sentence(usage + byDefault(f))))
	})
}

// byDefault tells the default of a flag, unless it is that nothing was said.
func byDefault(f *pflag.Flag) string {
	switch f.DefValue {
	case "", "0", "false", "[]", "0s", "<nil>":
		return ""
	}
	return " (default " + f.DefValue + ")"
}

// variable is one of ours.
var variable = regexp.MustCompile(`\bEVERGRANT_[A-Z_]+\b`)

// environment lists the variables that the flags name, with those flags, and the
// others that the command reads.
func (p *writer) environment(cmd *cobra.Command, others []Variable) {
	flags, texts := map[string][]string{}, map[string]string{}
	for _, v := range others {
		if v.Of(cmd) {
			texts[v.Name] = escape(v.Text)
		}
	}
	cmd.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		for _, v := range variable.FindAllString(f.Usage, -1) {
			if !slices.Contains(flags[v], f.Name) {
				flags[v] = append(flags[v], f.Name)
			}
		}
	})
	for v, names := range flags {
		var of []string
		for _, f := range names {
			of = append(of, bold("--"+f))
		}
		texts[v] = "See " + strings.Join(of, ", ") + "."
	}
	if len(texts) == 0 {
		return
	}
	p.section("Environment")
	for _, v := range slices.Sorted(maps.Keys(texts)) {
		p.macro("TP")
		p.line(bold(v))
		p.line(texts[v])
	}
}

// also refers to the pages around a command's.
func (p *writer) also(cmd *cobra.Command) {
	var pages []string
	if cmd.HasParent() {
		pages = append(pages, reference(cmd.Parent()))
		for _, sub := range listed(cmd.Parent()) {
			if sub != cmd {
				pages = append(pages, reference(sub))
			}
		}
	}
	if len(pages) == 0 {
		return
	}
	p.section("See also")
	for i, r := range pages {
		if i < len(pages)-1 {
			r += ","
		}
		p.line(r)
	}
}

// reference names a command's page.
func reference(cmd *cobra.Command) string { return bold(name(cmd)) + "(" + Section + ")" }

func bold(text string) string { return `\fB` + escape(text) + `\fR` }

// escape makes text mean itself: a backslash, and a hyphen that is copied as one.
func escape(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
}

// sentence begins with a capital, unless the first word is a name that has none, and
// ends with a full stop.
func sentence(text string) string {
	text = strings.TrimSpace(text)
	if text == "" {
		return ""
	}
	if c := text[0]; c >= 'a' && c <= 'z' {
		text = string(c-'a'+'A') + text[1:]
	}
	if strings.HasSuffix(text, ".") {
		return text
	}
	return text + "."
}
