//go:build linux

package main

import (
	"fmt"
	"strings"

	"evergrant/bench/figure"
)

// page is docs/performance.md before it is text.
type page struct {
	command, day string
	load         [2]float64 // of the machine: at the start and at the end
	processes    processes
	calls        []call
	scale        []figure.Figure
	step         []figure.Figure
}

func (p page) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Performance

This page is written by %[1]s%[2]s%[1]s; change the program, not the page. Measured on %[3]s.
Figures are medians; ratios are taken round by round, with the 10th and 90th percentile beside them.

`, "`", p.command, p.day)
	for _, f := range p.processes.facts {
		fmt.Fprintf(&b, "- **%s**: %s\n", f[0], f[1])
	}
	fmt.Fprintf(&b, "- **load** of the machine, one minute: %.2f at the start, %.2f at the end, with the measured programs themselves\n", p.load[0], p.load[1])
	for _, m := range p.processes.missing {
		fmt.Fprintf(&b, "- **not measured**: %s\n", m)
	}
	b.WriteString("\n## One refresh, as a whole process\n\n" +
		"All programs run in one session, interleaved, in a new order each round, against one local server that answers at once.\n" +
		"evergrant takes a lease, spills, saves and marks, each durably; the bare program with as many fsyncs shows what that costs.\n" +
		"A goal is met when nine runs of ten meet it (p90, or p10 where more is better), and met by the median only when the\n" +
		"median does and they do not. Over HTTPS, crypto/x509 reads the system's folder of certificates besides its bundle;\n" +
		"evergrant does so only when the bundle does not suffice. *Bundle only* is the bare program with the same trust, and\n" +
		"its ratio shows by how much the folder accounts.\n")
	for _, s := range p.processes.sections {
		fmt.Fprintf(&b, "\n### %s\n\n", s.title)
		write(&b, []string{"program", "wall ms", "p10", "p90", "min", "CPU ms", "p90", "ms to the wire"}, s.rows)
		b.WriteString("\n")
		var goals table
		for _, g := range s.goals {
			goals = append(goals, []string{g.text, g.value, g.spread, g.verdict})
		}
		write(&b, []string{"goal", "median", "p10 to p90", ""}, goals)
	}
	if len(p.processes.durable) > 0 {
		b.WriteString("\n### One durable write of 2 KiB\n\n")
		write(&b, []string{"step", "median ms", "p90", "max"}, p.processes.durable)
	}
	p.engine(&b)
	p.grants(&b)
	p.steps(&b)
	return b.String()
}

// steps is the table of a job's step on a git store.
func (p page) steps(b *strings.Builder) {
	if len(p.step) == 0 {
		return
	}
	b.WriteString("\n## A step of a job, on a git store\n\n" +
		"From the start of the step to its end, at which the next one can use the token. The forge is git's own server over HTTP on this machine;\n" +
		"then each question to it is held back, as a distance would. The numbers behind a name are the questions (HTTP requests) to the forge, and to the provider.\n\n")
	var rows table
	for _, f := range p.step {
		rows = append(rows, []string{f.Group, f.Name, fmt.Sprintf("%.0f %s", f.Median, f.Unit), fmt.Sprintf("%.0f to %.0f", f.P10, f.P90), fmt.Sprint(f.N)})
	}
	write(b, []string{"where", "", "median", "p10 to p90", "times"}, rows)
}

// engine is the table of what the engine itself costs.
func (p page) engine(b *strings.Builder) {
	b.WriteString("\n## The engine alone\n\n" +
		"With a store in memory and a provider that answers at once, so that only the protocol's own work is left.\n\n")
	names := map[string]string{
		"Served": "a call that is served from the store", "Refreshed": "a call that refreshes: lease, request, spill, save",
		"Next/serve": "`Next` decides to serve", "Next/take": "`Next` decides to take the lease",
		"Next/wait": "`Next` decides to wait", "Next/recover": "`Next` decides to recover",
	}
	var rows table
	for _, c := range p.calls {
		name, known := names[c.name]
		if !known {
			name = c.name
		}
		rows = append(rows, []string{name, fmt.Sprintf("%.0f", c.median), fmt.Sprintf("%.0f to %.0f", c.low, c.high), c.bytes, c.allocs})
	}
	write(b, []string{"", "ns", "p10 to p90", "bytes", "allocations"}, rows)
}

// grants is the table of one store with many grants.
func (p page) grants(b *strings.Builder) {
	b.WriteString("\n## Many grants in one sealed file store\n\n" +
		"Load and Swap each in a store opened anew, as each process does; status opens every record.\n\n")
	var rows table
	for _, f := range p.scale {
		rows = append(rows, []string{f.Group, f.Name, fmt.Sprintf("%.2f %s", f.Median, f.Unit), fmt.Sprintf("%.2f to %.2f", f.P10, f.P90), fmt.Sprint(f.N)})
	}
	write(b, []string{"store", "", "median", "p10 to p90", "times"}, rows)
	b.WriteString(p.limits())
}

// limits says what a large store's time goes to, by the figures of the largest;
// "" when one is missing.
func (p page) limits() string {
	const group, grants = "10,000 grants", 10000
	of, alone := map[string]float64{}, 0.0 // alone: Swap in a store of one grant
	for _, f := range p.scale {
		switch {
		case f.Unit != "ms":
		case f.Group == group:
			of[f.Name] = f.Median
		case f.Group == "1 grant" && f.Name == figure.Swap:
			alone = f.Median
		}
	}
	for _, name := range []string{figure.Swap, figure.SlowSwap, figure.Open, figure.Status} {
		if of[name] <= 0 {
			return ""
		}
	}
	return fmt.Sprintf(`
What the time goes to, with %s:

- **status** opens every record. Opening one costs %.3f ms of a core (two curve multiplications of X25519, a key
  derivation, reading), which makes %.0f of %.0f ms if one core does it. The limit is linear: %.2f ms for each grant.
- **Swap** takes %.2f ms, and %.2f ms in a store of one grant; one in 32, chosen by chance, also reads the whole folder
  for files that killed processes left, and takes %.1f ms. That limit is linear in the grants of the folder, too; a store for each
  team keeps it small.
`, group, of[figure.Open], of[figure.Open]*grants, of[figure.Status], of[figure.Status]/grants, of[figure.Swap], alone, of[figure.SlowSwap])
}

// write writes a table of Markdown.
func write(b *strings.Builder, head []string, rows table) {
	fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	for _, r := range rows {
		cells := make([]string, len(r))
		for i, c := range r {
			cells[i] = strings.ReplaceAll(c, "|", "\\|")
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
	}
}
