//go:build linux && (amd64 || arm64)

// Command report makes docs/reliability.md of the rows of the chaos harness.
// Every number in the page comes from a row or from the machine.
//
//	report -rows FILE -command TEXT -binary FILE [-out FILE]
//
// Without -out it prints the totals only. The exit code is 1 when a promise did
// not hold; the page is written all the same, and says so.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"evergrant/chaos/row"
)

func main() {
	rows := flag.String("rows", "", "the rows, as JSON lines")
	out := flag.String("out", "", "the page to write; empty: none")
	command := flag.String("command", "chaos/run", "the command that made the rows")
	binary := flag.String("binary", "", "the binary that was tested")
	flag.Parse()
	good, err := report(*rows, *out, *command, *binary)
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
	if !good {
		os.Exit(1)
	}
}

func report(from, out, command, binary string) (good bool, err error) {
	f, err := os.Open(from)
	if err != nil {
		return false, err
	}
	defer f.Close()
	rows, err := row.Read(f)
	if err != nil {
		return false, err
	}
	if len(rows) == 0 {
		return false, fmt.Errorf("%s holds no rows", from)
	}
	p := page{rows: rows, command: command, at: time.Now()}
	fmt.Print(p.summary())
	good = len(p.violations()) == 0
	if out == "" {
		return good, nil
	}
	if p.machine, err = describe(binary, out, len(p.of("network")) > 0); err != nil {
		return good, err
	}
	return good, os.WriteFile(out, []byte(p.text()), 0o644)
}

// parts lists the parts in the order in which they first appear.
func (p page) parts() (names []string) {
	for _, r := range p.rows {
		if !slices.Contains(names, r.Part) {
			names = append(names, r.Part)
		}
	}
	return names
}

func (p page) of(part string) (rows []row.Row) {
	for _, r := range p.rows {
		if r.Part == part {
			rows = append(rows, r)
		}
	}
	return rows
}

func (p page) violations() (all []string) {
	for _, r := range p.rows {
		for _, v := range r.Violations() {
			all = append(all, fmt.Sprintf("%s, %s, %s: %s", r.Part, r.Provider, r.Name, v))
		}
	}
	return all
}

// total adds rows up.
func total(rows []row.Row) row.Row {
	var t row.Row
	for _, r := range rows {
		t.Trials += r.Trials
		t.Faults += r.Faults
		t.Refreshes += r.Refreshes
		t.Losses += r.Losses
		t.P1Violations += r.P1Violations
		t.Leaks += r.Leaks
		t.Broken = append(t.Broken, r.Broken...)
		for reason, n := range r.LossReasons {
			for range n {
				row.Add(&t.LossReasons, reason)
			}
		}
		for by, n := range r.RecoveredBy {
			for range n {
				row.Add(&t.RecoveredBy, by)
			}
		}
	}
	return t
}

// summary is the totals for a terminal.
func (p page) summary() string {
	var b strings.Builder
	for _, part := range p.parts() {
		t := total(p.of(part))
		fmt.Fprintf(&b, "%-12s %5d trials, %5d faults met, %6d refreshes, %3d lost (%s), %d beyond P1, %d leaks, %d other broken promises\n",
			part, t.Trials, t.Faults, t.Refreshes, t.Losses, orNone(counts(t.LossReasons)), t.P1Violations, t.Leaks, len(t.Broken))
	}
	for _, v := range p.violations() {
		fmt.Fprintf(&b, "  RED  %s\n", v)
	}
	return b.String()
}
