// Package row is what every part of the chaos harness writes: one line of JSON
// for each thing tried, from which the report is made and by which a run is
// judged.
package row

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// Row is the outcome of one kind of fault, over all its trials.
type Row struct {
	Part     string // which table it belongs to: "kill points", "signals", "network", …
	Name     string // what was done
	Store    string // kind of store: "file", "git path", …; all are sealed
	Provider string // "strict", "grace 10m", "hydra 2.3", …

	Trials    int // times that it was tried
	Refreshes int // answers with tokens that the provider gave
	Faults    int // trials in which the fault was met
	Losses    int // grants that needed a new consent
	// Discarded are tries in which the fault was not met, by the provider's
	// ledger; they were judged all the same, and repeated. They are no trials.
	Discarded int `json:",omitempty"`
	// Texts are what a row searched that tries nothing: it has no trials.
	Texts int `json:",omitempty"`
	// MayMiss: not every run passes there, so that a row whose fault was never
	// met breaks no promise. The report lists it.
	MayMiss bool `json:",omitempty"`

	// LossReasons counts the losses by reason: one of the reasons of this
	// package, or another, which is then a broken promise.
	LossReasons map[string]int `json:",omitempty"`
	// RecoveredBy counts the grants that lived on by who brought them back:
	// "the same run", "the next run at once", "the spill", "the quiet time", …
	RecoveredBy map[string]int `json:",omitempty"`

	Note string `json:",omitempty"` // one sentence for the reader

	P1Violations int // presentations that promise P1 does not allow
	Leaks        int // places in which a token was found that may not hold one
	// Broken are promises that did not hold and that no other field counts, one
	// sentence each: a grant that is stuck, a rescue block that came too late.
	Broken []string `json:",omitempty"`
}

// Title names a row for people.
func (r Row) Title() string {
	return strings.Join([]string{r.Part, r.Store, r.Provider, r.Name}, ", ")
}

// Reasons of a loss that no program can prevent at a provider that forgives
// nothing (protocol: "What is not").
const (
	// Unheard: the provider acted, and its reply never reached the process.
	Unheard = "the reply never reached the process"
	// Unwritten: the process was killed between the reply and the end of its
	// first local write.
	Unwritten = "reply read, killed before the first local write"
	// Foreign: a program that is not evergrant presented the grant's token; the
	// harness did so itself.
	Foreign = "another program spent the token"
)

// Written is the reason that must never be given: the reply was on a disk that
// is still there.
const Written = "THE REPLY WAS WRITTEN"

// Excused reports whether a loss for that reason breaks no promise.
func Excused(reason string) bool {
	return reason == Unheard || reason == Unwritten || reason == Foreign
}

// Add counts one in a map of a Row, and makes the map if there is none.
func Add(counts *map[string]int, key string) {
	if *counts == nil {
		*counts = map[string]int{}
	}
	(*counts)[key]++
}

// Violations lists the promises that did not hold, one sentence each.
func (r Row) Violations() []string {
	var v []string
	for _, reason := range slices.Sorted(maps.Keys(r.LossReasons)) {
		if n := r.LossReasons[reason]; n > 0 && !Excused(reason) {
			v = append(v, fmt.Sprintf("%d lost: %s", n, reason))
		}
	}
	switch {
	case r.Trials == 0 && r.Texts == 0:
		v = append(v, "nothing was tried")
	case r.Missed() && !r.MayMiss:
		v = append(v, fmt.Sprintf("the fault was never met in %d trials", r.Trials))
	}
	known := 0
	for _, n := range r.LossReasons {
		known += n
	}
	if known != r.Losses {
		v = append(v, fmt.Sprintf("%d losses, and reasons for %d", r.Losses, known))
	}
	if r.P1Violations > 0 {
		v = append(v, fmt.Sprintf("%d presentations that P1 does not allow", r.P1Violations))
	}
	if r.Leaks > 0 {
		v = append(v, fmt.Sprintf("%d leaks", r.Leaks))
	}
	return append(v, r.Broken...)
}

// Missed reports whether the fault of a row was never met.
func (r Row) Missed() bool { return r.Texts == 0 && r.Faults == 0 }

// Append writes rows to the end of a file of JSON lines, which it makes if
// there is none. Whole lines only: several programs may write one file in turn.
func Append(path string, rows ...Row) error {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	for _, r := range rows {
		if err := enc.Encode(r); err != nil {
			return fmt.Errorf("row: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("row: %w", err)
	}
	_, err = f.WriteString(b.String())
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("row: %w", err)
	}
	return nil
}

// Read returns the rows of JSON lines. A line that is no Row is an error that
// names it: a report must not leave anything out.
func Read(from io.Reader) ([]Row, error) {
	var rows []Row
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		var r Row
		dec := json.NewDecoder(strings.NewReader(lines.Text()))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&r); err != nil {
			return nil, fmt.Errorf("row: line %d: %w", n, err)
		}
		if r.Part == "" || r.Name == "" {
			return nil, fmt.Errorf("row: line %d names neither part nor fault", n)
		}
		rows = append(rows, r)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("row: %w", err)
	}
	return rows, nil
}
