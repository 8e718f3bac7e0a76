//go:build linux && (amd64 || arm64)

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"evergrant/chaos/row"
)

// page is docs/reliability.md.
type page struct {
	rows             []row.Row
	machine          []string
	command, commit  string
	required, failed []string // parts: by the names of rows; by those of chaos/run
	left             []string // what this form of the harness leaves out
	at               time.Time
}

const opening = `# Reliability, measured

This page is written by a program from what the chaos harness measured; nothing in it is typed by hand. The harness runs
the real binary as real processes, makes something fail, mends it, runs the same command again as a user would, and lets
the provider's own ledger say what became of each refresh token.

A **loss** is a grant that needs a new consent. Where a provider forgives nothing, no program can prevent these:

- %s
- %s
- %s (the harness does so itself in some trials)

Every other loss, a refresh token that is presented when promise P1 does not allow it, and a token in any place that may
not hold one, is a broken promise, and is listed first.

Words of the tables:

- *strict*: the provider ends the login when a spent refresh token comes back, and evergrant knows nothing about it.
- *grace 10m*: the provider answers a spent token again for ten minutes, and evergrant knows it.
- *met*: trials in which the fault met a running process, as the harness measured it.
- *discarded*: tries in which the fault met nobody, by the provider's ledger. They were judged like all others and repeated;
  they are no trials.
- *file*: a folder on this machine. *git path*: a bare git repository on this machine, by its path. *git http*: one behind git's
  own HTTP server, on loopback.
- All stores and spills are sealed.

`

func (p page) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, opening, row.Unheard, row.Unwritten, row.Foreign)
	fmt.Fprintf(&b, "Measured and written %s by `%s`, on:\n\n", p.at.UTC().Format("2006-01-02 15:04 UTC"), p.command)
	for _, m := range p.machine {
		fmt.Fprintf(&b, "- %s\n", m)
	}
	if p.commit != "" {
		fmt.Fprintf(&b, "- commit %s\n", p.commit)
	}
	b.WriteString("\n## Result\n\n" + p.result())
	b.WriteString("| part | store | trials | met | discarded | refreshes | lost | why | beyond P1 | leaks |\n|---|---|--:|--:|--:|--:|--:|---|--:|--:|\n")
	for _, part := range p.parts() {
		for _, rows := range byStore(p.of(part)) {
			t := total(rows)
			why := counts(t.LossReasons)
			if t.Texts > 0 {
				why = strings.TrimPrefix(fmt.Sprintf("%s; %d texts searched", why, t.Texts), "; ")
			}
			fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %d | %d | %s | %d | %d |\n", cell(part), cell(rows[0].Store), t.Trials, t.Faults, t.Discarded,
				t.Refreshes, t.Losses, cell(why), t.P1Violations, t.Leaks)
		}
	}
	for _, part := range p.parts() {
		title := strings.ToUpper(part[:1]) + part[1:]
		if strings.Contains(part, "/") {
			title = part // the name of a project
		}
		fmt.Fprintf(&b, "\n## %s\n\n", title)
		if !isKillPart(part) {
			b.WriteString(byRow(byName(p.of(part))))
			continue
		}
		b.WriteString(aboutPoints)
		for _, rows := range byStore(p.of(part)) {
			b.WriteString(killPoints(rows))
		}
	}
	return b.String()
}

// result says whether every promise held, what was left out, and which points
// were never hit.
func (p page) result() string {
	var b strings.Builder
	red := p.red()
	switch {
	case len(red) > 0:
		fmt.Fprintf(&b, "**%d promises did not hold, or were not shown:**\n\n", len(red))
		for _, s := range red {
			fmt.Fprintf(&b, "- %s\n", cell(s))
		}
		b.WriteString("\n")
	case len(p.left) > 0:
		b.WriteString("No promise was broken in what was run. This was not the whole harness.\n\n")
	default:
		b.WriteString("Every promise held.\n\n")
	}
	bullets := func(title string, lines []string) {
		if len(lines) == 0 {
			return
		}
		b.WriteString(title + "\n\n")
		for _, s := range lines {
			fmt.Fprintf(&b, "- %s\n", cell(s))
		}
		b.WriteString("\n")
	}
	bullets("Left out:", p.left)
	bullets("Points that no run passed when it was aimed at, so that nothing is shown there:", p.missed())
	return b.String()
}

// killPoints is the table of one store's kill points. A run of the git store has
// hundreds of calls in a dozen processes: its rows are added up by step, and the
// calls are listed.
func killPoints(rows []row.Row) string {
	if !ofGit(rows[0].Store) {
		return byRow(byName(rows))
	}
	added, calls := bySteps(rows)
	text := "\n" + byRow(byName(added)) + "\nThe calls, in the order of a run, a step in each line:\n\n"
	for _, line := range calls {
		text += "- " + cell(line) + "\n"
	}
	return text
}

// bySteps adds up the rows of kill points that share fault, step and provider,
// and lists the calls of each step.
func bySteps(rows []row.Row) (added []row.Row, calls []string) {
	of := map[string][]row.Row{}
	var keys, steps []string
	in := map[string][]string{}
	for _, r := range rows {
		name := r.Name
		if fault, at, ok := strings.Cut(r.Name, " at "); ok {
			step, call, _ := strings.Cut(at, ": ")
			name = fault + " at each call of the step " + step
			if in[step] == nil {
				steps = append(steps, step)
			}
			if !slices.Contains(in[step], call) {
				in[step] = append(in[step], call)
			}
		}
		key := name + "|" + r.Provider
		if of[key] == nil {
			keys = append(keys, key)
		}
		r.Name = name
		of[key] = append(of[key], r)
	}
	for _, key := range keys {
		all := of[key]
		if len(all) == 1 {
			added = append(added, all[0])
			continue
		}
		t := total(all)
		t.Part, t.Name, t.Store, t.Provider = all[0].Part, all[0].Name, all[0].Store, all[0].Provider
		t.Note = fmt.Sprintf("%d calls", len(all))
		added = append(added, t)
	}
	for _, step := range steps {
		calls = append(calls, step+": "+strings.Join(in[step], "; "))
	}
	return added, calls
}

// byRow is the table of one part. Rows that search, and try nothing, have a
// table of their own.
func byRow(rows []row.Row) string {
	var tried, searched strings.Builder
	for _, r := range rows {
		if r.Texts > 0 {
			fmt.Fprintf(&searched, "| %s | %s | %d | %d | %s |\n", cell(r.Name), cell(r.Store), r.Texts, r.Leaks, cell(outcome(r)))
			continue
		}
		fmt.Fprintf(&tried, "| %s | %s | %s | %d | %d | %d | %d | %d | %d | %d | %s |\n", cell(r.Name), cell(r.Store), cell(r.Provider),
			r.Trials, r.Faults, r.Discarded, r.Refreshes, r.Losses, r.P1Violations, r.Leaks, cell(outcome(r)))
	}
	text := ""
	if searched.Len() > 0 {
		text = "| where was searched | store | texts | leaks | how |\n|---|---|--:|--:|---|\n" + searched.String()
	}
	if tried.Len() > 0 {
		if text != "" {
			text += "\n"
		}
		text += "| what | store | provider | trials | met | discarded | refreshes | lost | beyond P1 | leaks | outcome |\n" +
			"|---|---|---|--:|--:|--:|--:|--:|--:|--:|---|\n" + tried.String()
	}
	return text
}

// killPart is the part of which each row is one system call, and which has the
// same rows for each provider.
const killPart = "kill points"

func isKillPart(part string) bool { return strings.HasPrefix(part, killPart) }

const aboutPoints = `Each system call of a refresh that touches a file, a name or the provider's connection, killed or failed at its
beginning, in the order of a run. Named are the step of the protocol, the call and what it is about. Of calls that look
alike within a step, the first is meant. With SIGKILL the whole process is gone before the call happens; with an error
code the call fails once. The git store's calls are also those of each program of git that it starts.

`

// byName puts rows of one name beside each other, where the first of them was.
func byName(rows []row.Row) (sorted []row.Row) {
	var names []string
	of := map[string][]row.Row{}
	for _, r := range rows {
		if of[r.Name] == nil {
			names = append(names, r.Name)
		}
		of[r.Name] = append(of[r.Name], r)
	}
	for _, name := range names {
		sorted = append(sorted, of[name]...)
	}
	return sorted
}

// outcome says what became of a row's trials.
func outcome(r row.Row) string {
	parts := []string{}
	if s := counts(r.RecoveredBy); s != "" {
		parts = append(parts, s)
	}
	if s := counts(r.LossReasons); s != "" {
		parts = append(parts, "**lost**: "+s)
	}
	if r.Note != "" {
		parts = append(parts, r.Note)
	}
	if v := r.Violations(); len(v) > 0 {
		parts = append(parts, "**BROKEN**: "+strings.Join(v, "; "))
	}
	return strings.Join(parts, "; ")
}

// counts lists a map, the most frequent first.
func counts(m map[string]int) string {
	keys := slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		if d := m[b] - m[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for i, k := range keys {
		keys[i] = fmt.Sprintf("%s %d", k, m[k])
	}
	return strings.Join(keys, ", ")
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// cell keeps a text inside its cell of a table.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(s)
}
