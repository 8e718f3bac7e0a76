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
	"evergrant/chaos/row"
)

// fault is what is done to one call.
type fault struct {
	name string // as rows name it
	with rig.Meddle
	fits func(point) bool
}

func faults() []fault {
	own := func(p point) bool { return !p.ofGit() }
	pushes := func(p point) bool { return p.ofGit() && (p.Step == stepLease || p.Step == stepSave) }
	fails := func(p point) bool { return p.Call != "exit_group" }
	grows := func(p point) bool {
		return !p.speaks() && slices.Contains([]string{opensW, "mkdirat", "renameat", "linkat", "write", "fsync"}, p.Call)
	}
	return []fault{
		{"SIGKILL", rig.Meddle{Kill: rig.Binary}, own},
		{"SIGKILL of that process alone", rig.Meddle{Kill: rig.Caller}, point.ofGit},
		{"SIGKILL of evergrant alone, git goes on,", rig.Meddle{Kill: rig.Binary}, pushes},
		{"SIGKILL of evergrant and git", rig.Meddle{Kill: rig.Everything}, pushes},
		{"EIO", rig.Meddle{Errno: syscall.EIO}, fails},
		{"ENOSPC", rig.Meddle{Errno: syscall.ENOSPC}, grows},
	}
}

// killsBinary reports whether the fault ends the program itself.
func (f fault) killsBinary() bool { return f.with.Kill == rig.Binary || f.with.Kill == rig.Everything }

const (
	studyRuns = 5 // undisturbed runs that find the points
	killTries = 6 // runs aimed at one point before it counts as never hit
)

// killPoints hits every point of a normal run with every fault, at a provider
// that forgives nothing and at those with a grace; and of a first run, which
// makes its folders and adopts a token.
func (h *harness) killPoints(ctx context.Context) error {
	studies := []killer{{kind: h.strict}, {kind: h.graceful, graced: true}, {kind: h.strict, first: true}}
	switch {
	case h.short && h.store.Git:
		studies = studies[:1]
	case !h.short && !h.store.Git:
		studies = append(studies, killer{kind: h.replacing, graced: true}, killer{kind: h.graceful, graced: true, first: true})
	}
	for i := range studies {
		k := &studies[i]
		k.harness, k.rows, k.part = h, map[string]*row.Row{}, "kill points"
		if k.first {
			k.part = "kill points of a first run"
		}
		if err := k.all(ctx); err != nil {
			return err
		}
	}
	return nil
}

// killer hits points of one kind of run at one kind of provider.
type killer struct {
	*harness
	kind     func(dir string) (*rig.Provider, error)
	graced   bool
	first    bool // the run that starts a grant on a new machine
	part     string
	provider string
	points   []point // in the order of a run
	strange  []point // between reply and spill, where nothing else may be

	mu    sync.Mutex
	rows  map[string]*row.Row
	order []string
}

// trial is a grant to which a fault can be done.
func (k *killer) trial(ctx context.Context, b *bench) (*rig.Trial, error) {
	if !k.first {
		return rig.NewTrial(ctx, b.box, b.provider)
	}
	dir := filepath.Join(b.dir, fmt.Sprint(k.names.Add(1)))
	box, err := rig.NewBox(ctx, dir, k.binary, k.canary, k.store)
	if err != nil {
		return nil, err
	}
	return rig.FreshTrial(box, b.provider)
}

// over ends a trial: a machine that was made for it is searched and goes.
func (k *killer) over(t *rig.Trial) error {
	if !k.first {
		return nil
	}
	err := t.Box.Search()
	t.Box.Close()
	return errors.Join(err, os.RemoveAll(t.Box.Home))
}

// aimed is one point to be hit by one fault.
type aimed struct {
	fault
	point
}

func (a aimed) name() string { return a.fault.name + " at " + a.point.String() }

func (k *killer) all(ctx context.Context) error {
	benches, err := k.benches(ctx, k.kind)
	if err != nil {
		return err
	}
	defer closeAll(benches)
	k.provider = benches[0].provider.Name
	if err := k.study(ctx, benches[0]); err != nil {
		return err
	}
	var targets []aimed
	for _, f := range faults() {
		for _, p := range k.points {
			if f.fits(p) && k.wants(f, p) {
				targets = append(targets, aimed{f, p})
			}
		}
	}
	for _, a := range targets {
		k.row(a.name()).MayMiss = !slices.Contains(needed(k.store), a.point)
	}
	k.say("%s, %s: %d calls found, %d aims", k.part, k.provider, len(k.points), len(targets))
	err = k.share(ctx, benches, len(targets), func(b *bench, i int) error { return k.aim(ctx, b, targets[i]) })
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	return errors.Join(k.finish(), err)
}

// wants reports whether this form aims that fault at that point.
func (k *killer) wants(f fault, p point) bool {
	if (k.first && (k.short || k.store.Git) || k.graced && k.store.Git) && f.with.Errno != 0 {
		return false // errors do there what they do in any run
	}
	if k.short && k.store.Git { // where a push becomes true, and where its end is told
		turns := p.Call == "exit_group" || p.Class == refMoved
		return p.ofGit() && slices.Contains(needed(k.store), p) &&
			(f.with.Kill == rig.Caller && (turns || p.Step == stepSave) || f.with.Kill == rig.Everything && turns)
	}
	return true
}

func (k *killer) row(name string) *row.Row {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.rows[name] == nil {
		k.rows[name] = &row.Row{Part: k.part, Name: name, Store: k.store.Name, Provider: k.provider}
		k.order = append(k.order, name)
	}
	return k.rows[name]
}

func (k *killer) finish() error {
	never := []string{}
	var rows []row.Row
	for _, name := range k.order {
		r := *k.rows[name]
		if r.Faults == 0 {
			never = append(never, name)
			r.Trials, r.Discarded = r.Discarded, 0
			r.Note = fmt.Sprintf("never hit in %d runs", r.Trials)
		}
		rows = append(rows, r)
	}
	rows = append(rows, k.studied())
	if n := len(never); n*5 > len(rows) {
		rows[0].Broken = append(rows[0].Broken, fmt.Sprintf("%d of %d points were never hit: this shows too little", n, len(rows)))
	}
	lost := 0
	for _, r := range rows {
		lost += r.Losses
	}
	k.say("%s, %s: %d calls, %d of %d aims hit, %d lost", k.part, k.provider, len(k.points), len(k.order)-len(never), len(k.order), lost)
	for _, name := range never {
		k.say("  never hit: %s", name)
	}
	return k.keep(rows...)
}

// study finds the points by undisturbed runs. One that a busy machine has
// disturbed, so that it asked twice, teaches nothing.
func (k *killer) study(ctx context.Context, b *bench) error {
	understood := 0
	for tries := 0; understood < studyRuns; tries++ {
		t, err := k.trial(ctx, b)
		if err != nil {
			return err
		}
		seen, r, err := traced(ctx, t, nil)
		if err == nil {
			err = k.over(t)
		}
		if err != nil {
			return err
		}
		if len(seen.sends) != 1 || seen.step != stepAfter {
			if tries < 3*studyRuns {
				continue
			}
			return fmt.Errorf("undisturbed runs are not understood: %d requests, up to step %q, %v", len(seen.sends), seen.step, r)
		}
		understood++
		for _, p := range seen.gap() {
			if !slices.Contains(unwrittenAt(), p) && !slices.Contains(k.strange, p) {
				k.strange = append(k.strange, p)
			}
		}
		for _, p := range seen.points {
			if !slices.Contains(k.points, p) {
				k.points = append(k.points, p)
			}
		}
	}
	slices.SortStableFunc(k.points, func(a, b point) int { return slices.Index(steps(), a.Step) - slices.Index(steps(), b.Step) })
	return nil
}

// traced is one traced run, with a fault or without. All runs of the protocol
// are shortened alike, so that a store that fails is given up in seconds.
func traced(ctx context.Context, t *rig.Trial, meddle func(*trace, point) rig.Meddle) (*trace, rig.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	seen := &trace{box: t.Box, meddle: meddle}
	cmd := t.Refresh(ctx, "--sink", "file:"+t.Box.NewSink(), "--wait", "30s", "--speed-up", fmt.Sprint(t.Box.Kind.SpeedUp))
	r, err := t.Box.RunTraced(ctx, cmd.Args, cmd.Env, seen)
	return seen, r, err
}

// aim hits one point as often as wanted. Where a run takes another way than
// those that were studied, the point may not come.
func (k *killer) aim(ctx context.Context, b *bench, a aimed) error {
	w := k.row(a.name())
	for try := 0; try < killTries*k.hits && w.Faults < k.hits; try++ {
		t, err := k.trial(ctx, b)
		if err == nil {
			err = k.strike(ctx, w, a, t)
		}
		if err == nil {
			err = k.over(t)
		}
		if err != nil {
			return fmt.Errorf("%s, %s: %w", k.part, a.name(), err)
		}
	}
	return nil
}

// strike runs one trial.
func (k *killer) strike(ctx context.Context, w *row.Row, a aimed, t *rig.Trial) error {
	seen, r, err := traced(ctx, t, once(a.point, a.with))
	if err != nil {
		return err
	}
	sends := seen.answered(t.Answers())
	kept := slices.ContainsFunc(sends, func(s send) bool { return s.spilled })
	v, err := t.Recover(ctx, kept)
	if err != nil {
		return err
	}
	met := len(seen.met) > 0
	if met {
		k.note(w, a, sends, r)
	} else if r.Code != 0 && !k.tooSlow(r) {
		w.Broken = append(w.Broken, fmt.Sprintf("a run that met no fault: %v", r))
	}
	verdictInto(w, v, met, reason(sends, a, k.graced))
	k.judgeSoFar(*w)
	return nil
}

// tooSlow reports whether an undisturbed run may have ended like that: traced,
// and on a busy machine, git can need longer than the shortened protocol gives
// it. What was spilled then comes back all the same.
func (k *killer) tooSlow(r rig.Result) bool { return k.store.Git && r.Code == exitUnsaved }

func (k *killer) note(w *row.Row, a aimed, sends []send, r rig.Result) {
	for _, s := range sends {
		if s.first != "" && !strings.HasPrefix(s.first, "spill") && (a.with.Errno == 0 || a.Step != stepSpill) {
			w.Broken = append(w.Broken, "the reply went to a "+s.first+" before it was spilled")
		}
	}
	if a.killsBinary() && r.Code >= 0 {
		w.Broken = append(w.Broken, fmt.Sprintf("SIGKILL, and exit code %d", r.Code))
	}
}

// reason says why a grant was lost that met a fault, by the requests that were
// answered with tokens.
func reason(answered []send, a aimed, graced bool) string {
	has := func(f func(send) bool) bool { return slices.ContainsFunc(answered, f) }
	switch {
	case graced:
		return "in spite of a grace that is longer than the takeover"
	case has(func(s send) bool { return s.spilled }):
		return row.Written
	case has(func(s send) bool { return !s.heard }):
		return row.Unheard
	case a.killsBinary() && len(answered) > 0 && slices.Contains(unwrittenAt(), a.point):
		return row.Unwritten
	case a.killsBinary() && len(answered) > 0:
		return "the reply was read, and the process was killed at " + a.point.String() + ", where it should have been written"
	}
	return "the reply was read, and the process lived on and did not keep it"
}
