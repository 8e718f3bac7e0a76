//go:build linux

package main

import (
	"strings"
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
		{"a third time, after the quiet time of the second", strict, []time.Duration{0, quiet, quiet}, 1},
		{"a third time, after the doubled quiet time", strict, []time.Duration{0, quiet, 2 * quiet}, 0},
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
			if got := s.excess(c.provider, begun, false); got != c.want {
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
		name         string
		whole, acted bool
		spilled      int
		want         string
		excused      bool
	}{
		{"the reply was lost", false, true, 0, row.Unheard, true},
		{"the reply lies on the disk", false, true, 1, row.Written, false},
		{"the reply got through", true, true, 0, "the whole reply had reached the process", false},
		{"nothing was acted on", false, false, 0, "the provider had never acted", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := whyLost(c.whole, c.acted, c.spilled)
			if got != c.want || row.Excused(got) != c.excused {
				t.Errorf("got %q, excused: %v", got, row.Excused(got))
			}
		})
	}
}

// TestUnmetIsSeen: each kind of evidence that is missing is named.
func TestUnmetIsSeen(t *testing.T) {
	t.Parallel()
	at := shape{body: 100, refresh: 200, refreshEnd: 300, end: 400}
	of := func(name string) fault {
		for _, f := range faults() {
			if f.name == name {
				return f
			}
		}
		t.Fatalf("there is no fault %q", name)
		return fault{}
	}
	answered := evidence{asked: 1, answered: 1, took: time.Hour}
	for _, c := range []struct {
		fault string
		e     evidence
		want  string // "": met
	}{
		{"connection refused", evidence{refused: true}, ""},
		{"connection refused", evidence{}, "could connect"},
		{"connection refused", evidence{refused: true, seen: counts{connections: 1}}, "1 connections came"},
		{"request swallowed, connection left open", evidence{seen: counts{connections: 1}, took: requestTimeout}, ""},
		{"request swallowed, connection left open", evidence{took: requestTimeout}, "no connection came"},
		{"request swallowed, connection left open", evidence{seen: counts{connections: 1}, took: requestTimeout / 2}, "took 500ms"},
		{"request swallowed, connection left open", evidence{seen: counts{connections: 1}, took: requestTimeout, asked: 1}, "ledger shows 1 requests"},
		{"reply cut in its headers", evidence{asked: 1, answered: 1, passed: 50}, ""},
		{"reply cut in its headers", evidence{asked: 1, answered: 1, passed: 400}, "400 bytes of 1 replies reached the process, not 50"},
		{"reply cut in its headers", evidence{passed: 50}, "ledger shows no answer"},
		{"reply at 1 KB/s", answered, ""},
		{"reply at 1 KB/s", evidence{asked: 1, answered: 1, took: 100 * time.Millisecond}, "the run took"},
		{"HTTPS: certificate has expired", evidence{seen: counts{connections: 1, hellos: 1}}, ""},
		{"HTTPS: certificate has expired", evidence{seen: counts{connections: 1}}, "no TLS handshake"},
		{"server answers binary", evidence{seen: counts{connections: 1, speeches: 1}}, ""},
		{"server answers binary", evidence{seen: counts{connections: 1}}, "not asked for its nonsense"},
	} {
		if got := of(c.fault).unmet(c.e, at); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s, %+v: got %q, want %q", c.fault, c.e, got, c.want)
		}
	}
}

// TestDiscardedTriesCount: what a try did that did not meet its fault is in the
// row, and only a run that presented nothing may be such a try.
func TestDiscardedTriesCount(t *testing.T) {
	t.Parallel()
	var r row.Row
	enter(&r, []verdict{{unmet: "slow", leaks: 1, broken: []string{"stuck"}}, {unmet: "slow", lost: row.Unheard}, {by: bySame, refreshes: 2}})
	if r.Trials != 1 || r.Discarded != 2 || r.Faults != 1 || r.Leaks != 1 || r.Losses != 1 || len(r.Broken) != 2 || r.RecoveredBy[bySame] != 1 {
		t.Errorf("got %+v", r)
	}
	s, f := &scene{}, fault{codes: []int{4}, says: []string{saysDoubt}, acts: true}
	for asked, want := range map[int]bool{0: true, 1: false} {
		var v verdict
		s.judge(f, box.Result{Code: 5, Line: saysLate + " 500ms"}, evidence{asked: asked}, &v)
		if (v.unmet != "") != want || (len(v.broken) == 0) != want {
			t.Errorf("%d presentations: %+v", asked, v)
		}
	}
}

func TestToxiproxysCountIsRead(t *testing.T) {
	t.Parallel()
	const text = "# TYPE toxiproxy_proxy_sent_bytes_total counter\n" +
		`toxiproxy_proxy_sent_bytes_total{direction="downstream",listener="127.0.0.1:1",proxy="other",upstream="127.0.0.1:2"} 9` + "\n" +
		`toxiproxy_proxy_sent_bytes_total{direction="upstream",listener="127.0.0.1:1",proxy="provider",upstream="127.0.0.1:2"} 79` + "\n" +
		`toxiproxy_proxy_sent_bytes_total{direction="downstream",listener="127.0.0.1:1",proxy="provider",upstream="127.0.0.1:2"} 57` + "\n"
	if n, err := passedIn(text, "provider"); n != 57 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	if _, err := passedIn(strings.ReplaceAll(text, "57", "many"), "provider"); err == nil {
		t.Error("a strange count went unnoticed")
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
