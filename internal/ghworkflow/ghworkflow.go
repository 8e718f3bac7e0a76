// Package ghworkflow judges GitHub Actions workflows: what in them would lose a
// rotating login, hand it to strangers, or let it be used twice.
//
// It reads one file and nothing else: no network, no settings of a repository,
// no contents of an action. What it says is therefore of two kinds. Where the
// file alone decides (a permission that does not exist, text of a stranger in a
// script), it is certain. Where a script decides, it goes by what the script
// names: a step that is handed a refresh token and is not evergrant's counts as
// one that spends it. A gate that a step makes counts if it asks GitHub for a
// person's permission; whether it then stops the job is not judged.
//
// Rules about commenters follow GitHub's page on secure use
// (https://docs.github.com/en/actions/reference/security/secure-use), those about
// secrets and queues its pages on secrets and on concurrency.
package ghworkflow

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// Level says how bad a finding is.
type Level string

// Levels, the worst first.
const (
	Error   Level = "error"   // loses the login, or gives it away
	Warning Level = "warning" // may do so, in circumstances that the text names
	Note    Level = "note"    // worth knowing
)

// Finding is one thing that is wrong in a workflow. Its texts are one line each
// and hold no value of the file but names.
type Finding struct {
	File   string `json:"file"`
	Line   int    `json:"line"`   // from 1; 0: of the file as a whole
	Column int    `json:"column"` // from 1
	Level  Level  `json:"level"`
	Rule   string `json:"rule"` // a name that never changes its meaning
	What   string `json:"what"`
	Why    string `json:"why"` // why it matters; empty where What says so
	Do     string `json:"do"`
}

// String is the finding's first line: where, how bad, and what.
func (f Finding) String() string {
	at := f.File
	if f.Line > 0 {
		at = fmt.Sprintf("%s:%d:%d", f.File, f.Line, f.Column)
	}
	return fmt.Sprintf("%s: %s: %s (%s)", at, f.Level, f.What, f.Rule)
}

// Known is what is known of providers; this package knows none.
type Known struct {
	// Rotates reports whether the refresh tokens of the preset of that name
	// rotate. An unknown name rotates. Nil: all do.
	Rotates func(preset string) bool
	// Retired maps hosts that served a token endpoint once to the address that
	// took their place.
	Retired map[string]string
}

func (k Known) rotates(preset string) bool { return k.Rotates == nil || k.Rotates(preset) }

// Check judges the workflow b, which findings call file. They are in the order
// of the file. Text that is no workflow is one finding of rule yaml.
func Check(file string, b []byte, k Known) []Finding {
	c := &checker{file: file, known: k}
	root, bad := parse(b)
	if bad == nil {
		c.lines = strings.Split(string(b), "\n")
		c.workflow, bad = read(root)
	}
	if bad != nil {
		return []Finding{{File: file, Line: bad.line, Column: bad.column, Level: Error, Rule: "yaml", What: bad.says, Do: "correct the file and check it again"}}
	}
	c.judge()
	sort.Slice(c.found, func(i, j int) bool {
		a, b := &c.found[i], &c.found[j]
		return cmp.Or(a.Line-b.Line, a.Column-b.Column, strings.Compare(a.Rule, b.Rule), strings.Compare(a.What, b.What)) < 0
	})
	return slices.Compact(c.found)
}

// checker collects the findings of one file.
type checker struct {
	file  string
	lines []string
	known Known
	*workflow
	found []Finding
}

// advice is the part of a finding that does not depend on where it is.
type advice struct {
	level         Level
	rule, why, do string
}

// add notes a finding at a node; what is a format.
func (c *checker) add(n *node, a advice, what string, args ...any) {
	c.addAt(n.line, n.column, a, fmt.Sprintf(what, args...))
}

// addIn notes a finding at a part of a node's text, which is looked for in the
// file from the node on, because the text of a block has lost its place.
func (c *checker) addIn(n *node, part string, a advice, what string, args ...any) {
	line, column := n.line, n.column
	part, _, _ = strings.Cut(part, "\n")
	for i := max(n.line-1, 0); i < len(c.lines) && i < n.line+strings.Count(n.text, "\n")+2; i++ {
		if at := strings.Index(c.lines[i], part); at >= 0 && part != "" {
			line, column = i+1, at+1
			break
		}
	}
	c.addAt(line, column, a, fmt.Sprintf(what, args...))
}

func (c *checker) addAt(line, column int, a advice, what string) {
	c.found = append(c.found, Finding{File: c.file, Line: line, Column: column, Level: a.level, Rule: a.rule, What: what, Why: a.why, Do: a.do})
}

// longestName bounds, in bytes, what is repeated of a name from the file.
const longestName = 60

// named is a name from the file as a text may repeat it.
func named(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, s)
	if len(s) > longestName {
		return strings.ToValidUTF8(s[:longestName], "") + "…"
	}
	return s
}
