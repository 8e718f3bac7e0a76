//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"evergrant/chaos/rig"
	"evergrant/e2e/forge"
	"evergrant/internal/simulator"
)

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
	over   bool          // the answer comes after SIGTERM
	broken bool          // the store cannot be written between request and save
	hangs  bool          // and gives no answer
}

// cancelling is a row of cancellations, and what came of them.
type cancelling struct {
	*tally
	kind cancelled

	last           map[string]int // trials by the last signal that was sent
	toEnd, toBlock time.Duration  // the longest from SIGINT on; only that of runs that it met
}

func (h *harness) cancellings() []*cancelling {
	var all []*cancelling
	gone := "the store is read-only"
	if h.store.Name == "git http" {
		gone = "the store's server answers 500"
	}
	type kind struct {
		name string
		kind cancelled
	}
	kinds := []kind{
		{"GitHub's cancellation while the answer is under way", cancelled{}},
		{"GitHub's cancellation at a random moment from the start", cancelled{early: true}},
		{"GitHub's cancellation, and " + gone + ": rescue block", cancelled{broken: true}},
		{"GitHub's cancellation, and the answer comes after its SIGTERM", cancelled{over: true}},
		{"the same, and " + gone + ": rescue block", cancelled{over: true, broken: true}},
	}
	if h.store.Name == "git http" {
		kinds = append(kinds, kind{"GitHub's cancellation, and the store's server hangs: rescue block", cancelled{broken: true, hangs: true}})
	}
	for _, c := range kinds {
		all = append(all, &cancelling{tally: h.newTally("signals", c.name, "strict"), kind: c.kind, last: map[string]int{}})
	}
	return all
}

// absence is a time in which a store cannot be written.
type absence struct{ begin, end, close func() error }

// absent prepares one, on a machine that holds nothing yet: the store's disk can
// become read-only, or its server answer 500, or hang.
func (h *harness) absent(b *bench, hangs bool) (*absence, error) {
	if f := b.box.Place.Forge; f != nil {
		set := func(i forge.Intercept) func() error { return func() error { f.Intercept(i); return nil } }
		return &absence{
			begin: set(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
				http.Error(w, "down", http.StatusInternalServerError)
			}),
			end: set(nil), close: func() error { return nil },
		}, nil
	}
	disk, err := rig.NewDisk(filepath.Join(b.box.Home, "disk"), h.store.DiskSize)
	if err != nil {
		return nil, err
	}
	if err := b.box.Keep(filepath.Join(disk.Dir, "store")); err != nil {
		return nil, errors.Join(err, disk.Close())
	}
	return &absence{disk.Freeze, disk.Thaw, disk.Close}, nil
}

// draw returns a cancellation of a kind, at random moments.
func (h *harness) draw(c cancelled) cancelled {
	between := func(least, most time.Duration) time.Duration {
		return least + time.Duration(h.rng.Int64N(int64(most-least)))
	}
	c.late = h.rng.IntN(2) == 0
	if c.over { // and with a second left before SIGKILL
		c.moment = between(0, 500*time.Millisecond)
		c.answer = c.moment + untilTerm + between(300*time.Millisecond, untilKill-time.Second)
		return c
	}
	c.answer = between(300*time.Millisecond, slowest)
	c.moment = between(0, c.answer)
	return c
}

func (h *harness) cancellations(ctx context.Context, n, batch int) error {
	rows := h.cancellings()
	var all []cancelled
	for i := range n {
		all = append(all, h.draw(rows[i%len(rows)].kind))
	}
	for begin := 0; begin < n; begin += batch {
		end := min(begin+batch, n)
		var group sync.WaitGroup
		errs := make([]error, end-begin)
		for i := begin; i < end; i++ {
			group.Go(func() {
				if err := h.cancellation(ctx, rows[i%len(rows)], all[i]); err != nil {
					errs[i-begin] = fmt.Errorf("cancellation %d: %w", i, err)
				}
			})
		}
		group.Wait()
		if err := errors.Join(append(errs, h.enough())...); err != nil {
			return err
		}
	}
	for _, t := range rows {
		t.Note = fmt.Sprintf("last signal sent: %v; at most %.1f s from SIGINT to the end of the run", t.last, t.toEnd.Seconds())
		if t.toBlock > 0 {
			t.Note += fmt.Sprintf(", %.1f s to the rescue block", t.toBlock.Seconds())
		}
		h.say("  %s", t.Note)
		if err := h.close(t.tally); err != nil {
			return err
		}
	}
	return nil
}

func (h *harness) cancellation(ctx context.Context, t *cancelling, c cancelled) (err error) {
	b, err := h.bench(ctx, h.strict)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	var away *absence
	if c.broken {
		if away, err = h.absent(b, c.hangs); err != nil {
			return err
		}
		// What is on a disk is searched before it goes.
		defer func() { err = errors.Join(err, b.box.Search(), away.close()) }()
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
	end, err := h.cancelAsGitHub(ctx, b, trial, c, away)
	if err != nil {
		return err
	}
	if err := b.provider.SetFaults(); err != nil {
		return err
	}
	t.judge(c, trial, end)
	if c.broken {
		return h.rescued(ctx, b, t.tally, trial, end.Result)
	}
	v, err := trial.Recover(ctx, end.Signal == 0 && trial.Counts().Answers > 0)
	if err == nil {
		t.add(v, end.last != nil, "cancellation alone")
	}
	return err
}

// cancellationEnd is how a run ended that was cancelled.
type cancellationEnd struct {
	rig.Result
	last           os.Signal     // that was sent; nil: it had ended before
	toEnd, toBlock time.Duration // from SIGINT on; 0: never
}

// judge holds a cancelled run to its word: before SIGKILL it has saved and ended,
// or, where it cannot save and rightly goes on trying, printed a rescue block.
func (t *cancelling) judge(c cancelled, trial *rig.Trial, end cancellationEnd) {
	t.mu.Lock()
	name := "none"
	if end.last != nil {
		name = map[os.Signal]string{syscall.SIGINT: "SIGINT", syscall.SIGTERM: "SIGTERM", syscall.SIGKILL: "SIGKILL"}[end.last]
	}
	t.last[name]++
	t.toEnd, t.toBlock = max(t.toEnd, end.toEnd), max(t.toBlock, end.toBlock)
	t.mu.Unlock()
	switch {
	case c.broken && end.toBlock == 0:
		t.red("no rescue block was printed after the first signal: %v", end.Result)
	case c.broken && end.toBlock >= untilTerm+untilKill:
		t.red("the rescue block came %.1f s after the first signal, with SIGKILL or later", end.toBlock.Seconds())
	case c.broken && c.over && end.toBlock < untilTerm:
		t.red("the answer should have come after SIGTERM, and the rescue block was there %.1f s after the first signal", end.toBlock.Seconds())
	case c.broken && end.last != syscall.SIGKILL && end.Code != exitUnsaved:
		t.red("want exit %d: %v", exitUnsaved, end.Result)
	case c.broken:
	case end.last == syscall.SIGKILL:
		t.red("it was still running at SIGKILL, ten seconds after the first signal")
	case end.Signal != 0 && trial.Presented() > 0:
		t.red("%v ended a run that had presented its token", end.Signal)
	case c.over && end.last != syscall.SIGTERM:
		t.red("the answer should have come after SIGTERM, and the last signal sent was %s: %v", name, end.Result)
	}
}

func (h *harness) cancelAsGitHub(ctx context.Context, b *bench, trial *rig.Trial, c cancelled, away *absence) (end cancellationEnd, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	call, err := b.box.Start(trial.Refresh(ctx, "--sink", "file:"+b.box.NewSink()))
	if err != nil {
		return end, err
	}
	if !c.early {
		if err := trial.Await(ctx, call); err != nil {
			return end, err
		}
	}
	if away != nil {
		if err := away.begin(); err != nil {
			return end, err
		}
		defer func() { err = errors.Join(err, away.end()) }()
	}
	var first time.Time
	for _, step := range []struct {
		after time.Duration
		s     os.Signal
	}{{c.moment, syscall.SIGINT}, {untilTerm, syscall.SIGTERM}, {untilKill, syscall.SIGKILL}} {
		timer := time.NewTimer(step.after)
		select {
		case <-call.Ended():
			timer.Stop()
		case <-timer.C:
			if end.last == nil {
				first = time.Now()
			}
			call.Signal(step.s)
			end.last = step.s
			continue
		}
		break
	}
	end.Result, err = call.Wait()
	if end.last != nil {
		end.toEnd = time.Since(first)
		if at := call.Block(); !at.IsZero() {
			end.toBlock = max(at.Sub(first), 1)
		}
	}
	return end, err
}

// rescued brings a grant back from what a cancelled run has printed, and from
// nothing else: the machine with its spill is gone, as a runner would be.
func (h *harness) rescued(ctx context.Context, b *bench, t *tally, trial *rig.Trial, r rig.Result) error {
	if !strings.Contains(r.Stderr, "BEGIN ") {
		t.red("no rescue block was printed before the end: %v", r)
	}
	if err := errors.Join(b.box.Search(), os.RemoveAll(b.box.State)); err != nil {
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
	t.add(v, true, "store outage and cancellation alone")
	return nil
}
