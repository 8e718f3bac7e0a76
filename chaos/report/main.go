//go:build linux && (amd64 || arm64)

// Command report makes docs/reliability.md of the rows of the chaos harness.
// Every number in the page comes from a row or from the machine.
//
//	report -rows FILE -command TEXT -binary FILE [-commit TEXT] [-required PARTS]
//	       [-failed PARTS] [-left TEXT] [-out FILE]
//
// Without -out it prints the totals only. "Every promise held" is said when all
// required parts have rows, none has failed and no row breaks a promise. Else the
// exit code is 1; the page is written all the same, and says so.
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
	from := flag.String("rows", "", "the rows, as JSON lines")
	out := flag.String("out", "", "the page to write; empty: none")
	binary := flag.String("binary", "", "the binary that was tested")
	p := page{at: time.Now()}
	flag.StringVar(&p.command, "command", "", "the command that made the rows and writes the page")
	flag.StringVar(&p.commit, "commit", "", "the commit that was tested, and whether the tree had changes")
	list := func(to *[]string) func(string) error {
		return func(s string) error {
			for name := range strings.SplitSeq(s, ",") {
				if name = strings.TrimSpace(name); name != "" {
					*to = append(*to, name)
				}
			}
			return nil
		}
	}
	flag.Func("required", "parts that must have rows, as PART or PART@STORE, with commas between them", list(&p.required))
	flag.Func("failed", "parts of chaos/run that have failed", list(&p.failed))
	flag.Func("left", "what this form of the harness leaves out", list(&p.left))
	flag.Parse()
	good, err := report(p, *from, *out, *binary)
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
	if !good {
		os.Exit(1)
	}
}

func report(p page, from, out, binary string) (good bool, err error) {
	if p.command == "" || len(p.required) == 0 {
		return false, fmt.Errorf("-command and -required are needed; chaos/run gives them")
	}
	f, err := os.Open(from)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if p.rows, err = row.Read(f); err != nil {
		return false, err
	}
	if len(p.rows) == 0 {
		return false, fmt.Errorf("%s holds no rows", from)
	}
	fmt.Print(p.summary())
	good = len(p.red()) == 0
	if out == "" {
		return good, nil
	}
	if p.machine, err = describe(binary, out, len(p.of("network")) > 0, slices.ContainsFunc(p.rows, func(r row.Row) bool { return ofGit(r.Store) })); err != nil {
		return good, err
	}
	return good, os.WriteFile(out, []byte(p.text()), 0o644)
}

// red lists everything for which the page must not say that all is well.
func (p page) red() (all []string) {
	for _, required := range p.required {
		part, store, named := strings.Cut(required, "@")
		there := func(r row.Row) bool { return !named || r.Store == store }
		switch {
		case slices.ContainsFunc(p.of(part), there):
		case named:
			all = append(all, fmt.Sprintf("the part %q was not run to its end on the store %q: it left no rows", part, store))
		default:
			all = append(all, fmt.Sprintf("the part %q was not run to its end: it left no rows", part))
		}
	}
	for _, part := range p.failed {
		all = append(all, fmt.Sprintf("the part %q of the harness failed", part))
	}
	return append(all, p.violations()...)
}

// missed names the rows that may miss their fault, and did.
func (p page) missed() (names []string) {
	for _, r := range p.rows {
		if r.MayMiss && r.Missed() {
			names = append(names, fmt.Sprintf("%s, in %d runs", r.Title(), r.Trials))
		}
	}
	return names
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

// ofGit reports whether a store is one of git's.
func ofGit(store string) bool { return strings.HasPrefix(store, "git") }

// byStore parts rows by their store, in the order in which those first appear.
func byStore(rows []row.Row) (parted [][]row.Row) {
	for _, r := range rows {
		i := slices.IndexFunc(parted, func(of []row.Row) bool { return of[0].Store == r.Store })
		if i < 0 {
			parted = append(parted, []row.Row{r})
			continue
		}
		parted[i] = append(parted[i], r)
	}
	return parted
}

func (p page) violations() (all []string) {
	for _, r := range p.rows {
		for _, v := range r.Violations() {
			all = append(all, r.Title()+": "+v)
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
		t.Discarded += r.Discarded
		t.Texts += r.Texts
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
		for _, rows := range byStore(p.of(part)) {
			t := total(rows)
			fmt.Fprintf(&b, "%-26s %-8s %5d trials, %5d faults met, %d tries discarded, %6d refreshes, %3d lost (%s), %d beyond P1, %d leaks, %d other broken promises\n",
				part, rows[0].Store, t.Trials, t.Faults, t.Discarded, t.Refreshes, t.Losses, orNone(counts(t.LossReasons)), t.P1Violations, t.Leaks, len(t.Broken))
		}
	}
	if n := len(p.missed()); n > 0 {
		fmt.Fprintf(&b, "  %d points were never hit\n", n)
	}
	for _, left := range p.left {
		fmt.Fprintf(&b, "  left out: %s\n", left)
	}
	for _, v := range p.red() {
		fmt.Fprintf(&b, "  RED  %s\n", v)
	}
	return b.String()
}
