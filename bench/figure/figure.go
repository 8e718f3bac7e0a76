// Package figure is the line of JSON in which a measurement passes what it
// found to the report.
package figure

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"evergrant/bench/sample"
)

// Names of figures that the page speaks about.
const (
	Load     = "Load"
	Swap     = "Swap"
	SlowSwap = "Swap, the slowest 1 in 32"
	Open     = "one sealed record opened"
	Status   = "evergrant status, whole process"
)

// Figure is one measured thing, by the order of its values.
type Figure struct {
	Group  string  // which table it belongs to
	Name   string  // what was measured
	Unit   string  // "ms", "µs", "ns"
	Median float64 // of N values
	P10    float64
	P90    float64
	N      int
}

// unitOf is the duration that a name stands for; 0 for no unit.
func unitOf(name string) time.Duration {
	return map[string]time.Duration{"ns": time.Nanosecond, "µs": time.Microsecond, "ms": time.Millisecond}[name]
}

// Of summarises durations in a unit: "ns", "µs" or "ms".
func Of(group, name, unit string, values []time.Duration) Figure {
	at := func(q float64) float64 { return float64(sample.Quantile(values, q)) / float64(unitOf(unit)) }
	return Figure{Group: group, Name: name, Unit: unit, Median: at(0.5), P10: at(0.1), P90: at(0.9), N: len(values)}
}

// Write writes figures as JSON lines.
func Write(w io.Writer, figures []Figure) error {
	enc := json.NewEncoder(w)
	for _, f := range figures {
		if err := enc.Encode(f); err != nil {
			return fmt.Errorf("figure: %w", err)
		}
	}
	return nil
}

// Read reads JSON lines. A line that is no Figure is an error: a report must
// not leave anything out.
func Read(r io.Reader) ([]Figure, error) {
	var all []Figure
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		dec := json.NewDecoder(strings.NewReader(lines.Text()))
		dec.DisallowUnknownFields()
		var f Figure
		if err := dec.Decode(&f); err != nil {
			return nil, fmt.Errorf("figure: line %d: %w", n, err)
		}
		if f.Group == "" || f.Name == "" || unitOf(f.Unit) == 0 || f.N < 1 {
			return nil, fmt.Errorf("figure: line %d names no group, thing or unit, or holds no value", n)
		}
		all = append(all, f)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("figure: %w", err)
	}
	return all, nil
}
