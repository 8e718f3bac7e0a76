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
	rows    []row.Row
	machine []string
	command string
	at      time.Time
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
- *met*: trials in which the fault met a running process.
- All stores and spills are sealed.

`

func (p page) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, opening, row.Unheard, row.Unwritten, row.Foreign)
	fmt.Fprintf(&b, "Measured %s by `%s`, on:\n\n", p.at.UTC().Format("2006-01-02 15:04 UTC"), p.command)
	for _, m := range p.machine {
		fmt.Fprintf(&b, "- %s\n", m)
	}
	b.WriteString("\n## Result\n\n")
	if v := p.violations(); len(v) == 0 {
		b.WriteString("Every promise held.\n\n")
	} else {
		fmt.Fprintf(&b, "**%d promises did not hold:**\n\n", len(v))
		for _, s := range v {
			fmt.Fprintf(&b, "- %s\n", cell(s))
		}
		b.WriteString("\n")
	}
	b.WriteString("| part | trials | met | refreshes | lost | why | beyond P1 | leaks |\n|---|--:|--:|--:|--:|---|--:|--:|\n")
	for _, part := range p.parts() {
		t := total(p.of(part))
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %s | %d | %d |\n", cell(part), t.Trials, t.Faults, t.Refreshes, t.Losses,
			cell(counts(t.LossReasons)), t.P1Violations, t.Leaks)
	}
	for _, part := range p.parts() {
		fmt.Fprintf(&b, "\n## %s%s\n\n", strings.ToUpper(part[:1]), part[1:])
		if isKillPart(part) {
			b.WriteString(byPoint(p.of(part)))
			continue
		}
		b.WriteString(byRow(p.of(part)))
	}
	return b.String()
}

func byRow(rows []row.Row) string {
	var b strings.Builder
	b.WriteString("| what | provider | trials | met | refreshes | lost | outcome |\n|---|---|--:|--:|--:|--:|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %d | %s |\n", cell(r.Name), cell(r.Provider), r.Trials, r.Faults, r.Refreshes, r.Losses, cell(outcome(r)))
	}
	return b.String()
}

// killPart is the part of which each row is one system call, and which has the
// same rows for each provider.
const killPart = "kill points"

func isKillPart(part string) bool { return strings.HasPrefix(part, killPart) }

// byPoint puts the providers side by side.
func byPoint(rows []row.Row) string {
	var names, providers []string
	found := map[string]row.Row{}
	for _, r := range rows {
		if !slices.Contains(names, r.Name) {
			names = append(names, r.Name)
		}
		if !slices.Contains(providers, r.Provider) {
			providers = append(providers, r.Provider)
		}
		found[r.Name+"\x00"+r.Provider] = r
	}
	var b strings.Builder
	b.WriteString("Each system call of a refresh that touches a file, a name or the provider's connection, killed or failed at its\n" +
		"beginning, in the order of a run. Named are the step of the protocol, the call and what it is about. Of calls that look\n" +
		"alike within a step, the first is meant. With SIGKILL the whole process is gone before the call happens; with an error\n" +
		"code the call fails once.\n\n")
	b.WriteString("| point |" + strings.Repeat(" %s |", len(providers)) + "\n")
	head := b.String()
	b.Reset()
	fmt.Fprintf(&b, head, anys(providers)...)
	b.WriteString("|---|" + strings.Repeat("---|", len(providers)) + "\n")
	for _, name := range names {
		fmt.Fprintf(&b, "| %s |", cell(name))
		for _, provider := range providers {
			r := found[name+"\x00"+provider]
			fmt.Fprintf(&b, " %d: %s |", r.Faults, cell(outcome(r)))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func anys(s []string) (all []any) {
	for _, v := range s {
		all = append(all, cell(v))
	}
	return all
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
