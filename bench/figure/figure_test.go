package figure_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"evergrant/bench/figure"
)

func TestFiguresSurviveTheirLines(t *testing.T) {
	t.Parallel()
	want := figure.Of("scale", "load", "µs", []time.Duration{3 * time.Microsecond, time.Microsecond, 2 * time.Microsecond})
	if want.Median != 2 || want.N != 3 {
		t.Fatalf("got %+v, want a median of 2 in 3 values", want)
	}
	var text bytes.Buffer
	if err := figure.Write(&text, []figure.Figure{want, want}); err != nil {
		t.Fatal(err)
	}
	got, err := figure.Read(&text)
	if err != nil || len(got) != 2 || got[1] != want {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestLinesThatAreNoFigureAreRefused(t *testing.T) {
	t.Parallel()
	for name, line := range map[string]string{
		"no JSON":        "machine  x",
		"another member": `{"Group":"g","Name":"n","Unit":"ms","N":1,"Mean":3}`,
		"no unit":        `{"Group":"g","Name":"n","N":1}`,
		"no values":      `{"Group":"g","Name":"n","Unit":"ms"}`,
		"empty":          "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := figure.Read(strings.NewReader(line + "\n")); err == nil {
				t.Errorf("taken for %+v", got)
			}
		})
	}
}
