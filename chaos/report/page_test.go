//go:build linux && (amd64 || arm64)

package main

import (
	"strings"
	"testing"
	"time"

	"evergrant/chaos/row"
)

func sample() page {
	return page{command: "chaos/run", commit: "abc, with changes", at: time.Unix(0, 0), machine: []string{"a machine"},
		required: []string{"kill points", "disk", "leaks"}, rows: []row.Row{
			{Part: "kill points", Name: "SIGKILL at spill: write spill", Store: "file", Provider: "strict", Trials: 4, Faults: 3, Refreshes: 9, Losses: 1,
				LossReasons: map[string]int{row.Unwritten: 1}, RecoveredBy: map[string]int{"the spill": 2}},
			{Part: "kill points", Name: "EIO at start: read key", Store: "file", Provider: "strict", Trials: 6, MayMiss: true},
			{Part: "kill points", Name: "SIGKILL at spill: write spill", Store: "file", Provider: "grace 10m", Trials: 3, Faults: 3, RecoveredBy: map[string]int{"the next run": 3}},
			{Part: "disk", Name: "full | read-only", Store: "file", Provider: "strict", Trials: 2, Faults: 2, Refreshes: 7, Discarded: 1},
			{Part: "leaks", Name: "everywhere", Store: "file", Texts: 99},
			{Part: "leaks", Name: "planted", Store: "file", Trials: 5, Faults: 5},
		}}
}

func TestPage(t *testing.T) {
	t.Parallel()
	text := sample().text()
	for _, want := range []string{
		"Every promise held.", "1970-01-01 00:00 UTC by `chaos/run`", "- a machine\n", "- commit abc, with changes\n",
		"| SIGKILL at spill: write spill | file | strict | 4 | 3 | 0 | 9 | 1 | 0 | 0 | the spill 2; **lost**: " + row.Unwritten + " 1 |\n" +
			"| SIGKILL at spill: write spill | file | grace 10m | 3 | 3 |",
		"| kill points | file | 13 | 6 | 0 | 9 | 1 | " + row.Unwritten + " 1 | 0 | 0 |\n",
		"| full \\| read-only | file | strict | 2 | 2 | 1 | 7 | 0 | 0 | 0 |  |\n",
		"- kill points, file, strict, EIO at start: read key, in 6 runs\n",
		"| leaks | file | 5 | 5 | 0 | 0 | 0 | 99 texts searched | 0 | 0 |\n", "| everywhere | file | 99 | 0 |  |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
}

// "Every promise held" is said of a whole, green harness only.
func TestPageSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*page)
		want   string
		green  bool
	}{
		"a part without rows":            {func(p *page) { p.required = append(p.required, "network") }, "network", false},
		"a part without rows of a store": {func(p *page) { p.required = append(p.required, "disk@git path") }, `on the store "git path"`, false},
		"a part with rows of a store":    {func(p *page) { p.required = append(p.required, "disk@file"); p.left = []string{"x"} }, "- x", true},
		"a part that failed":             {func(p *page) { p.failed = []string{"hydra"} }, "hydra", false},
		"a row never met":                {func(p *page) { p.rows[3].Faults = 0 }, "never met", false},
		"left out":                       {func(p *page) { p.left = []string{"the foreign peers"} }, "- the foreign peers", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := sample()
			c.change(&p)
			text := p.text()
			if strings.Contains(text, "Every promise held") || !strings.Contains(text, c.want) || (len(p.red()) == 0) != c.green {
				t.Errorf("%d red; the page:\n%s", len(p.red()), text)
			}
			if !strings.Contains(p.summary(), strings.TrimPrefix(c.want, "- ")) {
				t.Errorf("the summary hides it:\n%s", p.summary())
			}
		})
	}
}

// A broken promise is at the top, in its row, and on the terminal.
func TestPageShowsBrokenPromises(t *testing.T) {
	t.Parallel()
	p := sample()
	p.rows[3].Losses, p.rows[3].LossReasons = 1, map[string]int{"store outage alone": 1}
	text := p.text()
	if strings.Contains(text, "Every promise held") || strings.Count(text, "1 lost: store outage alone") != 2 || !strings.Contains(text, "**1 promises did not hold, or were not shown:**") {
		t.Errorf("the page hides it:\n%s", text)
	}
	if !strings.Contains(p.summary(), "RED  disk, file, strict, full | read-only: 1 lost: store outage alone") {
		t.Errorf("the summary hides it:\n%s", p.summary())
	}
}

// The calls of a git store are added up by step, and each is listed; what breaks
// a promise is named by its own row all the same.
func TestPageAddsUpGit(t *testing.T) {
	t.Parallel()
	p := sample()
	for _, r := range []row.Row{
		{Name: "SIGKILL of that process alone at save: execve git push", Trials: 1, Faults: 1, RecoveredBy: map[string]int{"the spill": 1}},
		{Name: "SIGKILL of that process alone at save: renameat git receive-pack: ref", Trials: 2, Faults: 2, RecoveredBy: map[string]int{"the spill": 1}, Losses: 1,
			LossReasons: map[string]int{row.Written: 1}},
		{Name: "SIGKILL at save: execve git push", Trials: 1, Faults: 1},
		{Name: "the points of an undisturbed run", Trials: 5, Faults: 5},
	} {
		r.Part, r.Store, r.Provider = "kill points", "git path", "strict"
		p.rows = append(p.rows, r)
	}
	text := p.text()
	for _, want := range []string{
		"| kill points | file | 13 | 6 |", "| kill points | git path | 9 | 9 |",
		"| SIGKILL of that process alone at each call of the step save | git path | strict | 3 | 3 | 0 | 0 | 1 | 0 | 0 | the spill 2; **lost**: " + row.Written + " 1; 2 calls;",
		"| SIGKILL at each call of the step save | git path | strict | 1 |", "| the points of an undisturbed run | git path | strict | 5 |",
		"- save: execve git push; renameat git receive-pack: ref\n",
		"- kill points, git path, strict, SIGKILL of that process alone at save: renameat git receive-pack: ref: 1 lost: " + row.Written + "\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
}
