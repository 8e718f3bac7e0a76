//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"os"
	"slices"
	"syscall"
	"time"

	"evergrant/chaos/rig"
	"evergrant/internal/simulator"
)

// signals stops runs at random moments, and as GitHub stops a job.
func (h *harness) signals(ctx context.Context) error {
	for _, kind := range []func(string) (*rig.Provider, error){h.strict, h.graceful} {
		if err := h.randomSignals(ctx, kind); err != nil {
			return err
		}
	}
	n, batch := h.number(200, 15), 40
	return h.cancellations(ctx, n, batch)
}

// answerTime is the provider's, in the random part: about as long as the rest.
const answerTime = 30 * time.Millisecond

func (h *harness) randomSignals(ctx context.Context, kind func(dir string) (*rig.Provider, error)) error {
	benches, err := h.benches(ctx, kind)
	if err != nil {
		return err
	}
	defer closeAll(benches)
	n := h.number(100, 15)
	if h.store.Git {
		n = h.number(50, 4)
	}
	span, err := h.typical(ctx, benches[0])
	if err != nil {
		return err
	}
	for _, s := range interruptions(h.store, benches[0].provider.Graced) {
		t := h.newTally("signals", s.name+" at a random moment", benches[0].provider.Name)
		moments := make([]time.Duration, n)
		for i := range moments {
			moments[i] = time.Duration(h.rng.Int64N(int64(span)))
		}
		err := h.share(ctx, benches, n, func(b *bench, i int) error { return h.interrupted(ctx, b, t, s, moments[i]) })
		if err = h.closeAfter(t, err); err != nil {
			return err
		}
	}
	return nil
}

// typical is the median of a few undisturbed runs.
func (h *harness) typical(ctx context.Context, b *bench) (time.Duration, error) {
	trial, err := rig.NewTrial(ctx, b.box, b.provider)
	var took []time.Duration
	for range 7 {
		if err == nil {
			err = b.provider.SetFaults(simulator.Fault{Kind: simulator.FaultSlow, After: answerTime, Times: 1})
		}
		if err != nil {
			return 0, err
		}
		var r rig.Result
		r, err = b.box.Run(trial.Refresh(ctx))
		took = append(took, r.Took)
	}
	slices.Sort(took)
	return took[len(took)/2], err
}

// interruption is one way to disturb a run that may end by itself.
type interruption struct {
	name   string
	signal os.Signal // nil: none
	closed bool      // its output is closed
	git    bool      // SIGKILL to the git that it runs
}

// interruptions are those of a store. SIGKILL of the program itself may cost the
// grant where there is no grace, so that its moments are chosen: see kill points.
func interruptions(s rig.Store, graced bool) []interruption {
	all := []interruption{
		{name: "SIGTERM", signal: syscall.SIGTERM}, {name: "SIGINT", signal: syscall.SIGINT},
		{name: "SIGHUP", signal: syscall.SIGHUP}, {name: "SIGPIPE", signal: syscall.SIGPIPE},
		{name: "standard output and error closed", closed: true},
	}
	if s.Git {
		all = append(all, interruption{name: "SIGKILL of git", git: true})
		if graced {
			all = append(all, interruption{name: "SIGKILL of evergrant and git", signal: syscall.SIGKILL, git: true})
		}
	}
	return all
}

// interrupted stops a run, and tries again a little earlier where it had ended
// before.
func (h *harness) interrupted(ctx context.Context, b *bench, t *tally, s interruption, moment time.Duration) error {
	for range 5 {
		met, err := h.interrupt(ctx, b, t, s, moment)
		if met || err != nil {
			return err
		}
		moment -= moment / 4
	}
	return nil
}

// interrupt stops one run and lets it end by itself.
func (h *harness) interrupt(ctx context.Context, b *bench, t *tally, s interruption, moment time.Duration) (met bool, err error) {
	trial, err := rig.NewTrial(ctx, b.box, b.provider)
	if err != nil {
		return false, err
	}
	if err := b.provider.SetFaults(simulator.Fault{Kind: simulator.FaultSlow, After: answerTime, Times: 1}); err != nil {
		return false, err
	}
	// A git that is killed may leave a lock in the repository; then the run saves
	// on until its lease ends, after 90 s.
	limit := time.Minute
	if s.git {
		limit = 2 * time.Minute
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := trial.Refresh(bounded, "--json", "--sink", "file:"+b.box.NewSink())
	strike := func(c *rig.Call) bool {
		leaders := c.Git() // before they are orphans
		if s.signal != nil {
			c.Signal(s.signal)
		}
		return s.git && rig.KillGit(leaders) > 0 || s.signal != nil
	}
	if s.closed {
		r, w, err := os.Pipe()
		if err != nil {
			return false, err
		}
		defer w.Close()
		cmd.Stdout, cmd.Stderr = w, w
		strike = func(*rig.Call) bool { return r.Close() == nil }
		defer r.Close()
	}
	call, err := b.box.Start(cmd)
	if err != nil {
		return false, err
	}
	timer := time.NewTimer(moment)
	defer timer.Stop()
	select {
	case <-call.Ended():
	case <-timer.C:
		met = strike(call)
	}
	ended, err := call.Wait()
	if err != nil {
		return false, err
	}
	if err := b.provider.SetFaults(); err != nil {
		return false, err
	}
	// A signal that comes before the program is ready for it ends it at once,
	// and rightly so: nothing is under way.
	if ended.Signal != 0 && ended.Signal != syscall.SIGKILL && trial.Presented() > 0 {
		t.red("%v ended a run that had presented its token", ended.Signal)
	}
	if bounded.Err() != nil {
		t.red("a run did not end within %v after the signal", limit)
	}
	// What was answered to a run that ended by itself is on a disk.
	v, err := trial.Recover(ctx, ended.Signal == 0 && trial.Counts().Answers > 0)
	if err == nil {
		t.add(v, met, "cancellation alone")
	}
	return met, err
}
