//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"evergrant/chaos/rig"
	"evergrant/internal/simulator"
)

// breakage is one way in which a disk fails.
type breakage struct {
	name       string
	fail, mend func(*rig.Disk) error
}

func breakages() []breakage {
	return []breakage{
		{"full", (*rig.Disk).Fill, (*rig.Disk).Drain},
		{"read-only", (*rig.Disk).Freeze, (*rig.Disk).Thaw},
	}
}

// disks takes the disk away: before the run, and between lease and save; the
// store's alone, and that of the spill with it.
func (h *harness) disks(ctx context.Context) error {
	n := 20
	if h.short {
		n = 2
	}
	for _, how := range breakages() {
		for _, both := range []bool{false, true} {
			what := "the store's disk"
			if both {
				what = "the store's and the spill's disk"
			}
			for _, between := range []bool{false, true} {
				when := "from the start"
				if between {
					when = "between lease and save"
				}
				t := newTally("disk", fmt.Sprintf("%s is %s %s", what, how.name, when), "strict")
				do := func(int) error { return h.disk(ctx, t, how, both, between) }
				if err := h.times(n, do); err != nil {
					return fmt.Errorf("%s: %w", t.Name, err)
				}
				if err := h.close(t); err != nil {
					return err
				}
			}
		}
	}
	return h.syncs(ctx, n)
}

// times runs n trials, as many at once as there are workers.
func (h *harness) times(n int, do func(i int) error) error {
	errs := make([]error, n)
	slots := make(chan struct{}, h.workers)
	done := make(chan struct{}, n)
	for i := range n {
		slots <- struct{}{}
		go func() {
			errs[i] = do(i)
			<-slots
			done <- struct{}{}
		}()
	}
	for range n {
		<-done
	}
	return errors.Join(errs...)
}

func (h *harness) disk(ctx context.Context, t *tally, how breakage, both, between bool) (err error) {
	b, err := h.bench(ctx, h.strict)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	disk, err := rig.NewDisk(filepath.Join(b.box.Home, "disk"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	b.box.Store = filepath.Join(disk.Dir, "store")
	if both {
		b.box.State = filepath.Join(disk.Dir, "state")
	}
	trial, err := rig.NewTrial(ctx, b.box, b.provider)
	if err != nil {
		return err
	}
	r, err := h.runOnFailing(ctx, b, trial, disk, how, between)
	if err != nil {
		return err
	}
	return h.afterOutage(ctx, b, t, trial, r, between, both)
}

// runOnFailing is a run whose disk fails, and the disk's repair.
func (h *harness) runOnFailing(ctx context.Context, b *bench, trial *rig.Trial, disk *rig.Disk, how breakage, between bool) (rig.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	args := []string{"--speed-up", fmt.Sprint(rig.SpeedUp), "--sink", "file:" + b.box.NewSink()}
	if !between {
		if err := how.fail(disk); err != nil {
			return rig.Result{}, err
		}
		r, err := b.box.Run(trial.Refresh(ctx, args...))
		return r, errors.Join(err, how.mend(disk))
	}
	// The provider acts, and answers late enough for the disk to fail meanwhile.
	if err := b.provider.SetFaults(simulator.Fault{Kind: simulator.FaultSlow, After: 300 * time.Millisecond, Times: 1}); err != nil {
		return rig.Result{}, err
	}
	call, err := b.box.Start(trial.Refresh(ctx, args...))
	if err != nil {
		return rig.Result{}, err
	}
	if err := trial.Await(ctx); err != nil {
		return rig.Result{}, err
	}
	if err := how.fail(disk); err != nil {
		return rig.Result{}, err
	}
	r, err := call.Wait()
	return r, errors.Join(err, how.mend(disk))
}

// Exit codes of the interface that a failing store leads to.
const (
	exitStore   = 6 // nothing was spent
	exitUnsaved = 7 // kept as spill or rescue block
)

// afterOutage holds a run that met a failing disk to its word, and recovers.
func (h *harness) afterOutage(ctx context.Context, b *bench, t *tally, trial *rig.Trial, r rig.Result, between, unspilled bool) error {
	if !between {
		if r.Code != exitStore || trial.Presented() != 0 {
			t.red("want exit %d and nothing presented; %d presented, %v", exitStore, trial.Presented(), r)
		}
	} else if r.Code != exitUnsaved {
		t.red("want exit %d: %v", exitUnsaved, r)
	}
	if between && unspilled {
		return h.byBlock(ctx, b, t, trial, r)
	}
	v, err := trial.Recover(ctx, between)
	if err == nil {
		t.add(v, "store outage alone")
	}
	return err
}

// syncs makes fsync(2) fail, as a dying disk does, from the start or from the
// request on.
func (h *harness) syncs(ctx context.Context, n int) error {
	for _, from := range []string{stepStart, stepReply} {
		between := from == stepReply
		name := "fsync fails with EIO from the start"
		if between {
			name = "fsync fails with EIO from the request on, the spill's too"
		}
		t := newTally("disk", name, "strict")
		err := h.times(n, func(int) (err error) {
			b, err := h.bench(ctx, h.strict)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, b.close()) }()
			trial, err := rig.NewTrial(ctx, b.box, b.provider)
			if err != nil {
				return err
			}
			seen, r, err := traced(ctx, trial, failing("fsync", from, syscall.EIO))
			if err != nil {
				return err
			}
			if len(seen.met) == 0 {
				t.red("no fsync was met")
			}
			return h.afterOutage(ctx, b, t, trial, r, between, true)
		})
		if err == nil {
			err = h.close(t)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
