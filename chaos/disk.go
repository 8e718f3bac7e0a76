//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
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

// onDisk is what lies on the disk that fails.
type onDisk struct {
	name                string
	store, spills, temp bool
}

func (h *harness) onDisks() []onDisk {
	all := []onDisk{{name: "the store's disk", store: true}, {name: "the store's and the spill's disk", store: true, spills: true}}
	if h.store.Git {
		all = append(all, onDisk{name: "the disk of temporary files", temp: true})
	}
	return all
}

// put puts it there, onto a machine that holds nothing yet.
func (o onDisk) put(b *rig.Box, dir string) error {
	if o.spills {
		b.State = filepath.Join(dir, "state")
	}
	if o.temp {
		b.Temp = dir
	}
	if o.store {
		return b.Keep(filepath.Join(dir, "store"))
	}
	return nil
}

// disks takes the disk away: before the run, and between lease and save; the
// store's alone, and others.
func (h *harness) disks(ctx context.Context) error {
	n := h.number(20, 2)
	if h.store.Git {
		n = h.number(10, 1)
	}
	var rows []trials
	for _, how := range breakages() {
		for _, what := range h.onDisks() {
			for _, between := range []bool{false, true} {
				if h.short && h.store.Git && !between {
					continue
				}
				when := "from the start"
				if between {
					when = "between lease and save"
				}
				t := h.newTally("disk", fmt.Sprintf("%s is %s %s", what.name, how.name, when), "strict")
				rows = append(rows, trials{t, n, func(int) error { return h.disk(ctx, t, how, what, between) }})
			}
		}
	}
	if h.store.Git {
		return h.together(waiting, rows) // git's own syncs are kill points
	}
	return errors.Join(h.together(h.workers, rows), h.syncs(ctx, n))
}

// trials are n of one row.
type trials struct {
	*tally
	n  int
	do func(i int) error
}

// times runs n trials of one row, as many at once as there are workers.
func (h *harness) times(t *tally, n int, do func(i int) error) error {
	return h.together(h.workers, []trials{{t, n, do}})
}

// together runs the trials of all rows, so many at once, and closes the rows.
func (h *harness) together(workers int, rows []trials) error {
	slots := make(chan struct{}, workers)
	errs := make([][]error, len(rows))
	var all sync.WaitGroup
	for i, r := range rows {
		errs[i] = make([]error, r.n)
		for n := range r.n {
			slots <- struct{}{}
			all.Go(func() {
				defer func() { <-slots }()
				if errs[i][n] = h.enough(); errs[i][n] == nil {
					errs[i][n] = r.do(n)
				}
			})
		}
	}
	all.Wait()
	var failed []error
	for i, r := range rows {
		failed = append(failed, h.closeAfter(r.tally, errors.Join(errs[i]...)))
	}
	return errors.Join(failed...)
}

// waiting is how many trials run at once where each of them waits for most of
// its time.
const waiting = 6

func (h *harness) disk(ctx context.Context, t *tally, how breakage, what onDisk, between bool) (err error) {
	b, err := h.bench(ctx, h.strict)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	disk, err := rig.NewDisk(filepath.Join(b.box.Home, "disk"), h.store.DiskSize)
	if err != nil {
		return err
	}
	// What is on the disk is searched before it goes.
	defer func() { err = errors.Join(err, b.box.Search(), disk.Close()) }()
	if err := what.put(b.box, disk.Dir); err != nil {
		return err
	}
	trial, err := rig.NewTrial(ctx, b.box, b.provider)
	if err != nil {
		return err
	}
	r, err := h.runOnFailing(ctx, b, trial, disk, how, between)
	if err != nil {
		return err
	}
	return h.afterOutage(ctx, b, t, trial, r, between, what.spills)
}

// runOnFailing is a run whose disk fails, and the disk's repair.
func (h *harness) runOnFailing(ctx context.Context, b *bench, trial *rig.Trial, disk *rig.Disk, how breakage, between bool) (rig.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	args := []string{"--speed-up", fmt.Sprint(h.store.SpeedUp), "--wait", "5s", "--sink", "file:" + b.box.NewSink()}
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
	if err := trial.Await(ctx, call); err != nil {
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
		t.add(v, true, "store outage alone")
	}
	return err
}

// failingSync is one way in which fsync(2) fails, as on a dying disk.
type failingSync struct {
	what  string
	class string // of the files whose sync fails; "": of all
	from  string // step
	code  int
	met   []point // the syncs that must have failed
}

func brokenSyncs() []failingSync {
	spill, spills := point{stepSpill, "spill", "fsync"}, point{stepSpill, "spill folder", "fsync"}
	record, records := point{stepSave, "record temp", "fsync"}, point{stepAfter, "record folder", "fsync"}
	return []failingSync{
		{"every fsync fails with EIO from the start", "", stepStart, exitStore, []point{{stepLease, "record temp", "fsync"}}},
		{"every fsync fails with EIO from the request on", "", stepReply, exitUnsaved, []point{spill, record}},
		{"the spill's fsync fails with EIO", spill.Class, stepReply, 0, []point{spill}},
		{"the spill folder's fsync fails with EIO", spills.Class, stepReply, 0, []point{spills}},
		{"the record's fsync fails with EIO from the request on", record.Class, stepReply, exitUnsaved, []point{record}},
		{"the store folder's fsync fails with EIO from the request on", records.Class, stepReply, exitUnsaved, []point{records}},
	}
}

// syncs makes fsync(2) fail.
func (h *harness) syncs(ctx context.Context, n int) error {
	for _, s := range brokenSyncs() {
		t := h.newTally("disk", s.what, "strict")
		if err := h.times(t, n, func(int) error { return h.sync(ctx, t, s) }); err != nil {
			return err
		}
	}
	return nil
}

func (h *harness) sync(ctx context.Context, t *tally, s failingSync) (err error) {
	b, err := h.bench(ctx, h.strict)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	trial, err := rig.NewTrial(ctx, b.box, b.provider)
	if err != nil {
		return err
	}
	seen, r, err := traced(ctx, trial, failing("fsync", s.class, s.from, syscall.EIO))
	if err != nil {
		return err
	}
	for _, p := range s.met {
		if !slices.Contains(seen.met, p) {
			t.red("it was never met that %v fails", p)
		}
	}
	between := s.from == stepReply
	if s.code == 0 {
		if r.Code != 0 {
			t.red("want exit 0: %v", r)
		}
		v, err := trial.Recover(ctx, true)
		if err == nil {
			t.add(v, true, "a failing sync alone")
		}
		return err
	}
	return h.afterOutage(ctx, b, t, trial, r, between, s.class == "")
}
