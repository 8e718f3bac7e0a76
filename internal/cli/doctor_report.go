package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"evergrant/internal/grant"
)

// doctorReport is the JSON report of doctor. It never holds a token. Members are
// added freely and never change their meaning.
type doctorReport struct {
	Grant    *grant.ID      `json:"grant"` // null: of several, or of none
	Checked  []checkedThing `json:"checked"`
	Findings []finding      `json:"findings"`
	Warnings []string       `json:"warnings"`

	*Verdict // if a finding fails
}

// conclude prints what was found, and is an error with the code of the gravest; or
// else the one that cut it short.
func (d *doctor) conclude(asJSON bool, cut error) error {
	failed := d.verdict()
	switch {
	case cut != nil && failed != nil:
		d.warn([]string{fmt.Sprintf("not everything was looked at: %v", cut)})
	case cut != nil:
		failed = fmt.Errorf("not everything was looked at: %w", cut)
	}
	if asJSON {
		r := doctorReport{Checked: emptyNotNull(d.checked), Findings: emptyNotNull(d.findings), Warnings: emptyNotNull(d.warned)}
		if d.app.grant != "" {
			r.Grant = &d.app.grant
		}
		if failed != nil {
			v := verdictOf(failed)
			r.Verdict = &v
		}
		d.reported = true
		if err := printJSON(d.stdout, r); err != nil {
			return err
		}
		return failed
	}
	_, err := io.WriteString(d.stdout, d.text(d.paper(d.stdout)))
	if err := written("the findings", err); err != nil {
		return err
	}
	return failed
}

// verdict is nil if nothing fails.
func (d *doctor) verdict() error {
	n, worst := 0, -1
	for _, f := range d.findings {
		if f.code == noteOnly {
			continue
		}
		n++
		if worst < 0 || slices.Index(gravest(), f.code) < slices.Index(gravest(), d.findings[worst].code) {
			worst = slices.IndexFunc(d.findings, func(g finding) bool { return g.Check == f.Check && g.What == f.What })
		}
	}
	if worst < 0 {
		return nil
	}
	w := d.findings[worst]
	text := w.What
	if w.Grant != nil {
		text = fmt.Sprintf("grant %s: %s", *w.Grant, w.What)
	}
	if n > 1 {
		text = fmt.Sprintf("%d problems; the gravest: %s", n, text)
	}
	return &codedError{code: w.code, err: errors.New(text)}
}

// text is the report for people: the machine, and then one part for each grant.
func (d *doctor) text(p paper) string {
	var subjects []string
	name := func(id *grant.ID) string {
		if id == nil {
			return ""
		}
		return string(*id)
	}
	note := func(id *grant.ID) {
		if s := name(id); !slices.Contains(subjects, s) {
			subjects = append(subjects, s)
		}
	}
	for _, c := range d.checked {
		note(c.Grant)
	}
	for _, f := range d.findings {
		note(f.Grant)
	}
	margin := 0
	for _, c := range d.checked {
		margin = max(margin, len(c.Check))
	}
	for _, f := range d.findings {
		margin = max(margin, len(f.Check))
	}
	brief := p.terminal && len(subjects) > 2 // what is right of many is told in a line each
	var b strings.Builder
	for i, s := range subjects {
		if i > 0 {
			fmt.Fprintln(&b)
		}
		if s != "" {
			fmt.Fprintln(&b, p.paint(bold, s))
		}
		var passed []string
		for _, c := range d.checked {
			switch {
			case name(c.Grant) != s:
			case brief && s != "":
				passed = append(passed, c.Check)
			default:
				b.WriteString(p.entry(p.pick("✓ ", "ok      ")+p.fit(c.Check, margin)+"  ", green, c.What, ""))
			}
		}
		if len(passed) > 0 {
			b.WriteString(p.entry(p.pick("✓ ", "ok      "), green, strings.Join(passed, ", "), ""))
		}
		for _, f := range d.findings {
			if name(f.Grant) == s {
				b.WriteString(f.text(p, margin))
			}
		}
	}
	return b.String()
}

// text is one finding. What is to be pasted is never broken into lines.
func (f finding) text(p paper, margin int) string {
	mark, code := p.pick("✗ ", "problem "), red
	if f.code == noteOnly {
		mark, code = p.pick("! ", "note    "), yellow
	}
	head := mark + p.fit(f.Check, margin) + "  "
	below := strings.Repeat(" ", utf8.RuneCountInString(head))
	return p.entry(head, code, f.What, bold) +
		p.entry(below+"why  ", faint, f.Why, "") +
		p.paint(faint, below+"fix  ") + p.paint(green, oneLine(f.Fix)) + "\n"
}
