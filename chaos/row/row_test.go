package row_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"evergrant/chaos/row"
)

// Each promise that a row can break is named by its own sentence.
func TestViolations(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		row  row.Row
		want []string // a part of each sentence
	}{
		"nothing":            {row.Row{}, nil},
		"excused":            {row.Row{Losses: 2, LossReasons: map[string]int{row.Unheard: 1, row.Unwritten: 1}}, nil},
		"written":            {row.Row{Losses: 1, LossReasons: map[string]int{row.Written: 1}}, []string{"1 lost: " + row.Written}},
		"an outage":          {row.Row{Losses: 2, LossReasons: map[string]int{row.Unheard: 1, "store outage alone": 1}}, []string{"1 lost: store outage alone"}},
		"no reason":          {row.Row{Losses: 2, LossReasons: map[string]int{row.Unheard: 1}}, []string{"2 losses, and reasons for 1"}},
		"P1":                 {row.Row{P1Violations: 4}, []string{"4 presentations that P1"}},
		"leaks":              {row.Row{Leaks: 1}, []string{"1 leaks"}},
		"stuck, and a leak":  {row.Row{Leaks: 1, Broken: []string{"the grant is stuck"}}, []string{"1 leaks", "the grant is stuck"}},
		"a reason without a": {row.Row{LossReasons: map[string]int{row.Unheard: 1}}, []string{"0 losses, and reasons for 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.row.Trials, c.row.Faults = 3, 3
			got := c.row.Violations()
			if len(got) != len(c.want) {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			for i, want := range c.want {
				if !strings.Contains(got[i], want) {
					t.Errorf("got %q, want %q", got[i], want)
				}
			}
		})
	}
}

// A row whose fault met nobody shows nothing: it must not be green.
func TestUnmetIsRed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		row  row.Row
		want string // "": green
	}{
		"met":                  {row.Row{Trials: 3, Faults: 1}, ""},
		"never met":            {row.Row{Trials: 3}, "never met in 3 trials"},
		"discarded only":       {row.Row{Discarded: 4}, "nothing was tried"},
		"never tried":          {row.Row{}, "nothing was tried"},
		"a point off the way":  {row.Row{Trials: 6, MayMiss: true}, ""},
		"off the way, untried": {row.Row{MayMiss: true}, "nothing was tried"},
		"a search":             {row.Row{Texts: 9}, ""},
	} {
		got := strings.Join(c.row.Violations(), "; ")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestAppendAndRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "rows")
	want := []row.Row{
		{Part: "a", Name: "x", Trials: 1, Losses: 1, LossReasons: map[string]int{row.Unheard: 1}, Broken: []string{"one\ntwo"}},
		{Part: "b", Name: "y", RecoveredBy: map[string]int{"the spill": 2}},
	}
	for _, r := range want { // as two programs would
		if err := row.Append(path, r); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := row.Read(f)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// A line that cannot be read must not be left out of a report.
func TestReadRefuses(t *testing.T) {
	t.Parallel()
	const good = `{"Part":"a","Name":"x"}` + "\n"
	for name, text := range map[string]string{
		"no JSON": good + "{", "an unknown member": good + `{"Part":"a","Name":"x","Loses":1}`, "no name": good + `{"Part":"a"}`,
	} {
		if rows, err := row.Read(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%s: got %d rows, %v", name, len(rows), err)
		}
	}
}
