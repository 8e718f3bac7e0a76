package sim_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"evergrant/internal/grant"
)

var (
	seeds    = flag.Int("seeds", 200, "seeds per profile")
	oneSeed  = flag.Int("seed", -1, "replay this seed of the profile named by -run, with its story")
	survival = flag.String("survival", "", "write the survival table to this file")
)

// brutal is far above life: about one refresh in twenty is hit by something
// that can cost a strict provider's grant.
var brutal = faults{
	crash: 0.004, pause: 0.002, latePause: 0.002, cancel: 0.05,
	connect: 0.03, lostRequest: 0.02, lostReply: 0.012, slow: 0.003, garbled: 0.005, busy: 0.03, nope: 0.01,
	storeLost: 0.03, storeUnknown: 0.03, storeLate: 0.02, storeDown: 0.03, spillFails: 0.01, outage: 0.3,
}

var (
	fatal    = grant.Behaviour{Rotates: true}
	revoking = grant.Behaviour{Rotates: true, RevokesAccess: true}
	safe     = grant.Behaviour{Rotates: true, Reuse: grant.ReuseSafe}
)

func graceOf(d time.Duration, s grant.Sibling, revokes bool) grant.Behaviour {
	return grant.Behaviour{Rotates: true, Reuse: grant.ReuseGrace, Grace: d, Sibling: s, RevokesAccess: revokes}
}

// expect is the least share of grants, in thousandths, that live; the fatal
// and grace figures are those of the protocol's last section.
type expectation struct {
	profile
	least int
}

func profiles() []expectation {
	storeOnly := faults{storeLost: 0.1, storeUnknown: 0.1, storeLate: 0.05, storeDown: 0.1, outage: 0.5}
	incidents := faults{connect: 0.1, lostRequest: 0.1, busy: 0.1, nope: 0.05, outage: 0.5}
	return []expectation{
		{profile{name: "no faults", b: fatal, machines: 3}, 1000},
		{profile{name: "no faults, one host", b: fatal, machines: 1, sameHost: true}, 1000},
		{profile{name: "a crowd, no faults", b: fatal, machines: 3, crowd: true}, 1000},
		{profile{name: "a crowd in a grace, no faults", b: graceOf(10*time.Minute, grant.SiblingValid, false), machines: 1, sameHost: true, crowd: true}, 1000},
		{profile{name: "a crowd, store faults", b: fatal, machines: 3, crowd: true, f: storeOnly}, 1000},
		{profile{name: "store faults", b: fatal, machines: 3, f: storeOnly}, 1000},
		{profile{name: "provider incidents", b: fatal, machines: 3, f: incidents}, 1000},
		{profile{name: "safe, all faults", b: safe, machines: 3, f: brutal}, 1000},
		{profile{name: "fatal, all faults", b: fatal, machines: 3, f: brutal}, 758},
		{profile{name: "fatal, one host", b: fatal, machines: 1, sameHost: true, f: brutal}, 758},
		{profile{name: "fatal, revoking", b: revoking, machines: 3, f: brutal}, 758},
		{profile{name: "grace 10 min, same", b: graceOf(10*time.Minute, grant.SiblingSame, false), machines: 3, f: brutal}, 996},
		{profile{name: "grace 10 min, valid", b: graceOf(10*time.Minute, grant.SiblingValid, false), machines: 3, f: brutal}, 996},
		{profile{name: "grace 10 min, replaces", b: graceOf(10*time.Minute, grant.SiblingReplaces, false), machines: 3, f: brutal}, 996},
		{profile{name: "grace 30 min, revoking", b: graceOf(30*time.Minute, grant.SiblingValid, true), machines: 3, f: brutal}, 1000},
		{profile{name: "grace 60 s, one host", b: graceOf(time.Minute, grant.SiblingSame, false), machines: 1, sameHost: true, f: brutal}, 758},
		{profile{name: "logins", b: fatal, machines: 3, f: brutal, logins: true}, 0},
		{profile{name: "foreign spender", b: fatal, machines: 3, f: brutal, foreign: true}, 0},
		{profile{name: "a clock a day off", b: fatal, machines: 3, f: brutal, clockOff: true}, 0},
		{profile{name: "logout", b: fatal, machines: 3, f: brutal, retires: true}, 0},
	}
}

// stats are counted over all seeds.
type stats struct {
	mu      sync.Mutex
	n       map[string]map[string]int
	verbose func(string, ...any)
}

func (s *stats) count(group, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n[group] == nil {
		s.n[group] = map[string]int{}
	}
	s.n[group][name]++
}

// mustReach are the rows, fates and faults without which a green run proves
// nothing. Faults that one profile cannot reach are reached by another.
var mustReach = map[string][]string{
	"row": {"1 retired", "2 newer", "2 life", "2a revoking", "3 needs consent", "4 lease", "4 clock fault", "5 raw",
		"6 grace now", "6 grace later", "6 doubt now", "6 doubt later", "7 take"},
	"fate": {"in doubt", "unspent", "refused", "rejected"},
	"fault": {"crash", "pause", "pause after the window check", "cancellation", "connect fails", "request lost", "reply lost",
		"slow server", "reply garbled", "busy", "refused", "swap request lost", "swap outcome unknown", "swap lands late",
		"store load fails", "spill fails", "store outage", "provider outage", "login over a living grant", "foreign spender"},
	"other": {"rescue block"},
}

// TestSurvival runs every profile over many seeds. Each world checks its own
// invariants; the test adds the survival figures and what was reached.
func TestSurvival(t *testing.T) {
	st := &stats{n: map[string]map[string]int{}}
	var mu sync.Mutex
	rows := map[string]string{}
	t.Run("profiles", func(t *testing.T) {
		for _, x := range profiles() {
			t.Run(strings.ReplaceAll(x.name, " ", "_"), func(t *testing.T) {
				t.Parallel()
				row := runProfile(t, x, st)
				mu.Lock()
				defer mu.Unlock()
				rows[x.name] = row
			})
		}
	})
	var b strings.Builder
	for _, x := range profiles() {
		if rows[x.name] != "" {
			fmt.Fprintln(&b, rows[x.name])
		}
	}
	for _, group := range slices.Sorted(maps.Keys(st.n)) {
		for _, name := range slices.Sorted(maps.Keys(st.n[group])) {
			fmt.Fprintf(&b, "%-8s %-32s %8d\n", group, name, st.n[group][name])
		}
	}
	t.Log("\n" + b.String())
	if *survival != "" {
		if err := os.WriteFile(*survival, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if len(rows) < len(profiles()) || *oneSeed >= 0 || *seeds < 100 {
		return // a part of the whole reaches only a part
	}
	for group, names := range mustReach {
		for _, name := range names {
			if n := st.n[group][name]; n < 20 {
				t.Errorf("%s %q was reached %d times: a run that does not reach it proves nothing about it", group, name, n)
			}
		}
	}
}

func runProfile(t *testing.T, x expectation, st *stats) string {
	alive, causes, n := 0, map[string]int{}, *seeds
	first := 0
	if *oneSeed >= 0 {
		first, n = *oneSeed, 1
		st.verbose = t.Logf
	}
	for seed := first; seed < first+n; seed++ {
		ok, cause, bad, _ := runSeed(t, x.profile, uint64(seed), st)
		for _, line := range bad {
			t.Errorf("seed %d: %s", seed, line)
		}
		switch {
		case ok:
			alive++
		case cause == "":
			t.Errorf("seed %d: the grant died and nothing explains it", seed)
		default:
			causes[cause]++
		}
		if t.Failed() {
			t.Logf("replay with: go test ./internal/sim -run 'TestSurvival/profiles/%s$' -seed %d -v", strings.ReplaceAll(x.name, " ", "_"), seed)
			break
		}
	}
	if mayDie := (n*(1000-x.least) + 999) / 1000; n-alive > mayDie && !t.Failed() {
		t.Errorf("%d of %d grants died, at most %d may", n-alive, n, mayDie)
	}
	row := fmt.Sprintf("%-24s alive %5d / dead %4d of %5d", x.name, alive, n-alive, n)
	for _, c := range slices.Sorted(maps.Keys(causes)) {
		row += fmt.Sprintf("; %s %d", c, causes[c])
	}
	return row
}

// runSeed runs one world and returns whether the grant lives, why not, what
// was violated, and a digest of everything that happened.
func runSeed(t *testing.T, p profile, seed uint64, st *stats) (alive bool, cause string, bad []string, trace uint64) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(p, seed, st)
		alive = w.run()
		if !alive {
			cause = w.cause()
		}
		bad, trace = w.bad, w.trace
	})
	return alive, cause, bad, trace
}

// TestReplay: a seed is a story that can be told again.
func TestReplay(t *testing.T) {
	t.Parallel()
	p := profile{name: "replay", b: fatal, machines: 3, f: brutal, crowd: true}
	for seed := range uint64(20) {
		st := &stats{n: map[string]map[string]int{}}
		_, _, _, a := runSeed(t, p, seed, st)
		_, _, _, b := runSeed(t, p, seed, st)
		if a != b {
			t.Errorf("seed %d told two stories", seed)
		}
	}
}
