//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"evergrant/bench/sample"
)

// processes is what bench/run found.
type processes struct {
	facts    [][2]string // machine, kernel and the like
	durable  table       // what one durable write costs
	sections []section
	missing  []string // "not measured: …"
}

// section is one scheme: its title, its contenders and its goals.
type section struct {
	title string
	rows  table
	goals []goal
}

type table [][]string

// goal is a ratio, or a time, beside its limit.
type goal struct{ text, value, spread, verdict string }

// call is one benchmark of the engine.
type call struct {
	name          string
	median        float64 // ns
	low, high     float64
	bytes, allocs string
	n             int
}

// lines of bench/run's output.
type grammar struct{ title, contender, ratio, wire, fact, more, durable, step, ignored *regexp.Regexp }

func newGrammar() grammar {
	const number = `([0-9]+\.[0-9]+)`
	return grammar{
		title:     regexp.MustCompile(`^loopback (\S+), (\d+) rounds, whole process, ms$`),
		contender: regexp.MustCompile(`^  (\S.*?) +` + strings.Repeat(number+` +`, 6) + `(` + number + `|none)$`),
		ratio:     regexp.MustCompile(`^  (\S.*?) +` + number + ` \(` + number + ` to ` + number + `\)(?:  (met|met by the median only|MISSED))?$`),
		wire:      regexp.MustCompile(`^  (\S.*?) +` + number + ` ms \(` + number + ` to ` + number + `\)(?:  (met|met by the median only|MISSED))?$`),
		fact:      regexp.MustCompile(`^(machine|kernel|tools|evergrant|trust) +(.+)$`),
		more:      regexp.MustCompile(`^ {11}(\S.*)$`),
		durable:   regexp.MustCompile(`^one durable write of .*, (\d+) rounds, ms: +median +p90 +max$`),
		step:      regexp.MustCompile(`^  (\S.*?) +` + number + ` +` + number + ` +` + number + `$`),
		ignored:   regexp.MustCompile(`^\s*$|^ +wall +cpu +to the wire$|^ +median +p10 +p90 +min +median +p90 +median$|^ +wall ratio: median \(p10 to p90\)$`),
	}
}

// parseProcesses reads the output of bench/run. Every line must be understood:
// the page must not leave anything out.
func parseProcesses(text string) (processes, error) {
	var p processes
	g := newGrammar()
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		if line := lines.Text(); !p.take(g, line) {
			return p, fmt.Errorf("a line is not understood: %q", line)
		}
	}
	for _, s := range p.sections {
		if len(s.rows) == 0 || len(s.goals) == 0 {
			return p, fmt.Errorf("section %q has %d contenders and %d goals", s.title, len(s.rows), len(s.goals))
		}
	}
	if len(p.sections) < 2 || len(p.facts) < 3 {
		return p, errors.New("the output ends too early")
	}
	return p, lines.Err()
}

func (p *processes) take(g grammar, line string) bool {
	if g.ignored.MatchString(line) {
		return true
	}
	if what, ok := strings.CutPrefix(line, "not measured: "); ok {
		p.missing = append(p.missing, what)
		return true
	}
	if m := g.title.FindStringSubmatch(line); m != nil {
		p.sections = append(p.sections, section{title: fmt.Sprintf("Loopback %s, %s rounds", m[1], m[2])})
		return true
	}
	if len(p.sections) > 0 {
		return p.sections[len(p.sections)-1].take(g, line)
	}
	if m := g.fact.FindStringSubmatch(line); m != nil {
		p.facts = append(p.facts, [2]string{m[1], m[2]})
		return true
	}
	if m := g.more.FindStringSubmatch(line); m != nil && len(p.facts) > 0 {
		p.facts[len(p.facts)-1][1] += " " + m[1]
		return true
	}
	if m := g.step.FindStringSubmatch(line); m != nil {
		p.durable = append(p.durable, m[1:])
		return true
	}
	return g.durable.MatchString(line)
}

func (s *section) take(g grammar, line string) bool {
	if m := g.contender.FindStringSubmatch(line); m != nil {
		s.rows = append(s.rows, m[1:9])
		return true
	}
	if m := g.ratio.FindStringSubmatch(line); m != nil {
		s.goals = append(s.goals, goal{m[1], m[2] + " ×", m[3] + " to " + m[4], m[5]})
		return true
	}
	if m := g.wire.FindStringSubmatch(line); m != nil {
		s.goals = append(s.goals, goal{m[1], m[2] + " ms", m[3] + " to " + m[4], m[5]})
		return true
	}
	text, ok := strings.CutSuffix(strings.TrimSpace(line), "not measured")
	if ok {
		s.goals = append(s.goals, goal{strings.TrimSpace(text), "not measured", "", ""})
	}
	return ok
}

// parseBenchmarks reads the output of go test -bench, several runs of each.
func parseBenchmarks(text string) ([]call, error) {
	line := regexp.MustCompile(`(?m)^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+([0-9.]+) ns/op\s+(\d+) B/op\s+(\d+) allocs/op$`)
	var calls []call
	times := map[string][]float64{}
	for _, m := range line.FindAllStringSubmatch(text, -1) {
		ns, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			return nil, err
		}
		if len(times[m[1]]) == 0 {
			calls = append(calls, call{name: m[1], bytes: m[3], allocs: m[4]})
		}
		times[m[1]] = append(times[m[1]], ns)
	}
	for i := range calls {
		c := &calls[i]
		all := times[c.name]
		c.n, c.median, c.low, c.high = len(all), sample.Quantile(all, 0.5), sample.Quantile(all, 0.1), sample.Quantile(all, 0.9)
	}
	for _, name := range []string{"Served", "Refreshed", "Next/serve", "Next/take", "Next/wait", "Next/recover"} {
		if !slices.ContainsFunc(calls, func(c call) bool { return c.name == name }) {
			return nil, fmt.Errorf("there is no benchmark %s", name)
		}
	}
	return calls, nil
}
