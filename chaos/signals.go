//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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
	n, batch := 200, 40
	if h.short {
		n, batch = 12, 12
	}
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
	n := 100
	if h.short {
		n = 15
	}
	span, err := h.typical(ctx, benches[0])
	if err != nil {
		return err
	}
	for _, s := range []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE} {
		name := signalName(s) + " at a random moment"
		if s == syscall.SIGPIPE {
			name = "standard output and error closed at a random moment"
		}
		t := newTally("signals", name, benches[0].provider.Name)
		moments := make([]time.Duration, n)
		for i := range moments {
			moments[i] = time.Duration(h.rng.Int64N(int64(span)))
		}
		if err := h.share(ctx, benches, n, func(b *bench, i int) error { return h.interrupt(ctx, b, t, s, moments[i]) }); err != nil {
			return err
		}
		if err := h.close(t); err != nil {
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

func signalName(s os.Signal) string {
	return map[os.Signal]string{syscall.SIGTERM: "SIGTERM", syscall.SIGINT: "SIGINT", syscall.SIGHUP: "SIGHUP"}[s]
}

// interrupt stops one run and lets it end by itself.
func (h *harness) interrupt(ctx context.Context, b *bench, t *tally, s os.Signal, moment time.Duration) error {
	trial, err := rig.NewTrial(ctx, b.box, b.provider)
	if err != nil {
		return err
	}
	if err := b.provider.SetFaults(simulator.Fault{Kind: simulator.FaultSlow, After: answerTime, Times: 1}); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := trial.Refresh(bounded, "--json", "--sink", "file:"+b.box.NewSink())
	strike := func(c *rig.Call) { c.Signal(s) }
	if s == syscall.SIGPIPE {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		defer w.Close()
		cmd.Stdout, cmd.Stderr = w, w
		strike = func(*rig.Call) { _ = r.Close() }
		defer r.Close()
	}
	call, err := b.box.Start(cmd)
	if err != nil {
		return err
	}
	timer := time.NewTimer(moment)
	defer timer.Stop()
	met := false
	select {
	case <-call.Ended():
	case <-timer.C:
		met = true
		strike(call)
	}
	if _, err := call.Wait(); err != nil {
		return err
	}
	if err := b.provider.SetFaults(); err != nil {
		return err
	}
	if bounded.Err() != nil {
		t.red("a run did not end within a minute after the signal")
	}
	v, err := trial.Recover(ctx, false)
	if err != nil {
		return err
	}
	t.add(v, "cancellation alone")
	if !met {
		t.missed()
	}
	return nil
}

// GitHub's way to cancel a step: SIGINT, then SIGTERM, then SIGKILL.
const (
	untilTerm = 7500 * time.Millisecond
	untilKill = 2500 * time.Millisecond
	slowest   = 4800 * time.Millisecond // answers within five seconds
)

// cancelled is one cancellation to be tried.
type cancelled struct {
	answer time.Duration // how long the provider takes
	moment time.Duration // of SIGINT, after the request or, if early, after the start
	early  bool          // the signal may come before the request
	late   bool          // the provider acts at the end of its time, not at its beginning
	broken bool          // the store is read-only between request and save
}

func (h *harness) cancellations(ctx context.Context, n, batch int) error {
	rows := [3]*tally{
		newTally("signals", "GitHub's cancellation while the answer is under way", "strict"),
		newTally("signals", "GitHub's cancellation at a random moment from the start", "strict"),
		newTally("signals", "GitHub's cancellation, and the store is read-only: rescue block", "strict"),
	}
	var all []cancelled
	for i := range n {
		c := cancelled{answer: 300*time.Millisecond + time.Duration(h.rng.Int64N(int64(slowest-300*time.Millisecond))), late: h.rng.IntN(2) == 0}
		c.early, c.broken = i%3 == 1, i%3 == 2
		c.moment = time.Duration(h.rng.Int64N(int64(c.answer)))
		all = append(all, c)
	}
	for begin := 0; begin < n; begin += batch {
		end := min(begin+batch, n)
		var group sync.WaitGroup
		errs := make([]error, end-begin)
		for i := begin; i < end; i++ {
			group.Go(func() {
				if err := h.cancellation(ctx, rows[i%3], all[i]); err != nil {
					errs[i-begin] = fmt.Errorf("cancellation %d: %w", i, err)
				}
			})
		}
		group.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	for _, t := range rows {
		if err := h.close(t); err != nil {
			return err
		}
	}
	return nil
}

func (h *harness) cancellation(ctx context.Context, t *tally, c cancelled) (err error) {
	b, err := h.bench(ctx, h.strict)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	var disk *rig.Disk
	if c.broken {
		b.box.Store = filepath.Join(b.box.Home, "disk", "store")
		if disk, err = rig.NewDisk(filepath.Join(b.box.Home, "disk")); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, disk.Close()) }()
	}
	trial, err := rig.NewTrial(ctx, b.box, b.provider)
	if err != nil {
		return err
	}
	f := simulator.Fault{Kind: simulator.FaultSlow, After: c.answer, Times: 1}
	if c.late {
		f.Before, f.After = c.answer, 0
	}
	if err := b.provider.SetFaults(f); err != nil {
		return err
	}
	r, err := h.cancelAsGitHub(ctx, b, trial, c, disk)
	if err != nil {
		return err
	}
	if err := b.provider.SetFaults(); err != nil {
		return err
	}
	if c.broken {
		return h.rescued(ctx, b, t, trial, r)
	}
	// A signal that comes before the program is ready for it ends it at once,
	// and rightly so: nothing is under way.
	if r.Signal == syscall.SIGKILL {
		t.red("it was still running at SIGKILL, ten seconds after the first signal")
	}
	v, err := trial.Recover(ctx, false)
	if err == nil {
		t.add(v, "cancellation alone")
	}
	return err
}

func (h *harness) cancelAsGitHub(ctx context.Context, b *bench, trial *rig.Trial, c cancelled, disk *rig.Disk) (rig.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	call, err := b.box.Start(trial.Refresh(ctx, "--sink", "file:"+b.box.NewSink()))
	if err != nil {
		return rig.Result{}, err
	}
	if !c.early {
		if err := trial.Await(ctx); err != nil {
			return rig.Result{}, err
		}
	}
	if disk != nil {
		if err := disk.Freeze(); err != nil {
			return rig.Result{}, err
		}
		defer func() { _ = disk.Thaw() }() // what follows says so if it failed
	}
	for _, step := range []struct {
		after time.Duration
		s     os.Signal
	}{{c.moment, syscall.SIGINT}, {untilTerm, syscall.SIGTERM}, {untilKill, syscall.SIGKILL}} {
		timer := time.NewTimer(step.after)
		select {
		case <-call.Ended():
			timer.Stop()
			return call.Wait()
		case <-timer.C:
			call.Signal(step.s)
		}
	}
	return call.Wait()
}

// rescued brings a grant back from what a cancelled run has printed, and from
// nothing else: the machine with its spill is gone, as a runner would be.
func (h *harness) rescued(ctx context.Context, b *bench, t *tally, trial *rig.Trial, r rig.Result) error {
	if !strings.Contains(r.Stderr, "BEGIN ") {
		t.red("no rescue block was printed before the end: %v", r)
	}
	if err := os.RemoveAll(b.box.State); err != nil {
		return err
	}
	return h.byBlock(ctx, b, t, trial, r)
}

// byBlock feeds a run's standard error to rescue, then recovers.
func (h *harness) byBlock(ctx context.Context, b *bench, t *tally, trial *rig.Trial, r rig.Result) error {
	back, err := b.box.Run(b.box.Rescue(ctx, r.Stderr))
	if err != nil {
		return err
	}
	if back.Code != 0 {
		t.red("rescue: %v", back)
	}
	v, err := trial.Recover(ctx, true)
	if err != nil {
		return err
	}
	if v.By == rig.ByItself {
		v.By = rig.ByBlock
	}
	t.add(v, "store outage and cancellation alone")
	return nil
}
