//go:build linux

package main

import (
	"strings"
	"testing"

	"evergrant/bench/figure"
)

const ran = `one durable write of 2 KiB, 200 rounds, ms:    median      p90      max
  create and write                              0.034    0.043    0.068
machine    AMD EPYC, 2 cores, load 5.30
kernel     6.18, file system ext4
tools      go1.26.8; python 3.11.7; curl 7.88.1;
           jq 1.6; node v20.20.2

loopback HTTP, 4 rounds, whole process, ms
                                                         wall               cpu     to the wire
                               median     p10     p90     min    median     p90    median
  evergrant refresh --force      7.71    7.10    8.20    6.93      6.18    6.31      4.57
  evergrant, life enough left    3.65    3.56    4.18    3.54      3.74    4.20      none
                                               wall ratio: median (p10 to p90)
  evergrant within 1.5 x of bare Go with fsyncs      1.33 (1.21 to 1.45)  met
  Node at least 10 x evergrant                                 not measured
  evergrant on the wire within 15 ms of its start     24.57 ms (20.10 to 31.00)  MISSED

loopback HTTPS, 4 rounds, whole process, ms
  curl | jq                     39.38   39.06   39.69   39.04     60.15   60.44     36.52
  no goal: curl and jq over evergrant                3.19 (3.09 to 3.61)
  evergrant within 1.5 x of bare Go with fsyncs      1.41 (1.21 to 1.63)  met by the median only
not measured: node is not installed or does not run
`

func TestOutputOfRunIsRead(t *testing.T) {
	t.Parallel()
	p, err := parseProcesses(ran)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.sections) != 2 || len(p.sections[0].rows) != 2 || len(p.sections[0].goals) != 3 || len(p.durable) != 1 || len(p.missing) != 1 {
		t.Fatalf("got %+v", p)
	}
	if got := p.facts[2]; got != [2]string{"tools", "go1.26.8; python 3.11.7; curl 7.88.1; jq 1.6; node v20.20.2"} {
		t.Errorf("tools: %q", got)
	}
	if got := p.sections[0].rows[1]; strings.Join(got, " ") != "evergrant, life enough left 3.65 3.56 4.18 3.54 3.74 4.20 none" {
		t.Errorf("contender: %q", got)
	}
	if got, want := p.sections[0].goals[2], (goal{"evergrant on the wire within 15 ms of its start", "24.57 ms", "20.10 to 31.00", "MISSED"}); got != want {
		t.Errorf("goal: %q", got)
	}
	page := page{processes: p, scale: scaled(), load: [2]float64{0.5, 1.25}}.markdown()
	for _, want := range []string{"| curl \\| jq | 39.38 |", "| MISSED |", "| 1.21 to 1.63 | met by the median only |", "not installed",
		"**load** of the machine, one minute: 0.50 at the start, 1.25 at the end", "800 of 1000 ms", "bundle"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func scaled() []figure.Figure {
	return []figure.Figure{
		{Group: "10,000 grants", Name: figure.Swap, Unit: "ms", Median: 1.5, N: 200},
		{Group: "10,000 grants", Name: figure.SlowSwap, Unit: "ms", Median: 20, N: 6},
		{Group: "10,000 grants", Name: figure.Open, Unit: "ms", Median: 0.08, N: 200},
		{Group: "10,000 grants", Name: figure.Status, Unit: "ms", Median: 1000, N: 3},
	}
}

// What limits a large store is said with figures, or not at all.
func TestLimitsNeedFigures(t *testing.T) {
	t.Parallel()
	if got := (page{scale: scaled()[:3]}).limits(); got != "" {
		t.Errorf("said without a figure of status: %q", got)
	}
	if got := (page{scale: scaled()}).limits(); !strings.Contains(got, "20.0 ms") || !strings.Contains(got, "0.10 ms") {
		t.Errorf("got %q", got)
	}
}

// A machine that does something else is no place to measure.
func TestLoadIsRefused(t *testing.T) {
	t.Parallel()
	for load, want := range map[float64]bool{0: true, 2: true, 2.01: false, 12: false} {
		err := quiet(load)
		if (err == nil) != want || err != nil && !strings.Contains(err.Error(), "-anyway") {
			t.Errorf("load %v: %v", load, err)
		}
	}
	if n, err := parseLoad("1.25 0.9 0.5 3/216 7443\n"); n != 1.25 || err != nil {
		t.Errorf("got %v, %v", n, err)
	}
	if _, err := parseLoad("much"); err == nil {
		t.Error("a strange load was read")
	}
}

func TestOutputThatIsNotUnderstoodIsRefused(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nothing":         "",
		"a new line":      strings.Replace(ran, "kernel ", "colonel ", 1),
		"a lost column":   strings.Replace(ran, "    6.18    6.31", "    6.18", 1),
		"no goals":        ran[:strings.Index(ran, "  no goal")],
		"half a session":  ran[:strings.Index(ran, "loopback HTTPS")],
		"a strange ratio": strings.Replace(ran, "(1.21 to 1.45)", "(1.21)", 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if p, err := parseProcesses(text); err == nil {
				t.Errorf("read as %+v", p)
			}
		})
	}
}

func TestBenchmarksAreRead(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for _, name := range []string{"Served", "Refreshed", "Next/serve", "Next/take", "Next/wait", "Next/recover"} {
		for _, ns := range []string{"100.0", "300.5", "200"} {
			text.WriteString("Benchmark" + name + "-2  \t 1557096\t   " + ns + " ns/op\t  80 B/op\t   2 allocs/op\n")
		}
	}
	calls, err := parseBenchmarks(text.String())
	if err != nil || len(calls) != 6 {
		t.Fatalf("%d calls, %v", len(calls), err)
	}
	if c := calls[2]; c.name != "Next/serve" || c.median != 200 || c.n != 3 || c.bytes != "80" || c.allocs != "2" {
		t.Errorf("got %+v", c)
	}
	if _, err := parseBenchmarks(strings.ReplaceAll(text.String(), "Next/wait", "Next/other")); err == nil {
		t.Error("a missing benchmark went unnoticed")
	}
}
