//go:build linux

package main

import (
	"testing"
	"time"

	"evergrant/chaos/network/box"
	"evergrant/chaos/row"
	"evergrant/internal/grant"
	"evergrant/internal/simulator"
)

// TestPresentationsBeyondP1AreFound presents tokens to a real simulator as the program
// must not, and must.
func TestPresentationsBeyondP1AreFound(t *testing.T) {
	t.Parallel()
	strict, graced := providers()[0], providers()[1]
	for _, c := range []struct {
		name     string
		provider provider
		pauses   []time.Duration // before each presentation of one token
		want     int
	}{
		{"once", strict, []time.Duration{0}, 0},
		{"again at once", strict, []time.Duration{0, time.Millisecond}, 1},
		{"again after the quiet time", strict, []time.Duration{0, quiet}, 0},
		{"a third time, too early", strict, []time.Duration{0, quiet, quiet / 2}, 1},
		{"a third time, after the doubled quiet time", strict, []time.Duration{0, quiet, quiet}, 0},
		{"again inside the grace", graced, []time.Duration{0, time.Millisecond, time.Millisecond}, 0},
		{"again after the grace", graced, []time.Duration{0, graceLong + time.Second}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			begun := time.Now()
			now := begun
			model, err := simulator.New(simulator.Config{Rules: c.provider.rules, Now: func() time.Time { return now }})
			if err != nil {
				t.Fatal(err)
			}
			defer model.Close()
			first, err := model.IssueFamily(simulator.DefaultClient)
			if err != nil {
				t.Fatal(err)
			}
			s := &scene{server: model, family: first.Family}
			if s.front, err = newFront(model.Handler(), nil); err != nil {
				t.Fatal(err)
			}
			defer s.front.close()
			for _, pause := range c.pauses {
				now = now.Add(pause)
				present(t, s, first.Refresh)
			}
			if got := s.excess(c.provider, begun); got != c.want {
				t.Errorf("%d presentations are too many, want %d", got, c.want)
			}
		})
	}
}

func present(t *testing.T, s *scene, token grant.Secret) {
	t.Helper()
	if _, err := s.present(token); err != nil {
		t.Fatal(err)
	}
}

func TestReasonsOfALoss(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		fault   fault
		spilled int
		want    string
		excused bool
	}{
		{"the reply was lost", fault{acts: true}, 0, row.Unheard, true},
		{"the reply lies on the disk", fault{acts: true}, 1, row.Written, false},
		{"the reply got through", fault{acts: true, whole: true}, 0, "the whole reply had reached the process", false},
		{"nothing was acted on", fault{}, 0, "the provider had never acted", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := (&scene{}).whyLost(c.fault, c.spilled)
			if got != c.want || row.Excused(got) != c.excused {
				t.Errorf("got %q, excused: %v", got, row.Excused(got))
			}
		})
	}
}

// TestFaultsAreWhole: each fault has a name of its own, and words for each of
// its failures.
func TestFaultsAreWhole(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, f := range faults() {
		if names[f.name] || f.inflict == nil || len(f.codes) == 0 || f.codes[0] != 0 && len(f.says) == 0 || f.whole && !f.acts {
			t.Errorf("%q is incomplete or there twice", f.name)
		}
		names[f.name] = true
	}
	if len(names) < 30 {
		t.Errorf("only %d faults", len(names))
	}
}

func TestCutsFallWhereTheyShould(t *testing.T) {
	t.Parallel()
	tokens := &box.Tokens{}
	s := &scene{tokens: tokens}
	var err error
	if s.server, err = simulator.New(simulator.Config{NewToken: s.newToken}); err != nil {
		t.Fatal(err)
	}
	defer s.server.Close()
	if s.front, err = newFront(s.server.Handler(), nil); err != nil {
		t.Fatal(err)
	}
	defer s.front.close()
	m, err := s.measure()
	if err != nil {
		t.Fatal(err)
	}
	if !(0 < m.body && m.body < m.refresh-30 && m.refresh+12 < m.refreshEnd && m.refreshEnd+2 < m.end) {
		t.Errorf("the landmarks are out of order: %+v", m)
	}
}
