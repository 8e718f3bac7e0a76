package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"evergrant/internal/grant"
	"evergrant/internal/simulator"
	"evergrant/internal/spill"
	"evergrant/internal/store"
)

// jobs is how many want a token at the same moment.
const jobs = 10

// crowd: many jobs, one refresh.
func (d *demonstration) crowd(ctx context.Context) error {
	d.act(fmt.Sprintf("%d jobs want a token at the same moment", jobs))
	if err := d.srv.SetFaults(simulator.Fault{Kind: simulator.FaultSlow, Before: 200 * time.Millisecond}); err != nil {
		return err
	}
	var all []*job
	for range jobs {
		j, err := d.refreshJob(ctx)
		if err != nil {
			return err
		}
		all = append(all, j)
	}
	good, refreshed := 0, 0
	for _, j := range all {
		if err := j.wait(); err != nil {
			return err
		}
		if j.code == exitOK && j.report.Generation == all[0].report.Generation {
			good++
		}
		if j.report.Action == "refreshed" {
			refreshed++
		}
	}
	n := len(d.presentations())
	d.expect(good == jobs, "%d of %d jobs got a token, all of the same generation", good, jobs)
	d.expect(refreshed == 1, "%d job refreshed, the others waited and were served", refreshed)
	d.expect(n == 1 && d.standing().Alive, "the provider was asked %d time, and the login is alive", n)
	return nil
}

// killedBeforeTheAnswer: the request is lost with its job.
func (d *demonstration) killedBeforeTheAnswer(ctx context.Context) error {
	d.act("a job is killed while it waits for the provider")
	before := d.standing().Newest
	if err := d.srv.SetFaults(simulator.Fault{Kind: simulator.FaultDrop, Before: 400 * time.Millisecond}); err != nil {
		return err
	}
	victim, err := d.refreshJob(ctx, "--force")
	if err != nil {
		return err
	}
	if err := victim.until(ctx, "its request", func() bool { return d.srv.Ledger().Pending > 0 }); err != nil {
		return err
	}
	if err := victim.kill(); err != nil {
		return err
	}
	if err := d.settle(ctx); err != nil {
		return err
	}
	d.note("killed with the request under way, which then is lost")
	next, err := d.run(ctx, "", "refresh", "--json", "--force")
	if err != nil {
		return err
	}
	shown := d.srv.Ledger().Of(before)
	d.expect(len(shown) == 2 && shown[0].Outcome == simulator.DroppedBefore && shown[1].Outcome == simulator.Rotated,
		"ledger: %s", outcomesOf(shown))
	d.expect(next.code == exitOK && next.report.Action == "refreshed",
		"the next job knew that nobody else was at it, and had a token in %s", brief(next.took))
	return nil
}

// killedWithTheAnswer: the reply is read and spilled, the store does not have
// it yet. The store's own lock holds the job there.
func (d *demonstration) killedWithTheAnswer(ctx context.Context) error {
	d.act("a job is killed with the next token in its hands, not yet in the store")
	victim, err := d.exchanged(ctx)
	if err != nil {
		return err
	}
	unlock, err := d.holdStore(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	generation, err := d.spilled(ctx, victim)
	if err != nil {
		return err
	}
	if err := victim.kill(); err != nil {
		return err
	}
	unlock()
	stored, err := d.stored(ctx)
	if err != nil {
		return err
	}
	d.expect(stored.Generation < generation, "the store has generation %d; generation %d is on the job's disk, sealed", stored.Generation, generation)
	asked := len(d.presentations())
	next, err := d.run(ctx, "", "refresh", "--json")
	if err != nil {
		return err
	}
	d.expect(next.code == exitOK && next.report.Generation == generation && len(d.presentations()) == asked,
		"the next job put it back: generation %d, %d requests", next.report.Generation, len(d.presentations())-asked)
	return d.proveAlive(ctx)
}

// storeLost: the store fails between exchange and save, and the machine with
// the spilled copy is gone too. What is left is the job's log.
func (d *demonstration) storeLost(ctx context.Context) error {
	d.act("the store breaks in the middle, and the machine is thrown away")
	victim, err := d.exchanged(ctx)
	if err != nil {
		return err
	}
	away := d.grants() + ".away"
	if err := os.Rename(d.grants(), away); err != nil {
		return err
	}
	if err := os.WriteFile(d.grants(), nil, 0o600); err != nil {
		return err
	}
	d.note("the provider has answered; the job tries to save until its lease ends")
	if err := victim.wait(); err != nil {
		return err
	}
	log := asLog(victim.stderr.String())
	d.expect(victim.code == exitUnsaved && strings.Contains(log, "RESCUE BLOCK"),
		"the job ends with code %d and a sealed rescue block in its log", victim.code)
	if err := d.newMachine(away); err != nil {
		return err
	}
	stored, err := d.stored(ctx)
	if err != nil {
		return err
	}
	d.note("the store comes back with generation %d, whose token is spent", stored.Generation)
	rescue, err := d.run(ctx, log, "rescue")
	if err != nil {
		return err
	}
	now, err := d.stored(ctx)
	if err != nil {
		return err
	}
	d.expect(rescue.code == exitOK && now.Tokens.Refresh.Digest() == d.standing().Newest,
		"evergrant rescue <log: generation %d is in the store again", now.Generation)
	return d.proveAlive(ctx)
}

// settle waits until the provider has nothing under way.
func (d *demonstration) settle(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for d.srv.Ledger().Pending > 0 {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}

// exchanged starts a job and returns once the provider has acted on its
// request; the answer is still under way.
func (d *demonstration) exchanged(ctx context.Context) (*job, error) {
	if err := d.srv.SetFaults(simulator.Fault{Kind: simulator.FaultSlow, After: 300 * time.Millisecond}); err != nil {
		return nil, err
	}
	before := len(d.presentations())
	j, err := d.refreshJob(ctx, "--force")
	if err != nil {
		return nil, err
	}
	return j, j.until(ctx, "the exchange", func() bool { return len(d.presentations()) > before })
}

// holdStore takes the lock of the grant's record, as another writer would.
func (d *demonstration) holdStore(ctx context.Context) (unlock func(), err error) {
	name, err := demoGrant.Filename()
	if err != nil {
		return nil, err
	}
	lock := flock.New(filepath.Join(d.grants(), name+".lock"))
	if ok, err := lock.TryLockContext(ctx, 2*time.Millisecond); err != nil || !ok {
		return nil, fmt.Errorf("holding the store's lock: %w", err)
	}
	return func() { _ = lock.Unlock() }, nil
}

// spilled waits for the job's sealed copy and returns its generation.
func (d *demonstration) spilled(ctx context.Context, j *job) (generation uint64, err error) {
	loc := store.File(d.grants())
	folder := spill.Open(filepath.Join(d.state(), "evergrant", "spill", grant.NewSecret(loc.Place()).Digest()), d.codec)
	err = j.until(ctx, "the spill", func() bool {
		found, err := folder.List(ctx, demoGrant)
		if err != nil || len(found) == 0 {
			return false
		}
		generation = found[0].Generation
		return true
	})
	return generation, err
}

func (d *demonstration) stored(ctx context.Context) (grant.Credential, error) {
	st, err := store.File(d.grants()).Open(d.codec)
	if err != nil {
		return grant.Credential{}, err
	}
	c, _, err := st.Load(ctx, demoGrant)
	return c, err
}

// newMachine brings the store back and takes everything else away.
func (d *demonstration) newMachine(away string) error {
	if err := os.RemoveAll(d.state()); err != nil {
		return err
	}
	if err := os.Remove(d.grants()); err != nil {
		return err
	}
	return os.Rename(away, d.grants())
}

// proveAlive refreshes once more: only a whole chain can.
func (d *demonstration) proveAlive(ctx context.Context) error {
	last := d.standing().Newest
	j, err := d.run(ctx, "", "refresh", "--json", "--force")
	if err != nil {
		return err
	}
	shown := d.srv.Ledger().Of(last)
	d.expect(j.code == exitOK && len(shown) == 1 && shown[0].Outcome == simulator.Rotated && d.standing().Alive,
		"and the next refresh works: %s", outcomesOf(shown))
	return nil
}

func outcomesOf(shown []simulator.Presentation) string {
	var words []string
	for _, p := range shown {
		words = append(words, string(p.Outcome))
	}
	if len(words) == 0 {
		return "the token was not presented"
	}
	return strings.Join(words, ", then ")
}

// asLog puts a CI system's time stamps before the lines.
func asLog(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("2026-01-31T09:30:00.1234567Z " + line)
	}
	return b.String()
}

func brief(d time.Duration) string { return d.Round(time.Millisecond).String() }
