//go:build linux && (amd64 || arm64)

package main

import (
	"strings"
	"testing"
	"time"

	"evergrant/chaos/row"
)

func sample() page {
	return page{command: "chaos/run", at: time.Unix(0, 0), machine: []string{"a machine"}, rows: []row.Row{
		{Part: "kill points", Name: "SIGKILL at spill: write spill", Provider: "strict", Trials: 3, Faults: 3, Losses: 1, LossReasons: map[string]int{row.Unwritten: 1}, RecoveredBy: map[string]int{"the spill": 2}},
		{Part: "kill points", Name: "SIGKILL at spill: write spill", Provider: "grace 10m", Trials: 3, Faults: 3, RecoveredBy: map[string]int{"the next run": 3}},
		{Part: "disk", Name: "full | read-only", Provider: "strict", Trials: 2, Faults: 2, Refreshes: 7},
	}}
}

func TestPage(t *testing.T) {
	t.Parallel()
	text := sample().text()
	for _, want := range []string{
		"Every promise held.", "1970-01-01 00:00 UTC by `chaos/run`", "- a machine\n",
		"| point | strict | grace 10m |\n", "| SIGKILL at spill: write spill | 3: the spill 2; **lost**: " + row.Unwritten + " 1 | 3: the next run 3 |\n",
		"| kill points | 6 | 6 | 0 | 1 | " + row.Unwritten + " 1 | 0 | 0 |\n",
		"| full \\| read-only | strict | 2 | 2 | 7 | 0 |  |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
}

// A broken promise is at the top, in its row, and on the terminal.
func TestPageShowsBrokenPromises(t *testing.T) {
	t.Parallel()
	p := sample()
	p.rows[2].Losses, p.rows[2].LossReasons = 1, map[string]int{"store outage alone": 1}
	text := p.text()
	if strings.Contains(text, "Every promise held") || strings.Count(text, "1 lost: store outage alone") != 2 || !strings.Contains(text, "**1 promises did not hold:**") {
		t.Errorf("the page hides it:\n%s", text)
	}
	if !strings.Contains(p.summary(), "RED  disk, strict, full | read-only: 1 lost: store outage alone") {
		t.Errorf("the summary hides it:\n%s", p.summary())
	}
}
