//go:build linux && (amd64 || arm64)

package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"evergrant/chaos/rig"
	"evergrant/chaos/row"
)

func newHarness(t *testing.T, out *bytes.Buffer) *harness {
	t.Helper()
	return &harness{store: rig.Stores()[0], out: out, shown: map[string]bool{}, rows: filepath.Join(t.TempDir(), "rows"), rng: rand.New(rand.NewPCG(1, 2))}
}

// A red line is said when it is found, once, and enough of them end the run.
func TestRedAtOnce(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	h := newHarness(t, &out)
	ta := h.newTally("part", "name", "strict")
	ta.red("the grant is stuck")
	ta.red("the grant is lost")
	if got := strings.Count(out.String(), "chaos: RED  part, file, strict, name: the grant is stuck\n"); got != 1 || strings.Count(out.String(), "RED") != 2 {
		t.Errorf("said %q", out.String())
	}
	if err := h.enough(); err != nil {
		t.Error("two are enough")
	}
	for i := range enough {
		h.red(ta.Row, fmt.Sprint(i))
	}
	if err := h.close(ta); !errors.Is(err, errEnough) {
		t.Errorf("got %v", err)
	}
	if rows, err := os.ReadFile(h.rows); err != nil || !strings.Contains(string(rows), "the grant is stuck") {
		t.Errorf("the rows are %q, %v", rows, err)
	}
	if h.judge(7) != 1 || !strings.Contains(out.String(), "  RED  part, file, strict, name: the grant is lost\n") {
		t.Errorf("judged green: %q", out.String())
	}
}

// A try that met no fault is no trial, and yet its loss has no excuse.
func TestUnmetIsJudged(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	ta := newHarness(t, &out).newTally("part", "name", "strict")
	ta.add(rig.Verdict{By: rig.ByItself, Refreshes: 3}, true, row.Unheard)
	ta.add(rig.Verdict{By: rig.ByItself, Refreshes: 3}, false, row.Unheard)
	if ta.Trials != 1 || ta.Faults != 1 || ta.Discarded != 1 || ta.Refreshes != 3 || ta.RecoveredBy[rig.ByItself] != 1 || out.Len() > 0 {
		t.Errorf("got %+v, said %q", ta.Row, out.String())
	}
	ta.add(rig.Verdict{Lost: true, P1: 2, Broken: "a promise"}, false, row.Unheard)
	want := []string{"1 lost: no fault was met", "2 presentations that P1 does not allow", "a promise"}
	for _, w := range want {
		if !strings.Contains(out.String(), w) {
			t.Errorf("said %q, not %q", out.String(), w)
		}
	}
}

// A cancelled run must have saved and ended before SIGKILL, or else have printed
// a rescue block by then.
func TestCancelledRunIsJudged(t *testing.T) {
	t.Parallel()
	const s = time.Second
	late, broken := cancelled{over: true}, cancelled{over: true, broken: true}
	for name, c := range map[string]struct {
		kind cancelled
		end  cancellationEnd
		want string // "": green
	}{
		"ended before it":        {cancelled{}, cancellationEnd{}, ""},
		"saved after SIGINT":     {cancelled{}, cancellationEnd{last: syscall.SIGINT, toEnd: 2 * s}, ""},
		"killed":                 {cancelled{}, cancellationEnd{last: syscall.SIGKILL, toEnd: 10 * s}, "still running at SIGKILL"},
		"saved after SIGTERM":    {late, cancellationEnd{last: syscall.SIGTERM, toEnd: 8 * s}, ""},
		"not crossed":            {late, cancellationEnd{last: syscall.SIGINT, toEnd: 8 * s}, "should have come after SIGTERM"},
		"killed when late":       {late, cancellationEnd{last: syscall.SIGKILL, toEnd: 10 * s}, "still running at SIGKILL"},
		"block, killed":          {broken, cancellationEnd{last: syscall.SIGKILL, toBlock: 9 * s, Result: rig.Result{Code: -1}}, ""},
		"block, ended by itself": {broken, cancellationEnd{last: syscall.SIGTERM, toBlock: 9 * s, Result: rig.Result{Code: exitUnsaved}}, ""},
		"block, wrong code":      {broken, cancellationEnd{last: syscall.SIGTERM, toBlock: 9 * s}, "want exit 7"},
		"no block":               {broken, cancellationEnd{last: syscall.SIGKILL}, "no rescue block"},
		"block too late":         {broken, cancellationEnd{last: syscall.SIGKILL, toBlock: 10 * s}, "with SIGKILL or later"},
		"block too early":        {broken, cancellationEnd{last: syscall.SIGKILL, toBlock: 7 * s}, "should have come after SIGTERM"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			row := &cancelling{tally: newHarness(t, &out).newTally("signals", "x", "strict"), last: map[string]int{}}
			row.judge(c.kind, nil, c.end)
			if c.want == "" && out.Len() > 0 || !strings.Contains(out.String(), c.want) {
				t.Errorf("said %q, want %q", out.String(), c.want)
			}
			if row.toEnd != c.end.toEnd || row.toBlock != c.end.toBlock || len(row.last) != 1 {
				t.Errorf("noted %v %v %v", row.toEnd, row.toBlock, row.last)
			}
		})
	}
}

// An answer that is to come after SIGTERM does, and leaves time before SIGKILL.
func TestDrawnMoments(t *testing.T) {
	t.Parallel()
	h := newHarness(t, &bytes.Buffer{})
	for range 1000 {
		c := h.draw(cancelled{over: true})
		if after := c.answer - c.moment; after <= untilTerm || after > untilTerm+untilKill-time.Second {
			t.Fatalf("the answer comes %v after SIGINT", after)
		}
		if c := h.draw(cancelled{}); c.moment >= c.answer || c.answer > slowest {
			t.Fatalf("SIGINT after %v, the answer after %v", c.moment, c.answer)
		}
	}
}

// A study without one of the points that matter is red, and so is a call between
// the reply and the spill that nobody expects there.
func TestStudyIsJudged(t *testing.T) {
	t.Parallel()
	for _, store := range rig.Stores() {
		h := &harness{store: store}
		k := &killer{harness: h, part: "kill points", points: needed(store)}
		if v := k.studied().Violations(); len(v) > 0 {
			t.Errorf("%s: a whole study is red: %q", store.Name, v)
		}
		for i, p := range needed(store) {
			k := &killer{harness: h, part: "kill points", points: slices.Delete(needed(store), i, i+1)}
			if v := k.studied().Violations(); len(v) != 1 || !strings.Contains(v[0], "does without "+p.String()) {
				t.Errorf("%s, without %v: %q", store.Name, p, v)
			}
		}
		k.strange = []point{{stepSpill, "output", opensW}}
		if v := k.studied().Violations(); len(v) != 1 || !strings.Contains(v[0], "spill: create output") {
			t.Errorf("%s, a detour: %q", store.Name, v)
		}
	}
}
