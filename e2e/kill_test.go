//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/simulator"
)

const (
	randomKills = 200
	aimedKills  = 60
	aimedWithin = 4 * time.Millisecond // after the reply, for the aimed ones
)

// TestKill kills the real binary with SIGKILL at random moments, against a
// provider that revokes the family when a spent token comes back. Whatever was
// on the disk when it died must be enough. Then it aims at the moments after
// the reply's arrival, where the only copy is in memory, to find how long that
// lasts.
func TestKill(t *testing.T) {
	seed := rand.Uint64()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("random seed %d", seed)
		}
	})
	s := newStrict(t)
	k := &killer{strict: s, rng: rand.New(rand.NewPCG(seed, 0))}
	k.newGrant(t)
	memory := k.measureWindow(t)

	started := time.Now()
	rounds := 0
	for ; k.tally.kills() < randomKills; rounds++ {
		if rounds == 5*randomKills {
			t.Fatalf("of %d calls only %d could be killed before they ended", rounds, k.tally.kills())
		}
		k.round(t, time.Duration(k.rng.Int64N(int64(k.typical()))), false)
	}
	part("%-19s %d at random moments of %d calls of about %.0f ms: %v (%.0f s)", "kill -9", randomKills,
		rounds, millis(k.typical()), k.tally, time.Since(started).Seconds())
	if k.tally.before == 0 || k.tally.saved+k.tally.spilled == 0 {
		t.Fatal("the kills did not reach both ends of the call: this shows nothing")
	}

	random := k.tally
	k.tally = tally{}
	for range aimedKills {
		k.round(t, time.Duration(k.rng.Int64N(int64(aimedWithin))), true)
	}
	part("%-19s %d calls within %v of the reply's arrival: %v", "kill -9, aimed", aimedKills, aimedWithin, k.tally)
	part("%-19s reply whole to spill durable, undisturbed: %v; by kills: lost up to %.2f ms after the reply, on the disk from %.2f ms on",
		"window", memory, millis(max(random.oldestLoss, k.tally.oldestLoss)), millis(k.tally.safeFrom()))
	if k.tally.saved+k.tally.spilled == 0 {
		t.Fatal("no kill soon after the reply found the token on the disk")
	}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// strict is a provider that forgives nothing, behind a relay.
type strict struct {
	provider *simulator.Server
	between  *relay
}

func newStrict(t *testing.T) *strict {
	t.Helper()
	p, err := simulator.New(simulator.Config{})
	must(t, err)
	url, err := p.Start("")
	must(t, err)
	t.Cleanup(func() { _ = p.Close() })
	return &strict{provider: p, between: newRelay(t, url)}
}

// consent puts a new family's refresh token into a box as its start.
func (s *strict) consent(t *testing.T, b *box) (family string) {
	t.Helper()
	first, err := s.provider.IssueFamily(simulator.DefaultClient)
	must(t, err)
	b.unset("EVERGRANT_REFRESH_TOKEN")
	b.seeded(first.Refresh.Reveal())
	return s.provider.FamilyOf(first.Refresh.Digest())
}

func (s *strict) box(t *testing.T) *box {
	return newBox(t).at(s.between.url+"/token", client{id: simulator.DefaultClient})
}

// standing is the ledger's word on a family: how often its tokens were
// presented, and whether it lives.
func (s *strict) standing(t *testing.T, family string) (simulator.Standing, int) {
	t.Helper()
	l := s.provider.Ledger()
	f, ok := l.Family(family)
	if !ok {
		t.Fatal("the ledger does not know the family")
	}
	n := 0
	for _, p := range l.Presentations {
		if p.Family == family {
			n++
		}
	}
	return f, n
}

// killer is one store, and the grant in it that is at stake.
type killer struct {
	*strict
	rng    *rand.Rand
	b      *box
	grants int
	name   string
	family string
	tally  tally
	took   []time.Duration // latest undisturbed calls
}

// tally counts in which state the kills found the token.
type tally struct {
	finished int // the process was done
	before   int // nothing had been presented
	saved    int // presented and in the store
	spilled  int // presented and in a spill
	unheard  int // lost: the reply had not reached the process
	unsaved  int // lost: it had, and no record was on the disk yet
	torn     int // of these, the file of the spill was there, and not whole

	oldestLoss time.Duration   // greatest age of a reply that was lost unsaved
	kept       []time.Duration // ages of the replies that were not
}

// kills is how many processes did not end by themselves.
func (y tally) kills() int { return y.before + y.saved + y.spilled + y.unheard + y.unsaved }

func (y tally) String() string {
	return fmt.Sprintf("%d killed before sending, %d with the token in the store, %d in a spill; lost: %d whose reply never came, %d not yet written (%d of them killed inside the write)",
		y.before, y.saved, y.spilled, y.unheard, y.unsaved, y.torn)
}

// safeFrom is the age from which on no reply was lost.
func (y tally) safeFrom() time.Duration {
	older := slices.DeleteFunc(slices.Clone(y.kept), func(d time.Duration) bool { return d < y.oldestLoss })
	if len(older) == 0 {
		return y.oldestLoss
	}
	return slices.Min(older)
}

// newGrant starts over with a new consent and a new name, and refreshes once.
func (k *killer) newGrant(t *testing.T) {
	t.Helper()
	if k.b == nil {
		k.b = k.box(t)
	}
	k.grants++
	k.name = fmt.Sprintf("kill/%d", k.grants)
	k.family = k.consent(t, k.b)
	k.refresh(t)
	k.b.unset("EVERGRANT_REFRESH_TOKEN")
}

// refresh is one undisturbed call.
func (k *killer) refresh(t *testing.T) delivery {
	t.Helper()
	start := time.Now()
	d := k.b.deliver(t, "--force", "--wait", "30s", k.name)
	k.took = append(k.took, time.Since(start))
	return d
}

// typical is the median of the latest undisturbed calls: the machine's pace
// changes.
func (k *killer) typical() time.Duration {
	return median(k.took[max(0, len(k.took)-9):])
}

// status is what evergrant status says of the grant. The store must open.
func (k *killer) status(t *testing.T) (generation uint64, unsaved int) {
	t.Helper()
	r := k.b.run(t, "status", "--json", k.name)
	var s struct {
		Generation uint64
		Unsaved    int
	}
	if err := json.Unmarshal([]byte(r.stdout), &s); err != nil || r.code != 0 {
		t.Fatalf("after a kill the store does not open: %v\n%v", err, r)
	}
	return s.Generation, s.Unsaved
}

// round kills one call, after a delay from its start or from the reply's
// arrival, and recovers.
func (k *killer) round(t *testing.T, delay time.Duration, aimed bool) {
	t.Helper()
	generation, _ := k.status(t)
	_, presented := k.standing(t, k.family)
	answers := k.between.count()
	known := k.torn(t)

	killedAt, exited := k.strike(t, delay, aimed)
	k.between.settle(t)
	passedAt, passed := k.between.passed(answers)
	age := killedAt.Sub(passedAt)

	now, unsaved := k.status(t)
	if now < generation {
		t.Fatalf("after a kill the generation fell from %d to %d", generation, now)
	}
	_, presentedNow := k.standing(t, k.family)
	lost := false
	switch {
	case exited:
		k.tally.finished++
	case presentedNow == presented:
		k.tally.before++
	case now > generation:
		k.tally.saved++
		k.tally.kept = append(k.tally.kept, age)
	case unsaved > 0:
		k.tally.spilled++
		k.tally.kept = append(k.tally.kept, age)
	default:
		lost = true
		if passed && age > 0 {
			k.tally.unsaved++
			for name := range k.torn(t) {
				if !known[name] {
					k.tally.torn++
				}
			}
			k.tally.oldestLoss = max(k.tally.oldestLoss, age)
		} else {
			k.tally.unheard++
		}
	}
	k.recover(t, lost)
}

// torn lists the spills whose writing did not come to its end.
func (k *killer) torn(t *testing.T) map[string]bool {
	t.Helper()
	files := map[string]bool{}
	must(t, filepath.WalkDir(filepath.Join(k.b.stateDir(), "evergrant", "spill"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if !json.Valid(content) {
			files[path] = true
		}
		return err
	}))
	return files
}

// strike starts a refresh and kills it. exited reports that it was done first.
func (k *killer) strike(t *testing.T, delay time.Duration, aimed bool) (at time.Time, exited bool) {
	t.Helper()
	cmd := k.b.command(t.Context(), "refresh", "--force", k.name)
	arrived := make(chan time.Time, 1)
	if aimed {
		k.between.notify(func(at time.Time) { arrived <- at })
		defer k.between.notify(nil)
	}
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if aimed {
		select {
		case at := <-arrived:
			delay -= time.Since(at)
		case err := <-ended:
			t.Fatalf("the call ended before its reply arrived: %v", err)
		}
	}
	strike := time.NewTimer(delay)
	defer strike.Stop()
	select {
	case err := <-ended:
		must(t, err)
		return time.Now(), true
	case <-strike.C:
	}
	at = time.Now()
	_ = cmd.Process.Kill() // it may have ended by itself just now
	<-ended
	return at, cmd.ProcessState.Exited()
}

// recover refreshes after a kill. A token that was on the disk, or was never
// presented, must do; a lost one costs a new consent and nothing else.
func (k *killer) recover(t *testing.T, lost bool) {
	t.Helper()
	if lost {
		k.b.fails(t, 3, "--force", "--wait", "30s", k.name)
		if f, _ := k.standing(t, k.family); f.Alive || f.Ended != simulator.ReasonReused {
			t.Fatalf("exit 3, and the ledger says alive %v, ended %q", f.Alive, f.Ended)
		}
		k.newGrant(t)
		return
	}
	d := k.refresh(t)
	if d.Action == "served" { // a spilled record was put back, and is newer than asked for
		d = k.refresh(t)
	}
	f, _ := k.standing(t, k.family)
	if !f.Alive || !k.provider.AccessValid(grant.NewSecret(d.token)) {
		t.Fatalf("recovered, and the ledger says alive %v, ended %q", f.Alive, f.Ended)
	}
	for g, n := range f.Refreshes {
		if n > 1 {
			t.Fatalf("the token of generation %d was answered %d times", g, n)
		}
	}
}
